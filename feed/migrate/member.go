package migrate

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed/schema"
)

// heldQuery are the tables that members of roles may see by that membership, also through roles that these
// are members of; bounded, that a restrictive policy is for one of them, by which members see less.
const heldQuery = `WITH r AS MATERIALIZED (SELECT DISTINCT o.oid, o.rolname FROM pg_roles g JOIN pg_roles o ON pg_has_role(g.oid, o.oid, 'MEMBER') WHERE g.rolname = ANY ($1))
	SELECT n.nspname, c.relname, EXISTS (SELECT FROM pg_policy p JOIN r ON r.oid = ANY (p.polroles) WHERE p.polrelid = c.oid AND NOT p.polpermissive)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (
		EXISTS (SELECT FROM r WHERE r.oid IN (c.relowner, n.nspowner) OR r.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_database_owner'))
		OR EXISTS (SELECT FROM aclexplode(c.relacl) a JOIN r ON r.oid = a.grantee) OR EXISTS (SELECT FROM aclexplode(n.nspacl) a JOIN r ON r.oid = a.grantee)
		OR EXISTS (SELECT FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) a JOIN r ON r.oid = a.grantee WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL)
		OR EXISTS (SELECT FROM pg_policy p JOIN r ON r.oid = ANY (p.polroles) WHERE p.polrelid = c.oid)) ORDER BY 1, 2`

// held puts these tables in the place of a change that names roles alone.
func held(ctx context.Context, primary *pgx.Conn, c *Change) (list []Change, err error) {
	rows, err := primary.Query(ctx, heldQuery, c.Roles)
	if err != nil {
		return nil, err
	}
	var name, table string
	var bounded bool
	_, err = pgx.ForEachRow(rows, []any{&name, &table, &bounded}, func() error {
		one := Change{Action: membership, Schema: name, Name: table, To: c.To, Roles: c.Roles}
		if bounded {
			one.To = either
		}
		list = append(list, one)
		return nil
	})
	return list, err
}

// throughGroups are the roles of the primary that may lose something on a table when somebody leaves
// groups: all members of those of them, and of roles that they are members of, that have anything there. A role
// of the replica has its members there, too, and goes with them.
func (r *replica) throughGroups(groups []string, theirs, ours *schema.Rights) (all []string) {
	named := func(role string) string {
		if to, mapped := r.run.Replica.Users[role]; mapped {
			return to
		}
		return role
	}
	for holder, members := range theirs.Members {
		in := func(role string) bool { return role == holder || slices.Contains(members, role) }
		if !slices.ContainsFunc(groups, in) {
			continue
		}
		all = append(all, members...)
		if slices.ContainsFunc(members, func(m string) bool { return slices.Contains(ours.Members[named(holder)], named(m)) }) {
			all = append(all, holder)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// mayGive tells whether a user may make others members of roles, as far as the roles tell.
func mayGive(ctx context.Context, primary *pgx.Conn, user string, roles []string) (bool, error) {
	no, err := find1(ctx, primary, `SELECT 'no' FROM pg_roles me JOIN pg_roles g ON g.rolname = ANY ($2)
		WHERE me.rolname = $1 AND NOT me.rolsuper AND NOT me.rolcreaterole AND NOT pg_has_role(me.oid, g.oid, 'MEMBER WITH ADMIN OPTION') LIMIT 1`, user, roles)
	return no == "", err
}
