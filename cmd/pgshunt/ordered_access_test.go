package main

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
)

// What clients grant and revoke reaches the replica. In a
// transaction block what would leave the replica showing more is refused, and what gives more
// is not.
func TestGrantsOfClientsAreOrdered(t *testing.T) {
	b := startOrdered(t)
	b.primary.Exec(t, "CREATE ROLE app; CREATE ROLE team")
	b.replica.Exec(t, "CREATE ROLE app; CREATE ROLE team; GRANT team TO app")
	conn := b.served.connect(t)
	for _, c := range []struct {
		sql, code string
		may       bool
	}{
		{sql: "GRANT SELECT ON items TO app", may: true},
		{sql: "REVOKE SELECT ON items FROM app"},
		{sql: "GRANT ALL ON ALL TABLES IN SCHEMA public TO app", may: true},
		{sql: "BEGIN", may: true},
		{sql: "REVOKE SELECT ON items FROM app", code: "0A000", may: true},
		{sql: "ROLLBACK", may: true},
		{sql: "ALTER TABLE items ENABLE ROW LEVEL SECURITY", may: true},
		{sql: "REVOKE ALL ON items FROM app"},
		{sql: "BEGIN"},
		{sql: "GRANT SELECT ON items TO app"},
		{sql: "ROLLBACK"},
		{sql: "GRANT SELECT ON items TO app", may: true},
		{sql: "BEGIN", may: true},
		{sql: "DROP OWNED BY app", code: "0A000", may: true},
		{sql: "ROLLBACK", may: true},
		{sql: "DROP OWNED BY CURRENT_USER", code: "0A000", may: true},
		{sql: "DROP OWNED BY app"},
		{sql: "GRANT SELECT (id) ON items TO app"},
		{sql: "REASSIGN OWNED BY app TO postgres"},
		{sql: "DROP OWNED BY app"},
		{sql: "GRANT SELECT ON items TO team"},
		{sql: "GRANT team TO app", may: true},
		{sql: "BEGIN", may: true},
		{sql: "REVOKE team FROM app", code: "0A000", may: true},
		{sql: "ROLLBACK", may: true},
		{sql: "REVOKE team FROM app"},
		{sql: "BEGIN"},
		{sql: "CREATE ROLE idle; GRANT idle TO app; REVOKE idle FROM app"},
		{sql: "ROLLBACK"},
		{sql: "DROP ROLE app"},
	} {
		_, err := conn.Exec(t.Context(), c.sql)
		var pg *pgconn.PgError
		if errors.As(err, &pg); err != nil && (pg == nil || pg.Code != c.code) || err == nil && c.code != "" {
			t.Fatalf("%s: %v", c.sql, err)
		}
		var may bool
		if !pgtest.Eventually(func() bool { // a session waits ten seconds for replicas that follow
			err = b.super(t, b.replica).QueryRow(t.Context(), "SELECT has_table_privilege('app', 'items', 'SELECT')").Scan(&may)
			return err == nil && may == c.may
		}) {
			t.Errorf("%s: app may read the replica: %t, %v", c.sql, may, err)
		}
	}
	var secured bool
	if err := b.super(t, b.replica).QueryRow(t.Context(), "SELECT relrowsecurity FROM pg_class WHERE relname = 'items'").Scan(&secured); err != nil || !secured {
		t.Errorf("row-level security is on: %t, %v", secured, err)
	}
}
