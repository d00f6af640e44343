package logical

import (
	"context"
	"fmt"
	"strings"

	"pgshunt/feed"
)

type doubleRow struct {
	table string // as SQL
	where string // what finds it, as a condition in SQL
}

// uniqueQuery lists the columns of each unique index of a table but its primary key. What an index
// of expressions, or of a part of the rows, forbids is for the server's log to say.
const uniqueQuery = `SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY k(col, n)
	JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.col
	WHERE x.indrelid = $1 AND x.indisunique AND x.indisvalid AND NOT x.indisprimary AND x.indpred IS NULL AND x.indexprs IS NULL AND k.n <= x.indnkeyatts GROUP BY x.indexrelid ORDER BY 1`

// doubled finds the rows of the replica that stand in the way of a change. Of an error nothing is said:
// the server's log has more.
func (s *session) doubled(ctx context.Context, change *rowChange, t *feed.Table) (found []doubleRow) {
	if change.Kind != 'I' && change.Kind != 'U' {
		return nil
	}
	look := func(where string) {
		have, err := one[bool](ctx, s.target, "SELECT EXISTS (SELECT FROM ONLY "+t.Qualified()+" WHERE "+where+")")
		if err == nil && have {
			found = append(found, doubleRow{t.Qualified(), where})
		}
	}
	key := t.PrimaryKey
	if len(key) == 0 {
		key = t.IdentityColumns
	}
	itself := change.condition(t, key, change.Row)
	if change.Kind == 'I' && itself != "" {
		look(itself)
	}
	// The row that is changed has what it has; without a key nobody could tell it from others.
	if itself != "" {
		itself = " AND NOT (" + itself + ")"
	} else if change.Kind == 'U' {
		return found
	}
	if change.Old != nil {
		before := change.condition(t, key, change.Old)
		if before == "" {
			return found
		}
		itself += " AND NOT (" + before + ")"
	}
	rows, err := s.target.Query(ctx, uniqueQuery, t.OID)
	if err != nil {
		return found
	}
	var all [][]string
	for rows.Next() {
		var columns []string
		if rows.Scan(&columns) == nil {
			all = append(all, columns)
		}
	}
	rows.Close()
	for _, columns := range all {
		if where := change.condition(t, columns, change.Row); where != "" {
			look(where + itself)
		}
	}
	return found
}

// condition finds a row by columns of a table, "" where there are none or their values are not told.
func (c *rowChange) condition(t *feed.Table, columns []string, row []value) string {
	var all []string
	for _, name := range columns {
		for i, theirs := range c.Relation.Columns {
			if theirs.Name != name || i >= len(row) || !row[i].Known || row[i].Null {
				continue
			}
			all = append(all, fmt.Sprintf("%s = %s::%s", feed.Quote("", name), feed.Literal(row[i].Text), t.Column(name).Type))
		}
	}
	if len(all) != len(columns) || len(all) == 0 {
		return ""
	}
	return strings.Join(all, " AND ")
}
