package fdw

import (
	"context"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// sorting is what decides in which order a collation puts texts on one server. version is "" where
// it is not known, or never changes.
type sorting struct{ locale, version string }

const collationsUsedQuery = `SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.collname) FROM pg_attribute a
	JOIN pg_collation c ON c.oid = a.attcollation JOIN pg_namespace n ON n.oid = c.collnamespace
	WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1`

// sortingQuery reads by to_jsonb what has another name in each version.
const sortingQuery = `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.collname),
	CASE c.collprovider WHEN 'd' THEN concat_ws(' ', coalesce(d.v ->> 'datlocprovider', 'c'), coalesce(d.v ->> 'datlocale', d.v ->> 'daticulocale', d.v ->> 'datcollate'))
	ELSE concat_ws(' ', c.collprovider, coalesce(c.v ->> 'colllocale', c.v ->> 'colliculocale', c.v ->> 'collcollate')) END,
	coalesce(pg_collation_actual_version(c.oid), '')
	FROM (SELECT c.*, to_jsonb(c) AS v FROM pg_collation c) c JOIN pg_namespace n ON n.oid = c.collnamespace,
		(SELECT to_jsonb(d) AS v FROM pg_database d WHERE datname = current_database()) d
	WHERE quote_ident(n.nspname) || '.' || quote_ident(c.collname) = ANY ($1)
	AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))`

func sortings(ctx context.Context, conn *pgx.Conn, collations []string) (map[string]sorting, error) {
	rows, err := conn.Query(ctx, sortingQuery, collations)
	if err != nil {
		return nil, err
	}
	all := make(map[string]sorting)
	var name string
	var one sorting
	_, err = pgx.ForEachRow(rows, []any{&name, &one.locale, &one.version}, func() error { all[name] = one; return nil })
	return all, err
}

// sortProblems are about texts that the servers sort differently, as machines with other versions
// of a library do: postgres_fdw takes rows in the primary's order for sorted, and a merge join of
// them finds too little.
func (w *work) sortProblems(ctx context.Context) ([]feed.Problem, error) {
	oids := make([]uint32, len(w.live))
	for i, t := range w.live {
		oids[i] = t.OID
	}
	var ours, theirs map[string]sorting
	rows, err := w.primary.Query(ctx, collationsUsedQuery, oids)
	var used []string
	if err == nil {
		used, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err == nil {
		theirs, err = sortings(ctx, w.primary, used)
	}
	if err != nil {
		return nil, &feed.Error{Server: w.run.Primary.Name, Doing: "look at its collations", Err: err}
	}
	if ours, err = sortings(ctx, w.target, used); err != nil {
		return nil, w.failed("look at its collations", err)
	}
	var differ []string
	for _, name := range used {
		here, there := ours[name], theirs[name]
		if here.locale != "" && (here.locale != there.locale || here.version != there.version && here.version != "" && there.version != "") {
			differ = append(differ, name)
		}
	}
	if len(differ) == 0 {
		return nil, nil
	}
	return []feed.Problem{{
		Server: w.run.Target.Name, Check: "collation", Blocks: w.run.Replica.FDW.UseRemoteEstimate,
		What: "texts of collation " + some(differ) + " sort differently there than on the primary: a merge join of foreign tables that are read in that order loses rows, or fails",
		Note: "leave fdw.use_remote_estimate out, with which such joins are usual, and SET enable_mergejoin = off where a query has ORDER BY such a column; or name the tables in fdw.materialize",
	}}, nil
}
