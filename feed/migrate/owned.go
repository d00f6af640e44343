package migrate

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// ofOwned tells whether a change is about everything that roles own.
func ofOwned(c *Change) bool { return c.Action == dropOwned || c.Action == reassignOwned }

// ownedQuery is what DROP OWNED and REASSIGN OWNED find: an action, a schema, a name, and who loses
// privileges. What a role owns goes, or gets another owner; what it may do elsewhere is
// taken from it by DROP OWNED alone, policies for it too.
const ownedQuery = `WITH who AS (SELECT oid, rolname FROM pg_roles WHERE rolname = ANY ($1)),
	t AS (SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't')
	SELECT CASE WHEN $2 THEN 'drop table' ELSE 'privileges' END, t.nspname, t.relname, '' FROM t WHERE t.relowner IN (SELECT oid FROM who)
	UNION ALL SELECT CASE WHEN $2 THEN 'unknown' ELSE 'privileges' END, n.nspname, '', '' FROM pg_namespace n WHERE n.nspowner IN (SELECT oid FROM who)
	UNION ALL SELECT 'drop type', n.nspname, y.typname, '' FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace
		WHERE $2 AND y.typtype IN ('e', 'd') AND y.typowner IN (SELECT oid FROM who)
	UNION ALL SELECT DISTINCT 'privileges', t.nspname, t.relname, w.rolname FROM t JOIN who w ON w.oid <> t.relowner
		WHERE $2 AND (EXISTS (SELECT FROM aclexplode(t.relacl) a WHERE w.oid IN (a.grantee, a.grantor))
			OR EXISTS (SELECT FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = t.oid AND w.oid IN (x.grantee, x.grantor)))
	UNION ALL SELECT 'policy', t.nspname, t.relname, '' FROM t WHERE $2 AND EXISTS (SELECT FROM pg_policy p JOIN who w ON w.oid = ANY (p.polroles) WHERE p.polrelid = t.oid)
	UNION ALL SELECT 'privileges', n.nspname, '', w.rolname FROM pg_namespace n JOIN who w ON w.oid <> n.nspowner
		WHERE $2 AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE w.oid IN (a.grantee, a.grantor))`

// owned puts what the primary has of the roles in the place of a change that names roles alone.
func owned(ctx context.Context, primary *pgx.Conn, c *Change) (list []Change, err error) {
	drop := c.Action == dropOwned
	if c.Roles == nil {
		return nil, refuse("it is not known whose everything that is, since the role is not named", "write its name instead of CURRENT_USER and the like")
	}
	rows, err := primary.Query(ctx, ownedQuery, c.Roles, drop)
	if err != nil {
		return nil, err
	}
	var action, schema, name, role string
	_, err = pgx.ForEachRow(rows, []any{&action, &schema, &name, &role}, func() error {
		one := Change{Action: action, Schema: schema, Name: name, Cascade: c.Cascade}
		switch {
		case action == unknown:
			one.To = "DROP OWNED"
		case action == privileges && role != "":
			one.To, one.Roles, one.Privileges = narrows, []string{role}, "ALL"
			if name == "" {
				one.Roles = nil // with a schema others may lose what is theirs by name
			}
		case action == privileges || action == rowPolicy:
			one.To = either
		}
		list = append(list, one)
		return nil
	})
	return list, err
}

// mayOwned tells whether the session's user may change what the roles own.
func (s *Session) mayOwned(ctx context.Context, primary *pgx.Conn, changes []Change) (bool, error) {
	for i := range changes {
		if c := &changes[i]; ofOwned(c) && c.Roles != nil {
			no, err := find1(ctx, primary, "SELECT 'no' FROM unnest($2::text[]) r LEFT JOIN pg_roles o ON o.rolname = r WHERE o.oid IS NULL OR NOT pg_has_role($1::name, o.oid, 'MEMBER') LIMIT 1", s.User, c.Roles)
			if err != nil || no != "" {
				return false, err
			}
		}
	}
	return true, nil
}
