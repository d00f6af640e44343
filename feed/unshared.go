package feed

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Default privileges of tables that the role of a connection makes, in whatever schema.
const sharedQuery = `SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
	FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles r ON r.oid = d.defaclrole
	WHERE r.rolname = current_user AND d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole ORDER BY 1`

// Unshared is SQL that takes from tables, named as SQL, which the role of conn has just made
// what ALTER DEFAULT PRIVILEGES has given away of them; "" where that is nothing. Who may
// read a fed table is the primary's to say.
func Unshared(ctx context.Context, conn *pgx.Conn, tables []string) (string, error) {
	rows, err := conn.Query(ctx, sharedQuery)
	if err != nil {
		return "", err
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(roles) == 0 || len(tables) == 0 {
		return "", err
	}
	return "REVOKE ALL ON TABLE " + strings.Join(tables, ", ") + " FROM " + strings.Join(roles, ", ") + ";\n", nil
}
