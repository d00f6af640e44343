package fdw

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// rights are what the role of the source may do on the primary, as far as it matters here.
type rights struct {
	exists, login, super, connect bool
	// schemas are those it may not use; tables those it may not read, with the columns
	// that are missing where it may read others.
	schemas []string
	tables  []unreadable
	// hidden are the tables that row-level security would show it a part of, writable those
	// it may write, both by schema and name.
	hidden, writable []string
}

type unreadable struct {
	table   *feed.Table
	columns []string // nil for all of them
}

const roleQuery = `SELECT rolcanlogin, rolsuper, has_database_privilege(rolname, current_database(), 'CONNECT') FROM pg_roles WHERE rolname = $1`

const rightsQuery = `SELECT c.oid, n.nspname, has_schema_privilege(r.oid, n.oid, 'USAGE'), has_table_privilege(r.oid, c.oid, 'SELECT'),
	ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		AND NOT has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') ORDER BY a.attnum),
	c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')),
	has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.rolname = $2 WHERE c.oid = ANY ($1) ORDER BY n.nspname, c.relname`

// rights asks the primary; whoever may log in there may ask.
func (w *work) rights(ctx context.Context, role string) (*rights, error) {
	failed := func(err error) error {
		return &feed.Error{Server: w.run.Primary.Name, Doing: "read the privileges of " + role, Err: err}
	}
	r := new(rights)
	rows, err := w.primary.Query(ctx, roleQuery, role)
	if err != nil {
		return nil, failed(err)
	}
	_, err = pgx.ForEachRow(rows, []any{&r.login, &r.super, &r.connect}, func() error { r.exists = true; return nil })
	if err != nil || !r.exists {
		return r, wrap(err, failed)
	}
	byOID, oids := make(map[uint32]*feed.Table), make([]uint32, len(w.live))
	for i, t := range w.live {
		byOID[t.OID], oids[i] = t, t.OID
	}
	if rows, err = w.primary.Query(ctx, rightsQuery, oids, role); err != nil {
		return nil, failed(err)
	}
	var oid uint32
	var schema string
	var usage, read, hidden, writes bool
	var missing []string
	_, err = pgx.ForEachRow(rows, []any{&oid, &schema, &usage, &read, &missing, &hidden, &writes}, func() error {
		t := byOID[oid]
		if !usage && !slices.Contains(r.schemas, schema) {
			r.schemas = append(r.schemas, schema)
		}
		if u, ok := w.unreadable(t, read, missing); ok {
			r.tables = append(r.tables, u)
		}
		if hidden {
			r.hidden = append(r.hidden, t.Plain())
		}
		if writes {
			r.writable = append(r.writable, t.Plain())
		}
		missing = nil
		return nil
	})
	return r, wrap(err, failed)
}

func wrap(err error, as func(error) error) error {
	if err != nil {
		return as(err)
	}
	return nil
}

// unreadable is what of the fed columns of a table is missing, where anything is. Of a table
// that is fed whole the whole is wanted, so that a new column needs nothing more.
func (w *work) unreadable(t *feed.Table, all bool, missing []string) (unreadable, bool) {
	list := w.run.Selection.Columns(t.Schema, t.Name)
	switch {
	case all:
		return unreadable{}, false
	case list == nil:
		return unreadable{table: t}, true
	}
	missing = slices.DeleteFunc(slices.Clone(missing), func(c string) bool { return !slices.Contains(list, c) })
	return unreadable{table: t, columns: missing}, len(missing) > 0
}

// grants writes the statements that give the role what is missing, one a line.
func (r *rights) grants(role string) string {
	to := " TO " + feed.Quote("", role) + ";"
	var all []string
	for _, schema := range r.schemas {
		all = append(all, "GRANT USAGE ON SCHEMA "+feed.Quote("", schema)+to)
	}
	for _, u := range r.tables {
		all = append(all, "GRANT SELECT"+columnList(u.columns)+" ON "+u.table.Qualified()+to)
	}
	return strings.Join(all, "\n")
}

// columnList writes names in parentheses; "" where there are none.
func columnList(names []string) string {
	if len(names) == 0 {
		return ""
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = feed.Quote("", name)
	}
	return " (" + strings.Join(quoted, ", ") + ")"
}

// least writes what makes a role that may read the fed tables and nothing else.
func (w *work) least(role string) string {
	all := rights{}
	for _, t := range w.live {
		if !slices.Contains(all.schemas, t.Schema) {
			all.schemas = append(all.schemas, t.Schema)
		}
		all.tables = append(all.tables, unreadable{table: t, columns: w.run.Selection.Columns(t.Schema, t.Name)})
	}
	return fmt.Sprintf("CREATE ROLE %s LOGIN;\nGRANT CONNECT ON DATABASE %s TO %[1]s;\n%[3]s", feed.Quote("", role), feed.Quote("", w.run.Primary.Database()), all.grants(role))
}

// sourceProblems are those of the role by which the replica reaches the primary.
func (w *work) sourceProblems(ctx context.Context) ([]feed.Problem, error) {
	role := w.run.Source.LoginUser()
	r, err := w.rights(ctx, role)
	if err != nil {
		return nil, err
	}
	var all []feed.Problem
	add := func(blocks bool, check, remedy, note, what string, args ...any) {
		all = append(all, feed.Problem{Server: w.run.Primary.Name, Check: check, Blocks: blocks, What: fmt.Sprintf(what, args...), Remedy: remedy, Note: note})
	}
	if !r.exists {
		add(true, "source_role", w.least(role), "then give it the password of replicas[].source", "there is no role %s, as which the replica would read", role)
		return all, nil
	}
	if !r.login {
		add(true, "source_role", "ALTER ROLE "+feed.Quote("", role)+" LOGIN;", "", "role %s may not log in", role)
	}
	if !r.connect {
		add(true, "privileges", fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s;", feed.Quote("", w.run.Primary.Database()), feed.Quote("", role)), "",
			"role %s may not connect to database %s", role, w.run.Primary.Database())
	}
	if len(r.schemas)+len(r.tables) > 0 {
		add(true, "privileges", r.grants(role), "", "role %s may not read %s", role, some(r.unread()))
	}
	if len(r.hidden) > 0 {
		add(true, "row_security", "ALTER ROLE "+feed.Quote("", role)+" BYPASSRLS;", "or leave them out of tables",
			"row-level security would show role %s only a part of %s", role, some(r.hidden))
	}
	if r.super || len(r.writable) > 0 {
		add(false, "least_privilege", w.least(w.run.Name), "then name it in replicas[].source; postgres_fdw is told to write nothing all the same",
			"foreign tables would read as role %s, which may also write there", role)
	}
	return all, nil
}

// unread are the tables that cannot be read, for a schema or for themselves.
func (r *rights) unread() (names []string) {
	for _, u := range r.tables {
		names = append(names, u.table.Plain())
	}
	for _, schema := range r.schemas {
		names = append(names, "schema "+schema)
	}
	return names
}

// some writes names, and of many the first ones.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
