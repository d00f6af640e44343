package proxy_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// TestStatementsKeepTheirSettingsApart: PostgreSQL reads constants at Parse under
// the session's settings, so two sessions with the same text and other settings
// must not share a prepared statement.
func TestStatementsKeepTheirSettingsApart(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	ctx := context.Background()
	zones := map[string]float64{"UTC": 1704067200, "Asia/Tokyo": 1704034800}
	conns := map[string]*pgx.Conn{}
	for zone := range zones {
		conns[zone] = pgtest.Connect(t, f.url("postgres", db))
		if _, err := conns[zone].Exec(ctx, "SET TimeZone = '"+zone+"'"); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			for zone, want := range zones {
				var got float64
				err := conns[zone].QueryRow(ctx, "SELECT extract(epoch FROM '2024-01-01 00:00'::timestamptz)::float8", mode).Scan(&got)
				if err != nil || got != want {
					t.Errorf("%s, %v: %v, expected %v (%v)", zone, mode, got, want, err)
				}
			}
		}
	}
}

// TestNothingRunsWithoutItsRole: where the server no longer accepts the session's
// role, the statement fails; it does not run as the login.
func TestNothingRunsWithoutItsRole(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.Exec(t, "CREATE ROLE vanishing")
	t.Cleanup(func() { primary.Exec(t, "DROP ROLE IF EXISTS vanishing, vanished") })
	f := start(t, setup{pool: pool.Config{Size: 1}})
	ctx := context.Background()
	a, b := pgtest.Connect(t, f.url("postgres", db)), pgtest.Connect(t, f.url("postgres", db))
	user := func(conn *pgx.Conn) (name string, err error) {
		err = conn.QueryRow(ctx, "SELECT current_user", pgx.QueryExecModeSimpleProtocol).Scan(&name)
		return name, err
	}
	if _, err := a.Exec(ctx, "SET ROLE vanishing"); err != nil {
		t.Fatal(err)
	}
	expect := func(conn *pgx.Conn, want string) {
		t.Helper()
		if got, err := user(conn); got != want {
			t.Errorf("runs as %q, expected %q (%v)", got, want, err)
		}
	}
	expect(a, "vanishing")
	expect(b, "postgres")
	primary.Exec(t, "ALTER ROLE vanishing RENAME TO vanished")
	_, err := user(a)
	wantState(t, err, "22023")
	expect(b, "postgres")
	_, err = a.Exec(ctx, "SELECT current_user")
	wantState(t, err, "22023")
	primary.Exec(t, "ALTER ROLE vanished RENAME TO vanishing")
	expect(a, "vanishing")
	expect(b, "postgres")
	if _, err := a.Exec(ctx, "RESET ROLE"); err != nil {
		t.Fatal(err)
	}
	expect(a, "postgres")
}
