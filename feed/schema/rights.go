package schema

import (
	"context"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// Rights are who may do what with tables of one server.
type Rights struct {
	// Tables are by schema and name with a dot between.
	Tables map[string]*TableRights `json:"tables"`
	// Users are, by schema, the roles that may use it by its access list or as its owner.
	Users map[string][]string `json:"users"`
	// Roles are all roles of the server.
	Roles []string `json:"roles"`
	// Superusers are those of Roles that may do everything.
	Superusers []string `json:"superusers,omitempty"`
	// Members are, by role, who may act as it, through others too, and is no superuser; of the roles
	// that have a privilege on a table. It is nil where it was not read.
	Members map[string][]string `json:"members"`
	// acts are the same, for isMember.
	acts map[membership]bool
	// given are rights that the replica's roles have on the primary by no access list of the
	// table, as [Foresee] has found; see key.
	given map[string]bool
}

// TableRights are who may do what with one table. A role is "" where everybody is meant.
type TableRights struct {
	Owner string `json:"owner"`
	// Secured and Forced are row-level security, for all but the owner and for the owner too.
	Secured  bool        `json:"secured,omitempty"`
	Forced   bool        `json:"forced,omitempty"`
	Grants   []Grant     `json:"grants,omitempty"`
	Policies []RowPolicy `json:"policies,omitempty"`
}

// Grant is one privilege of a role other than the owner.
type Grant struct {
	Role      string `json:"role"`
	Privilege string `json:"privilege"`
	// Column is "" where it is of the whole table.
	Column    string `json:"column,omitempty"`
	Grantable bool   `json:"grantable,omitempty"`
	// Grantor is who gave it, "" for the owner.
	Grantor string `json:"grantor,omitempty"`
	// Closed is set where the role may not use the table's schema, so that it has the
	// privilege for nothing.
	Closed bool `json:"closed,omitempty"`
}

// RowPolicy is a policy of row-level security.
type RowPolicy struct {
	Name       string `json:"name"`
	Permissive bool   `json:"permissive,omitempty"`
	// Command is SELECT, INSERT, UPDATE, DELETE or ALL.
	Command string   `json:"command"`
	Roles   []string `json:"roles"`
	// Members are all who are members of Roles.
	Members []string `json:"members,omitempty"`
	Using   string   `json:"using,omitempty"`
	Check   string   `json:"check,omitempty"`
	// Columns of the table, and other relations as SQL, are what the expressions need.
	Columns   []string `json:"columns,omitempty"`
	Relations []string `json:"relations,omitempty"`
}

const namedRelations = `WITH rel AS (SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN unnest($1::text[], $2::text[]) w(s, t) ON w.s = n.nspname AND w.t = c.relname WHERE c.relkind IN ('r', 'p', 'f')) `

const (
	ownersQuery = namedRelations + `SELECT nspname::text, relname::text, pg_get_userbyid(relowner)::text, relrowsecurity, relforcerowsecurity FROM rel`

	// MAINTAIN is of no concern: it shows and changes no row.
	tableGrantsQuery = namedRelations + `, found AS (
			SELECT r.oid, p.*, '' AS col FROM rel r CROSS JOIN LATERAL aclexplode(r.relacl) p
			UNION ALL SELECT r.oid, p.*, a.attname::text FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped CROSS JOIN LATERAL aclexplode(a.attacl) p)
		SELECT r.nspname::text, r.relname::text, coalesce(g.rolname::text, ''), f.privilege_type, f.col, f.is_grantable,
			CASE WHEN f.grantor = r.relowner THEN '' ELSE pg_get_userbyid(f.grantor)::text END,
			NOT CASE WHEN f.grantee = 0 THEN has_schema_privilege('public', r.relnamespace, 'USAGE') ELSE has_schema_privilege(f.grantee, r.relnamespace, 'USAGE') END
		FROM found f JOIN rel r ON r.oid = f.oid LEFT JOIN pg_roles g ON g.oid = f.grantee
		WHERE f.grantee <> r.relowner AND (f.grantee = 0 OR g.oid IS NOT NULL)
		AND f.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER') ORDER BY 1, 2, 3, 4, 5`

	rowPoliciesQuery = namedRelations + `SELECT r.nspname::text, r.relname::text, p.polname::text, p.polpermissive,
			CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
			ARRAY(SELECT coalesce(o.rolname::text, '') FROM unnest(p.polroles) x(id) LEFT JOIN pg_roles o ON o.oid = x.id ORDER BY 1),
			ARRAY(SELECT m.rolname::text FROM pg_roles m WHERE NOT m.rolsuper AND EXISTS (SELECT FROM pg_roles o WHERE o.oid = ANY(p.polroles) AND o.oid <> m.oid AND pg_has_role(m.oid, o.oid, 'MEMBER')) ORDER BY 1),
			coalesce(pg_get_expr(p.polqual, p.polrelid), ''), coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''),
			ARRAY(SELECT DISTINCT a.attname::text FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
				WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = p.polrelid AND d.refobjsubid > 0),
			ARRAY(SELECT DISTINCT format('%I.%I', n.nspname, o.relname) FROM pg_depend d JOIN pg_class o ON o.oid = d.refobjid JOIN pg_namespace n ON n.oid = o.relnamespace
				WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> p.polrelid)
		FROM rel r JOIN pg_policy p ON p.polrelid = r.oid ORDER BY 1, 2, 3`

	schemaUsersQuery = `SELECT n.nspname::text, coalesce(r.rolname::text, '') FROM pg_namespace n
		CROSS JOIN LATERAL (SELECT grantee AS role FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) WHERE privilege_type = 'USAGE' UNION SELECT n.nspowner) u
		LEFT JOIN pg_roles r ON r.oid = u.role WHERE n.nspname = ANY($1) AND (u.role = 0 OR r.oid IS NOT NULL) ORDER BY 1, 2`
)

// ReadRights reads who may do what with the tables of these names, all as it is at one moment: a
// privilege that is given with the policy that bounds it must not be seen without that. Tables that
// are not there are left out. Where conn has a transaction it works in that.
func ReadRights(ctx context.Context, conn *pgx.Conn, tables []*feed.Table) (r *Rights, err error) {
	if conn.PgConn().TxStatus() != 'I' {
		return readRights(ctx, conn, tables)
	}
	moment := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, conn, moment, func(pgx.Tx) (err error) {
		r, err = readRights(ctx, conn, tables)
		return err
	})
	return r, err
}

func readRights(ctx context.Context, conn *pgx.Conn, tables []*feed.Table) (*Rights, error) {
	r := &Rights{Tables: make(map[string]*TableRights), Users: make(map[string][]string)}
	schemas, names := make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		schemas[i], names[i] = t.Schema, t.Name
	}
	var schema, name, role string
	var a TableRights
	err := each(ctx, conn, ownersQuery, []any{schemas, names}, []any{&schema, &name, &a.Owner, &a.Secured, &a.Forced}, func() {
		one := a
		r.Tables[schema+"."+name] = &one
	})
	if err != nil {
		return nil, err
	}
	var g Grant
	into := []any{&schema, &name, &g.Role, &g.Privilege, &g.Column, &g.Grantable, &g.Grantor, &g.Closed}
	err = each(ctx, conn, tableGrantsQuery, []any{schemas, names}, into, func() {
		if t := r.Tables[schema+"."+name]; t != nil {
			t.Grants = append(t.Grants, g)
		}
	})
	if err != nil {
		return nil, err
	}
	var p RowPolicy
	into = []any{&schema, &name, &p.Name, &p.Permissive, &p.Command, &p.Roles, &p.Members, &p.Using, &p.Check, &p.Columns, &p.Relations}
	err = each(ctx, conn, rowPoliciesQuery, []any{schemas, names}, into, func() {
		if t := r.Tables[schema+"."+name]; t != nil {
			t.Policies = append(t.Policies, p)
		}
		p = RowPolicy{}
	})
	if err != nil {
		return nil, err
	}
	err = each(ctx, conn, schemaUsersQuery, []any{schemas}, []any{&schema, &role}, func() { r.Users[schema] = append(r.Users[schema], role) })
	if err != nil {
		return nil, err
	}
	var super bool
	err = each(ctx, conn, `SELECT rolname::text, rolsuper FROM pg_roles ORDER BY 1`, nil, []any{&role, &super}, func() {
		r.Roles = append(r.Roles, role)
		if super {
			r.Superusers = append(r.Superusers, role)
		}
	})
	if err != nil {
		return nil, err
	}
	return r, r.readMembers(ctx, conn, r.holders())
}

// each calls one for each row of a query.
func each(ctx context.Context, conn *pgx.Conn, sql string, args, into []any, one func()) error {
	rows, err := conn.Query(ctx, sql, args...)
	if err == nil {
		_, err = pgx.ForEachRow(rows, into, func() error { one(); return nil })
	}
	return err
}
