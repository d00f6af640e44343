package schema

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// privilegesQuery lists what roles other than the owner may do with relations and their
// columns, and with schemas. Only what was granted by hand is there; and the owner may read,
// who is nobody in particular on the replica.
const privilegesQuery = `SELECT r.rolname::text, n.nspname, c.relname, p.privilege_type, '', p.is_grantable
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) p LEFT JOIN pg_roles r ON r.oid = p.grantee
	WHERE c.oid = ANY($1) AND p.grantee <> c.relowner
	UNION ALL SELECT r.rolname::text, n.nspname, c.relname, p.privilege_type, a.attname, p.is_grantable
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
	CROSS JOIN LATERAL aclexplode(a.attacl) p LEFT JOIN pg_roles r ON r.oid = p.grantee WHERE c.oid = ANY($1) AND p.grantee <> c.relowner
	UNION ALL SELECT r.rolname::text, n.nspname, '', p.privilege_type, '', p.is_grantable
	FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) p LEFT JOIN pg_roles r ON r.oid = p.grantee WHERE n.oid = ANY($2) AND p.grantee <> n.nspowner
	UNION ALL SELECT r.rolname::text, n.nspname, c.relname, 'SELECT', '', false
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = ANY($1)
	UNION ALL SELECT r.rolname::text, n.nspname, '', 'USAGE', '', false
	FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.oid = ANY($2)
	ORDER BY 2, 3, 1, 4, 5`

// grants writes the privileges on tables and schemas of the primary as far as the replica
// has the roles. Columns that are not fed are left out.
func (b *bringing) grants(ctx context.Context, tables []*feed.Table, schemas []uint32) (string, error) {
	roles, err := b.roles(ctx)
	if err != nil {
		return "", &feed.Error{Server: b.run.Target.Name, Doing: "look for roles", Err: err}
	}
	oids, byName := make([]uint32, len(tables)), feed.Index(tables)
	for i, t := range tables {
		oids[i] = t.OID
	}
	rows, err := b.primary.Query(ctx, privilegesQuery, oids, schemas)
	if err != nil {
		return "", &feed.Error{Server: b.run.Primary.Name, Doing: "look at privileges", Err: err}
	}
	var sql strings.Builder
	var role *string
	var schema, name, privilege, column string
	var grantable bool
	_, err = pgx.ForEachRow(rows, []any{&role, &schema, &name, &privilege, &column, &grantable}, func() error {
		to := "PUBLIC"
		if role != nil {
			if !roles[*role] || *role == b.run.Target.User() {
				return nil
			}
			to = feed.Quote("", *role)
		}
		on := " ON SCHEMA " + feed.Quote("", schema)
		if name != "" {
			on = " ON TABLE " + feed.Quote(schema, name)
		}
		if column != "" {
			if fed := b.fedColumns(byName[schema+"."+name]); fed != nil && !slices.Contains(fed, column) {
				return nil
			}
			privilege += " (" + feed.Quote("", column) + ")"
		}
		sql.WriteString("GRANT " + privilege + on + " TO " + to)
		if grantable {
			sql.WriteString(" WITH GRANT OPTION")
		}
		sql.WriteString(";\n")
		return nil
	})
	if err != nil {
		return "", &feed.Error{Server: b.run.Primary.Name, Doing: "look at privileges", Err: err}
	}
	return sql.String(), nil
}

// schemaGrants are the privileges on schemas that are made now.
func (b *bringing) schemaGrants(ctx context.Context) (string, error) {
	var made []uint32
	for _, s := range b.around {
		if s.class == classSchema && !b.have.has(s.class, s.identity) {
			made = append(made, s.oid)
		}
	}
	return b.grants(ctx, nil, made)
}
