package schema

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// Newer is what a definition of a table has that came with a version of PostgreSQL: an older
// server cannot make such a table.
type Newer struct {
	// Table is schema.name.
	Table string `json:"table"`
	// Since is that version, as 18.
	Since int `json:"since"`
	// What it is, as "the virtual column gross", and of which columns.
	What    string   `json:"what"`
	Columns []string `json:"columns"`
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
		UNION ALL SELECT conrelid, CASE WHEN contype = 'n' THEN format(CASE WHEN convalidated THEN '%s, NOT NULL NO INHERIT' ELSE '%s, NOT NULL that is not valid' END, conname) WHEN conperiod THEN format('%s, which is of periods', conname)
				ELSE format('%s, which is NOT ENFORCED', conname) END,
			(SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY(conkey))
		FROM pg_constraint WHERE conrelid = ANY($1) AND (contype = 'n' AND (connoinherit OR NOT convalidated) OR conperiod OR NOT conenforced)`},
}

// FindNewer lists what the tables of the primary have that came after PostgreSQL 13.
func FindNewer(ctx context.Context, primary *pgx.Conn, tables []*feed.Table) (all []Newer, err error) {
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
		if version/10000 < q.since {
			break
		}
		rows, err := primary.Query(ctx, q.query, oids)
		if err != nil {
			return nil, err
		}
		n := Newer{Since: q.since}
		var oid uint32
		if _, err := pgx.ForEachRow(rows, []any{&oid, &n.What, &n.Columns}, func() error {
			n.Table = byOID[oid].Plain()
			all = append(all, n)
			n.Columns = nil
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b Newer) int { return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.What, b.What)) })
	return all, nil
}

// Problem is what stands against making the table on the server called target, which is of
// the version given.
func (n Newer) Problem(target string, version int) feed.Problem {
	return feed.Problem{
		Server: target, Check: "version", Blocks: true,
		What: fmt.Sprintf("it is PostgreSQL %d, and %s has what came with %d: %s", version/10000, n.Table, n.Since, n.What),
		Note: fmt.Sprintf("bring the replica to PostgreSQL %d, or leave the column or the table out by replicas[].columns or replicas[].tables", n.Since),
	}
}
