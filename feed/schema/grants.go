package schema

import (
	"context"
	"slices"
	"strings"

	"pgshunt/feed"
)

// privilegesQuery lists what roles other than the owner may do with relations and their
// columns, and with schemas. Only what was granted by hand is there; and the owner may read,
// who is nobody in particular on the replica. MAINTAIN shows and changes no row, and only
// PostgreSQL 17 and later know it.
const privilegesQuery = `SELECT c.oid, r.rolname::text, n.nspname, c.relname, p.privilege_type, '', p.is_grantable
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) p LEFT JOIN pg_roles r ON r.oid = p.grantee
	WHERE c.oid = ANY($1) AND p.grantee <> c.relowner AND p.privilege_type <> 'MAINTAIN'
	UNION ALL SELECT c.oid, r.rolname::text, n.nspname, c.relname, p.privilege_type, a.attname, p.is_grantable
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
	CROSS JOIN LATERAL aclexplode(a.attacl) p LEFT JOIN pg_roles r ON r.oid = p.grantee WHERE c.oid = ANY($1) AND p.grantee <> c.relowner
	UNION ALL SELECT n.oid, r.rolname::text, n.nspname, '', p.privilege_type, '', p.is_grantable
	FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) p LEFT JOIN pg_roles r ON r.oid = p.grantee WHERE n.oid = ANY($2) AND p.grantee <> n.nspowner
	UNION ALL SELECT c.oid, r.rolname::text, n.nspname, c.relname, 'SELECT', '', false
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = ANY($1)
	UNION ALL SELECT n.oid, r.rolname::text, n.nspname, '', 'USAGE', '', false
	FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.oid = ANY($2)
	ORDER BY 3, 4, 2, 5, 6`

// grants writes the privileges on tables and schemas of the primary as far as the replica
// has the roles. Columns that are not fed are left out.
func (b *bringing) grants(ctx context.Context, tables []*feed.Table, schemas []uint32) (string, error) {
	roles, err := b.roles(ctx)
	if err != nil {
		return "", &feed.Error{Server: b.run.Target.Name, Doing: "look for roles", Err: err}
	}
	byName := feed.Index(tables)
	var sql strings.Builder
	for _, p := range b.facts.Privileges {
		if p.Name == "" && !slices.Contains(schemas, p.OID) || p.Name != "" && byName[p.Schema+"."+p.Name] == nil {
			continue
		}
		to := "PUBLIC"
		if p.Role != nil {
			if !roles[*p.Role] || *p.Role == b.run.Target.User() {
				continue
			}
			to = feed.Quote("", *p.Role)
		}
		on, privilege := " ON SCHEMA "+feed.Quote("", p.Schema), p.Privilege
		if p.Name != "" {
			on = " ON TABLE " + feed.Quote(p.Schema, p.Name)
		}
		if p.Column != "" {
			if fed := b.fedColumns(byName[p.Schema+"."+p.Name]); fed != nil && !slices.Contains(fed, p.Column) {
				continue
			}
			privilege += " (" + feed.Quote("", p.Column) + ")"
		}
		sql.WriteString("GRANT " + privilege + on + " TO " + to)
		if p.Grantable {
			sql.WriteString(" WITH GRANT OPTION")
		}
		sql.WriteString(";\n")
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
