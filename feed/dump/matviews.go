package dump

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// A materialised view has the rows of its query, which would hold the swap up. So the swap
// only writes down its definition over the new tables, in another schema and without rows,
// and leaves the old tables to the old view. Then the new one is filled, while the old one
// serves, and takes its place. A kill in between leaves both, and the next copy begins with
// finishing that. What reads a materialised view and is one itself comes along, after it, and
// so does what reads tables or materialised views through plain views. Those keep their
// place: one over a table is turned to the new one by the swap, one over a materialised view
// when its successor takes its place, which must be before anything is filled through it.

// viewReads is which view, of kind v (plain) or m (materialised), reads which relation by itself.
const viewReads = `SELECT r.ev_class AS reader, v.relkind AS kind, d.refobjid AS read FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN'
	JOIN pg_class v ON v.oid = r.ev_class WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class`

// materialized lists the materialised views over live tables, each after those that it reads.
// Views may read each other in a circle, though nobody can read them; no other chain is
// longer than there are views.
const materialized = `, reads AS (` + viewReads + `),
	over(oid, kind, depth) AS (SELECT reader, reads.kind, 1 FROM reads JOIN f ON f.live = reads.read UNION SELECT reader, reads.kind, depth + 1 FROM over JOIN reads ON reads.read = over.oid
		WHERE depth < (SELECT count(DISTINCT reader) FROM reads))
	SELECT oid::regclass::text FROM over WHERE kind = 'm' GROUP BY oid ORDER BY max(depth), 1`

// throughViews tells whether view $1 reads one of the materialised views $2 through plain ones.
const throughViews = `WITH RECURSIVE reads AS (` + viewReads + `),
	under(oid) AS (SELECT read FROM reads WHERE reader = to_regclass($1) UNION SELECT read FROM under JOIN reads ON reads.reader = under.oid AND reads.kind = 'v')
	SELECT EXISTS (SELECT FROM under WHERE oid IN (SELECT to_regclass(name) FROM unnest($2::text[]) name))`

// oldViewsPrefix is for those that were replaced; the number is that of viewsPrefix.
const oldViewsPrefix = oldPrefix + "views_"

// newViewQuery writes the statements that make the materialised view $1 anew in schema $2.
const newViewQuery = `SELECT s FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner LEFT JOIN pg_am m ON m.oid = c.relam CROSS JOIN LATERAL (
		SELECT 1 AS n, format('CREATE MATERIALIZED VIEW %I.%I USING %I', $2::text, c.relname, m.amname) || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
			|| ' AS ' || rtrim(pg_get_viewdef(c.oid), ';') || ' WITH NO DATA' AS s
		UNION ALL SELECT 2, format('CREATE %sINDEX %I ON %I.%I %s', u, i.relname, $2::text, c.relname, substr(def, length(head) + 1))
			FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
			CROSS JOIN LATERAL (SELECT CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END AS u, pg_get_indexdef(indexrelid) AS def) d
			CROSS JOIN LATERAL (SELECT format('CREATE %sINDEX %I ON %s ', u, i.relname, c.oid::regclass) AS head) h WHERE x.indrelid = c.oid
		UNION ALL SELECT 3, format('GRANT %s ON %I.%I TO %s%s', a.privilege_type, $2::text, c.relname, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = a.grantee) END,
			CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner
		UNION ALL SELECT 4, format('COMMENT ON MATERIALIZED VIEW %I.%I IS %L', $2::text, c.relname, obj_description(c.oid, 'pg_class')) WHERE obj_description(c.oid, 'pg_class') IS NOT NULL
		UNION ALL SELECT v.n, v.s FROM (VALUES (5, format('GRANT CREATE, USAGE ON SCHEMA %I TO %I', $2::text, o.rolname)),
			(6, format('ALTER MATERIALIZED VIEW %I.%I OWNER TO %I', $2::text, c.relname, o.rolname))) v(n, s) WHERE o.rolname <> current_user) q
	WHERE c.oid = $1::text::regclass ORDER BY n`

// newViews writes the statements of the swap that prepare materialised views. One that others
// read is in its place while theirs are written down, and makes way again for the old one.
func (c *copying) newViews(ctx context.Context, views []string) (sql []string, err error) {
	schemas := make(map[string]int)
	var back []string
	for _, view := range views {
		var home, name string
		var read bool
		if err := c.target.QueryRow(ctx, `SELECT n.nspname, v.relname, EXISTS (SELECT FROM (`+viewReads+`) m WHERE m.kind = 'm' AND m.read = v.oid)
			FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace WHERE v.oid = $1::text::regclass`, view).Scan(&home, &name, &read); err != nil {
			return nil, err
		}
		if schemas[home] == 0 {
			schemas[home] = len(schemas) + 1
			sql = append(sql, fmt.Sprintf("CREATE SCHEMA %s%d; COMMENT ON SCHEMA %[1]s%[2]d IS %s; CREATE SCHEMA %s%[2]d", viewsPrefix, schemas[home], feed.Literal(home), oldViewsPrefix))
		}
		made, old := fmt.Sprintf("%s%d", viewsPrefix, schemas[home]), fmt.Sprintf("%s%d", oldViewsPrefix, schemas[home])
		statements, err := c.write(ctx, newViewQuery, view, made)
		if err != nil {
			return nil, err
		}
		sql = append(sql, statements...)
		if read {
			move := func(from, to string) string {
				return "ALTER MATERIALIZED VIEW " + feed.Quote(from, name) + " SET SCHEMA " + feed.Quote("", to)
			}
			sql = append(sql, move(home, old), move(made, home))
			back = append(back, move(home, made), move(old, home))
		}
	}
	return append(sql, back...), nil
}

// pending is a materialised view that a swap has written down.
type pending struct {
	// schema has it until it takes the place of its predecessor in home.
	schema, home, name string
}

// old is the schema that its predecessor goes to.
func (v *pending) old() string { return oldViewsPrefix + strings.TrimPrefix(v.schema, viewsPrefix) }

// unfinished is what to do about an error when the swap is done already.
const unfinished = "the tables themselves are new already; run it again to finish"

// finish fills the materialised views that a swap has prepared, puts them in their places,
// and drops the old tables that their predecessors read.
func (c *copying) finish(ctx context.Context) error {
	if c.run.Print {
		return nil
	}
	rows, err := c.target.Query(ctx, `SELECT n.nspname, obj_description(n.oid, 'pg_namespace'), c.relname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'm'
		WHERE starts_with(n.nspname, $1) ORDER BY c.oid`, viewsPrefix)
	if err != nil {
		return c.unfinished("look for materialised views", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v pending, err error) { return v, row.Scan(&v.schema, &v.home, &v.name) })
	if err != nil {
		return c.unfinished("look for materialised views", err)
	}
	var filled []pending
	for _, v := range all {
		if filled, err = c.placeBefore(ctx, &v, filled); err != nil {
			return err
		}
		step := feed.Step{On: c.run.Target, What: "fill materialised view " + v.home + "." + v.name, SQL: "REFRESH MATERIALIZED VIEW " + feed.Quote(v.schema, v.name)}
		if err := c.run.Do(ctx, c.target, step); err != nil {
			return err
		}
		filled = append(filled, v)
	}
	return c.dropLeft(ctx, filled)
}

func (c *copying) unfinished(doing string, err error) error {
	return &feed.Error{Server: c.run.Target.Name, Doing: doing, Err: err, Next: unfinished}
}

// placeBefore puts what has been filled in its place if v reads that through plain views, which
// would still show the predecessors. It returns what waits on.
func (c *copying) placeBefore(ctx context.Context, v *pending, filled []pending) ([]pending, error) {
	var names []string
	for _, one := range filled {
		names = append(names, feed.Quote(one.home, one.name))
	}
	var through bool
	if err := c.target.QueryRow(ctx, throughViews, feed.Quote(v.schema, v.name), names).Scan(&through); err != nil {
		return nil, c.unfinished("look at what "+v.home+"."+v.name+" reads", err)
	}
	if !through {
		return filled, nil
	}
	sql, err := c.place(ctx, filled)
	if err != nil {
		return nil, err
	}
	return nil, c.run.Do(ctx, c.target, feed.Step{
		On: c.run.Target, What: "put materialised views in their places", SQL: placePatience + sql + "RESET lock_timeout", Next: unfinished,
	})
}

// placePatience is for locks on what people read meanwhile.
const placePatience = "SET lock_timeout = '30s';\n"

// place writes the statements that put filled views in the place of their predecessors.
func (c *copying) place(ctx context.Context, filled []pending) (string, error) {
	var sql strings.Builder
	for _, v := range filled {
		dependents, err := c.viewDependents(ctx, feed.Quote(v.home, v.name))
		if err != nil {
			return "", c.unfinished("look for what reads "+v.home+"."+v.name, err)
		}
		fmt.Fprintf(&sql, "ALTER MATERIALIZED VIEW IF EXISTS %s SET SCHEMA %s;\n", feed.Quote(v.home, v.name), v.old())
		fmt.Fprintf(&sql, "ALTER MATERIALIZED VIEW %s SET SCHEMA %s;\n%s", feed.Quote(v.schema, v.name), feed.Quote("", v.home), dependents)
	}
	return sql.String(), nil
}

// dropLeft puts the last views in their places and drops the old tables, and the old views
// over them.
func (c *copying) dropLeft(ctx context.Context, filled []pending) error {
	place, err := c.place(ctx, filled)
	if err != nil {
		return err
	}
	var views, left []string
	// Without CASCADE: what somebody has made over an old table meanwhile is not ours to drop.
	if err := c.target.QueryRow(ctx, `WITH n AS (SELECT * FROM pg_namespace WHERE starts_with(nspname, $1) OR starts_with(nspname, $2))
		SELECT coalesce(array_agg(s ORDER BY o) FILTER (WHERE o = 0), '{}'), coalesce(array_agg(s ORDER BY o) FILTER (WHERE o > 0), '{}') FROM (
			SELECT 0 AS o, format('%I.%I', n.nspname, c.relname) AS s FROM n JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'm' WHERE starts_with(nspname, $1)
			UNION ALL SELECT 1, 'DROP TABLE ' || string_agg(format('%I.%I', n.nspname, c.relname), ', ') FROM n JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
			UNION ALL SELECT 2, 'DROP SCHEMA ' || string_agg(quote_ident(nspname), ', ') FROM n) q WHERE s IS NOT NULL`, oldPrefix, viewsPrefix).Scan(&views, &left); err != nil {
		return c.unfinished("look for old tables", err)
	}
	if len(left) == 0 {
		return nil
	}
	for _, v := range filled {
		views = append(views, feed.Quote(v.old(), v.name))
	}
	if len(views) > 0 {
		place += "DROP MATERIALIZED VIEW IF EXISTS " + strings.Join(views, ", ") + ";\n"
	}
	return c.run.Do(ctx, c.target, feed.Step{
		On: c.run.Target, What: "drop the old tables", SQL: placePatience + place + strings.Join(left, ";\n") + ";\nRESET lock_timeout", Next: unfinished,
	})
}

// viewDependents writes the statements that turn the views over a materialised one to its
// successor.
func (c *copying) viewDependents(ctx context.Context, view string) (string, error) {
	var sql string
	err := c.target.QueryRow(ctx, `SELECT coalesce(string_agg(DISTINCT format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
			coalesce(' WITH (' || array_to_string(v.reloptions, ', ') || ')', ''), pg_get_viewdef(v.oid)), E'\n'), '')
		FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
		WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1) AND d.classid = 'pg_rewrite'::regclass AND r.rulename = '_RETURN'`, view).Scan(&sql)
	return sql, err
}
