package fdw

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// grant gives the roles of the replica the right to read that the roles of the same names
// have on the primary, as the configuration maps names. Nothing is taken away: see [work.wider].
func (w *work) grant(ctx context.Context) error {
	wanted, err := w.readers(ctx, w.primary, feed.Index(w.live))
	if err != nil {
		return &feed.Error{Server: w.run.Primary.Name, Doing: "read who may read what", Err: err}
	}
	have, err := w.readers(ctx, w.target, feed.Index(w.live))
	if err != nil {
		return w.failed("read who may read what", err)
	}
	names, err := w.names(ctx)
	if err != nil {
		return err
	}
	byStatement := make(map[string][]string) // what is granted, to whom
	for g := range wanted {
		for _, to := range names.of(g.role) {
			there := g
			there.role = to
			whole := there
			whole.column = ""
			if have[there] || have[whole] || to == w.run.Target.User() || !names.all(to, g, wanted) {
				continue
			}
			byStatement[g.object()] = append(byStatement[g.object()], quoteUser(to))
		}
	}
	step := feed.Step{On: w.run.Target, What: "let the primary's readers read"}
	var statements []string
	for _, what := range slices.Sorted(maps.Keys(byStatement)) {
		roles := byStatement[what]
		slices.Sort(roles)
		statements = append(statements, "GRANT "+what+" TO "+strings.Join(slices.Compact(roles), ", "))
	}
	if len(statements) == 0 {
		w.run.Done(step)
		return nil
	}
	step.SQL = strings.Join(statements, "; ")
	return w.in(ctx, step.What, func() error { return w.run.Do(ctx, w.target, step) })
}

// reader is a role with the right to read a table or a column of it, or to use a schema.
type reader struct {
	role, schema, table, column string
}

// object is what is granted, as SQL.
func (g reader) object() string {
	switch {
	case g.table == "":
		return "USAGE ON SCHEMA " + feed.Quote("", g.schema)
	case g.column != "":
		return "SELECT (" + feed.Quote("", g.column) + ") ON " + feed.Quote(g.schema, g.table)
	}
	return "SELECT ON " + feed.Quote(g.schema, g.table)
}

const readersQuery = `WITH wanted AS (SELECT * FROM unnest($1::name[], $2::name[]) t(schema, name)),
	rel AS (SELECT c.oid, n.nspname, c.relname, c.relacl, c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN wanted t ON t.schema = n.nspname AND t.name = c.relname),
	found AS (
		SELECT p.grantee, r.nspname, r.relname::text, ''::text AS attname FROM rel r CROSS JOIN aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) p WHERE p.privilege_type = 'SELECT'
		UNION ALL SELECT p.grantee, r.nspname, r.relname, a.attname FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
			CROSS JOIN aclexplode(a.attacl) p WHERE p.privilege_type = 'SELECT'
		UNION ALL SELECT p.grantee, n.nspname, '', '' FROM pg_namespace n CROSS JOIN aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) p
			WHERE p.privilege_type = 'USAGE' AND n.nspname IN (SELECT schema FROM wanted))
	SELECT coalesce(o.rolname, 'public'), f.nspname, f.relname, f.attname FROM found f LEFT JOIN pg_roles o ON o.oid = f.grantee WHERE f.grantee = 0 OR o.oid IS NOT NULL`

// readers reads the access lists of a server for tables, without those that have row-level
// security on the primary: a foreign table has none, so that nobody but its owner may read it.
func (w *work) readers(ctx context.Context, conn *pgx.Conn, tables map[string]*feed.Table) (map[reader]bool, error) {
	var schemas, names []string
	for _, t := range tables {
		if !t.Security {
			schemas, names = append(schemas, t.Schema), append(names, t.Name)
		}
	}
	rows, err := conn.Query(ctx, readersQuery, schemas, names)
	if err != nil {
		return nil, err
	}
	all := make(map[reader]bool)
	var g reader
	_, err = pgx.ForEachRow(rows, []any{&g.role, &g.schema, &g.table, &g.column}, func() error {
		if t := tables[g.schema+"."+g.table]; g.column == "" || t != nil && t.Column(g.column) != nil {
			all[g] = true
		}
		return nil
	})
	return all, err
}

// roleNames maps the primary's roles to the replica's.
type roleNames struct {
	users map[string]string // of the configuration
	here  map[string]bool   // the replica's roles
	there map[string]bool   // the primary's
}

func (w *work) names(ctx context.Context) (*roleNames, error) {
	n := &roleNames{users: w.run.Replica.Users}
	for _, end := range []struct {
		server *feed.Server
		conn   *pgx.Conn
		into   *map[string]bool
	}{{w.run.Target, w.target, &n.here}, {w.run.Primary, w.primary, &n.there}} {
		rows, err := end.conn.Query(ctx, "SELECT rolname FROM pg_roles")
		if err != nil {
			return nil, &feed.Error{Server: end.server.Name, Doing: "read the roles", Err: err}
		}
		roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, &feed.Error{Server: end.server.Name, Doing: "read the roles", Err: err}
		}
		*end.into = map[string]bool{everybody: true}
		for _, role := range roles {
			(*end.into)[role] = true
		}
	}
	return n, nil
}

// of is what a role of the primary is called on the replica, if it is there.
func (n *roleNames) of(role string) []string {
	if to, mapped := n.users[role]; mapped {
		role = to
	}
	if !n.here[role] {
		return nil
	}
	return []string{role}
}

// all tells whether everybody on the primary who is called so on the replica has g: who is
// mapped to a role must not read by it what is not theirs.
func (n *roleNames) all(role string, g reader, wanted map[reader]bool) bool {
	var those []string
	for user, to := range n.users {
		if to == role && n.there[user] {
			those = append(those, user)
		}
	}
	if _, mapped := n.users[role]; !mapped && n.there[role] {
		those = append(those, role)
	}
	return !slices.ContainsFunc(those, func(user string) bool {
		own := g
		own.role = user
		whole := own
		whole.column = ""
		public := whole
		public.role = everybody
		return !wanted[own] && !wanted[whole] && !wanted[public]
	})
}

const widerQuery = `SELECT w.role, w.schema, w.tab, w.col FROM unnest($1::name[], $2::name[], $3::name[], $4::text[]) w(role, schema, tab, col)
	JOIN pg_roles r ON r.rolname = w.role JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.tab
	WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		AND w.col IN ('', a.attname) AND has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')) ORDER BY 2, 3, 1, 4`

// wider tells who may read a foreign table on the replica and may not read the table on the
// primary, though they have a role there: pgshunt sends no reads of such tables here.
func (w *work) wider(ctx context.Context) ([]feed.Problem, error) {
	tables := feed.Index(w.live)
	have, err := w.readers(ctx, w.target, tables)
	if err != nil {
		return nil, w.failed("read who may read what", err)
	}
	var roles, schemas, names, columns []string
	for g := range have {
		if t := tables[g.schema+"."+g.table]; t != nil && w.have[t.Plain()] != nil && g.role != w.run.Target.User() && len(t.Columns) > 0 {
			roles, schemas, names, columns = append(roles, g.role), append(schemas, g.schema), append(names, g.table), append(columns, g.column)
		}
	}
	rows, err := w.primary.Query(ctx, widerQuery, roles, schemas, names, columns)
	var all []feed.Problem
	if err == nil {
		var g reader
		_, err = pgx.ForEachRow(rows, []any{&g.role, &g.schema, &g.table, &g.column}, func() error {
			all = append(all, feed.Problem{
				Server: w.run.Target.Name, Check: "readers", What: fmt.Sprintf("role %s may read %s.%s there, and may not on the primary", g.role, g.schema, g.table),
				Remedy: "REVOKE " + g.object() + " FROM " + quoteUser(g.role) + ";", Note: "until then pgshunt sends no reads of it there",
			})
			return nil
		})
	}
	if err != nil {
		return nil, &feed.Error{Server: w.run.Primary.Name, Doing: "read who may read what", Err: err}
	}
	return all, nil
}
