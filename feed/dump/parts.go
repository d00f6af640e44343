package dump

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A part is what one COPY brings: a table, or a range of its pages.
type part struct {
	*table
	// from and to are pages, to is 0 for the end of the table. whole is set for all of it.
	from, to int64
	whole    bool
	size     int64 // estimate in bytes
}

// leastPart is the least size of a part in pages (64 MiB): a COPY of its own has its price.
const leastPart = 8192

// ranges is the version that reads ranges of pages without the pages before. Few streams do
// not divide a table: one that has it to itself writes its rows frozen, which saves a
// second writing of every page, now for the index builds and later for VACUUM, and that is
// worth more than half of a second stream.
const (
	ranges       = 140000
	fewestRanges = 3
)

// parts divides the tables, largest first, so that all connections end at about one time.
func (c *copying) parts() (all []part) {
	var total int64
	for _, t := range c.tables {
		total += t.blocks
	}
	most := max(c.least, total/int64(c.run.Jobs)/4)
	for _, t := range c.tables {
		if !t.data() {
			continue
		}
		n := (t.blocks + most - 1) / most
		if n < 2 || c.run.Jobs < fewestRanges || c.primaryVersion < ranges {
			all = append(all, part{table: t, whole: true, size: t.volume()})
			continue
		}
		for i := range n {
			p := part{table: t, from: t.blocks * i / n, to: t.blocks * (i + 1) / n, size: t.volume() / n}
			if i == n-1 {
				p.to = 0
			}
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b part) int { return cmp.Compare(b.size, a.size) })
	return all
}

// statements are the COPY of both sides.
func (p part) statements() (out, in string) {
	format := " WITH (FORMAT text)"
	if p.binary {
		format = " WITH (FORMAT binary)"
	}
	var conditions []string
	if !p.whole {
		conditions = append(conditions, fmt.Sprintf("ctid >= '(%d,0)'", p.from))
		if p.to > 0 {
			conditions = append(conditions, fmt.Sprintf("ctid < '(%d,0)'", p.to))
		}
	}
	if p.where != "" {
		conditions = append(conditions, "("+p.where+"\n)")
	}
	list := p.columnList()
	if len(p.columns) == 0 {
		list = ""
	}
	out = "COPY " + p.Qualified() + list + " TO STDOUT" + format
	if len(conditions) > 0 || len(p.columns) == 0 || len(p.unpadded) > 0 {
		out = "COPY (SELECT " + p.values() + " FROM ONLY " + p.Qualified()
		if len(conditions) > 0 {
			out += " WHERE " + strings.Join(conditions, " AND ")
		}
		out += ") TO STDOUT" + format
	}
	in = "COPY " + p.staged() + list + " FROM STDIN" + format
	if p.whole {
		// Rows of a table that was emptied in the same transaction need no later visit.
		in = strings.TrimSuffix(in, ")") + ", FREEZE)"
	}
	return out, in
}
