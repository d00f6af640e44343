package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// Newer is what a definition of a table has that came with a version of PostgreSQL: an older
// server cannot make such a table.
type Newer struct {
	Table *feed.Table
	// Since is that version, as 18.
	Since int
	// What it is, as "the virtual column gross".
	What string
}

// newerQueries find that in the tables $1, with the columns that it is of. Each may run where
// the server is of its version or newer.
var newerQueries = []struct {
	since int
	query string
}{
	{14, `SELECT a.attrelid, format('the column %s of type %s', a.attname, format_type(a.atttypid, NULL)), ARRAY[a.attname::text]
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
		WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped AND 'm' IN (t.typtype, e.typtype)`},
	{15, `SELECT x.indrelid, format('%s, UNIQUE NULLS NOT DISTINCT', c.relname), (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = x.indrelid AND attnum = ANY(x.indkey))
		FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = ANY($1) AND x.indnullsnotdistinct`},
	{17, `SELECT a.attrelid, format('the identity of the partitioned table, %s', a.attname), ARRAY[a.attname::text]
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'p' WHERE a.attrelid = ANY($1) AND a.attidentity <> ''`},
	{18, `SELECT attrelid, format('the virtual column %s', attname), ARRAY[attname::text] FROM pg_attribute WHERE attrelid = ANY($1) AND attgenerated = 'v' AND NOT attisdropped
		UNION ALL SELECT conrelid, CASE WHEN contype = 'n' THEN format('%s, NOT NULL that is not valid', conname) WHEN conperiod THEN format('%s, which is of periods', conname)
				ELSE format('%s, which is NOT ENFORCED', conname) END,
			(SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY(conkey))
		FROM pg_constraint WHERE conrelid = ANY($1) AND (contype = 'n' AND NOT convalidated OR conperiod OR NOT conenforced)`},
}

// FindNewer lists what the tables of the primary have that a server of version target (as
// 150018) does not know, as far as the columns for which fed is true are concerned.
func FindNewer(ctx context.Context, primary *pgx.Conn, tables []*feed.Table, target int, fed func(t *feed.Table, column string) bool) (all []Newer, err error) {
	oids := make([]uint32, len(tables))
	byOID := make(map[uint32]*feed.Table)
	for i, t := range tables {
		oids[i], byOID[t.OID] = t.OID, t
	}
	var version int
	if err := primary.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return nil, err
	}
	for _, q := range newerQueries {
		if target/10000 >= q.since || version/10000 < q.since {
			continue
		}
		rows, err := primary.Query(ctx, q.query, oids)
		if err != nil {
			return nil, err
		}
		var oid uint32
		var what string
		var columns []string
		if _, err := pgx.ForEachRow(rows, []any{&oid, &what, &columns}, func() error {
			if t := byOID[oid]; !slices.ContainsFunc(columns, func(name string) bool { return !fed(t, name) }) {
				all = append(all, Newer{Table: t, Since: q.since, What: what})
			}
			columns = nil
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b Newer) int { return strings.Compare(a.Table.Plain()+a.What, b.Table.Plain()+b.What) })
	return all, nil
}

// Problem is what stands against making the table on the server called target, which is of
// the version given.
func (n Newer) Problem(target string, version int) feed.Problem {
	return feed.Problem{
		Server: target, Check: "version", Blocks: true,
		What: fmt.Sprintf("it is PostgreSQL %d, and %s has what came with %d: %s", version/10000, n.Table.Plain(), n.Since, n.What),
		Note: fmt.Sprintf("bring the replica to PostgreSQL %d, or leave the column or the table out by replicas[].columns or replicas[].tables", n.Since),
	}
}
