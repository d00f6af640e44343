package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

const readableQuery = `SELECT c.oid, has_schema_privilege(c.relnamespace, 'USAGE'), row_security_active(c.oid), has_any_column_privilege(c.oid, 'SELECT'),
	coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')), '{}')
	FROM pg_class c WHERE c.oid = ANY($1)`

// Readable says what keeps the role of conn, a connection to server, from reading what is fed
// of the tables: schemas, tables and columns that it may not see, and row-level security that
// would show it a part of the rows.
func (r *Run) Readable(ctx context.Context, conn *pgx.Conn, server *Server, tables []*Table) ([]Problem, error) {
	byOID := make(map[uint32]*Table, len(tables))
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i], byOID[t.OID] = t.OID, t
	}
	rows, err := conn.Query(ctx, readableQuery, oids)
	if err != nil {
		return nil, err
	}
	var oid uint32
	var usage, secured, visible bool
	var hidden []string
	var schemas, whole, parts, guarded []string
	_, err = pgx.ForEachRow(rows, []any{&oid, &usage, &secured, &visible, &hidden}, func() error {
		t := byOID[oid]
		if schema := Quote("", t.Schema); !usage && !slices.Contains(schemas, schema) {
			schemas = append(schemas, schema)
		}
		if secured {
			guarded = append(guarded, t.Plain())
		}
		want := r.Selection.Columns(t.Schema, t.Name)
		switch hides := func(c string) bool { return slices.Contains(hidden, c) }; {
		case want == nil && (len(hidden) > 0 || !visible): // a table may have no column
			whole = append(whole, t.Qualified())
		case slices.ContainsFunc(want, hides):
			parts = append(parts, "("+quoted(want)+") ON "+t.Qualified())
		}
		hidden = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	var problems []Problem
	role := Quote("", server.User())
	block := func(check, what, remedy, note string) {
		problems = append(problems, Problem{Server: server.Name, Check: check, Blocks: true, What: what, Remedy: remedy, Note: note})
	}
	slices.Sort(schemas)
	if len(schemas) > 0 {
		block("schema_usage", fmt.Sprintf("role %s may not use schema %s", role, strings.Join(schemas, ", ")),
			"GRANT USAGE ON SCHEMA "+strings.Join(schemas, ", ")+" TO "+role+";", "")
	}
	slices.Sort(whole)
	if len(whole) > 0 {
		block("select", fmt.Sprintf("role %s may not read %s", role, some(whole)), "GRANT SELECT ON "+strings.Join(whole, ", ")+" TO "+role+";", "")
	}
	slices.Sort(parts)
	for _, part := range parts {
		block("select", fmt.Sprintf("role %s may not read %s", role, part), "GRANT SELECT "+part+" TO "+role+";", "")
	}
	slices.Sort(guarded)
	if len(guarded) > 0 {
		block("row_security", fmt.Sprintf("row-level security would hide rows of %s from role %s", some(guarded), role),
			"ALTER ROLE "+role+" BYPASSRLS;", "or leave them out: tables: ['!"+strings.Join(guarded, "', '!")+"']")
	}
	return problems, nil
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = Quote("", n)
	}
	return strings.Join(out, ", ")
}

// some names the first few of many.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
