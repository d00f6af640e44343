package dump

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgshunt/feed"
)

// A value of char(n) ends in blanks up to n characters, which the server that receives it
// adds by itself: counting the characters of a long one costs it more than making the
// blanks. So blanks stay behind where there are many. The type bpchar, a domain and an
// array are left as they are: what they end in is part of the value, or not at hand.

// blanksOf is the version that takes blanks off a value's binary form. The cast to text,
// which every version has, costs more than it saves.
const blanksOf = 140000

const (
	// sampled is how many pages of a table are looked at.
	sampled = 64
	// fewestBlanks is the least of them in an average value that is worth the primary's work.
	fewestBlanks = 16
)

// measurePadding finds the columns of tables whose blanks stay behind.
func (s *snapshot) measurePadding(ctx context.Context, run *feed.Run, tables []*table) error {
	for _, t := range tables {
		if !t.binary || t.blocks == 0 {
			continue
		}
		var names, sums []string
		for _, c := range t.Columns {
			if n := characters(c); n >= fewestBlanks && slices.Contains(t.columns, c.Name) {
				names = append(names, c.Name)
				sums = append(sums, fmt.Sprintf("coalesce(sum(%d - length(%s)), 0)", n, feed.Quote("", c.Name)))
			}
		}
		if len(names) == 0 {
			continue
		}
		percent := min(100, 100*sampled/float64(t.blocks))
		sql := fmt.Sprintf("SELECT count(*), ARRAY[%s]::bigint[] FROM ONLY %s TABLESAMPLE SYSTEM (%g)", strings.Join(sums, ", "), t.Qualified(), percent)
		var rows int64
		var blanks []int64
		if err := s.keeper.QueryRow(ctx, sql).Scan(&rows, &blanks); err != nil {
			return &feed.Error{Server: run.Primary.Name, Doing: "look at the values of " + t.Plain(), Err: err}
		}
		for i, name := range names {
			if rows > 0 && blanks[i]/rows >= fewestBlanks {
				t.unpadded = append(t.unpadded, name)
				all := float64(t.Rows)
				if all <= 0 { // no ANALYZE yet
					all = float64(rows) * 100 / percent
				}
				t.padding += int64(float64(blanks[i]) / float64(rows) * all)
			}
		}
	}
	return nil
}

// characters is n of a column of char(n), 0 of any other.
func characters(c feed.Column) (n int) {
	if _, err := fmt.Sscanf(c.Type, "character(%d)", &n); err != nil || c.Type != fmt.Sprintf("character(%d)", n) {
		return 0
	}
	return n
}

// values is the copied columns as SQL, as the primary sends them.
func (t *table) values() string {
	quoted := make([]string, len(t.columns))
	for i, name := range t.columns {
		quoted[i] = feed.Quote("", name)
		if slices.Contains(t.unpadded, name) {
			quoted[i] = trimmed(quoted[i])
		}
	}
	return strings.Join(quoted, ", ")
}

// trimmed is the binary form of a column of char(n) without the blanks at its end. Most that
// have many of them hold nothing else, which a comparison finds for less than the trimming;
// by bytes, since under other collations more than blanks may equal them.
func trimmed(column string) string {
	return "CASE WHEN " + column + ` COLLATE pg_catalog."C" OPERATOR(pg_catalog.=) '' THEN '' ELSE pg_catalog.rtrim(pg_catalog.bpcharsend(` + column + "), ' '::pg_catalog.bytea) END"
}

// volume is about how much there is to copy, in bytes.
func (t *table) volume() int64 { return max(t.Heap-t.padding, t.Heap/10) }
