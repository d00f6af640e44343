package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/router"
)

// A rule's timeout bounds the statements that it matches, on either server, in either
// protocol, and no others.
func TestRuleTimeout(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	const timeout = "ERROR 57014 canceling statement due to statement timeout; ready "
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE bounded (v int); INSERT INTO bounded VALUES (1)")
	replica.ExecIn(t, other, "ALTER DATABASE "+other+" SET pgml_standin.embed_delay = '600'")
	primary.Exec(t, "CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET statement_timeout = '70ms'")
	t.Cleanup(func() {
		primary.ExecIn(t, db, "DROP OWNED BY hasty")
		primary.Exec(t, "DROP ROLE hasty")
	})
	primary.ExecIn(t, db, "GRANT SELECT ON bounded TO hasty")
	pgtest.NoLeaks(t)
	f := start(t, setup{
		replicas: []*pgtest.Server{replica}, replicaDatabase: other, pool: pool.Config{Size: 1},
		policy: router.Config{Rules: []router.Rule{
			{Match: router.Match{Relation: router.Patterns{"public.bounded"}}, To: "primary", Timeout: 90 * time.Millisecond},
			{Match: router.Match{Function: router.Patterns{"pgml.embed"}}, To: "ml1", Timeout: 90 * time.Millisecond},
		}},
	})
	c := enter(t, f.addr, db)
	for _, sql := range []string{"SELECT pg_sleep(600) FROM bounded", "SELECT pgml.embed('m', 'x')"} {
		batch := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}
		if got := joined(c.query(sql)); !strings.HasSuffix(got, timeout+"I") {
			t.Errorf("%s: %q", sql, got)
		}
		c.send(batch...)
		if got := joined(c.answer()); !strings.HasSuffix(got, timeout+"I") {
			t.Errorf("%s, extended: %q", sql, got)
		}
		c.query("BEGIN; SAVEPOINT a")
		if got := joined(c.query(sql)); !strings.HasSuffix(got, timeout+"E") {
			t.Errorf("%s, in a block: %q", sql, got)
		}
		c.query("ROLLBACK TO a")
		c.send(batch...)
		if got := joined(c.answer()); !strings.HasSuffix(got, timeout+"E") {
			t.Errorf("%s, extended, in a block: %q", sql, got)
		}
		c.query("ROLLBACK")
		// Behind another statement of the batch, which has no bound.
		c.send(append([]pgproto3.FrontendMessage{
			&pgproto3.Parse{Query: "SELECT pgml.version() IS NOT NULL, 1"}, &pgproto3.Bind{}, &pgproto3.Execute{},
		}, batch...)...)
		if got := joined(c.answer()); !strings.HasSuffix(got, timeout+"I") {
			t.Errorf("%s, second of a batch: %q", sql, got)
		}
	}
	own(t, c, "after that", "0")
	for _, block := range []string{"BEGIN", "COMMIT"} {
		c.query("SELECT * FROM bounded")
		own(t, c, "behind one that was in time", "0")
		c.query("SET statement_timeout = '1h'")
		c.query("SELECT * FROM bounded")
		own(t, c, "of the session's own", "1h")
		c.query("RESET statement_timeout")
		own(t, c, "back again", "0")
		c.query(block)
	}
	c.query("SET statement_timeout = 50")
	if got := joined(c.query("SELECT current_setting('statement_timeout') FROM bounded")); !strings.Contains(got, "row 50ms;") {
		t.Errorf("less than the rule allows: %q", got)
	}
	c.query("SET statement_timeout = 5000")
	if got := joined(c.query("SELECT current_setting('statement_timeout') FROM bounded")); !strings.Contains(got, "row 90ms;") {
		t.Errorf("more than the rule allows: %q", got)
	}
	_ = c.Close()
	next := enter(t, f.addr, db)
	own(t, next, "of the next session", "0")
	_ = next.Close()
	hasty := dial(t, f.addr)
	hasty.startup("user", "hasty", "database", db)
	hasty.answer()
	if got := joined(hasty.query("SELECT current_setting('statement_timeout') FROM bounded")); !strings.Contains(got, "row 70ms;") {
		t.Errorf("less by ALTER ROLE: %q", got)
	}
}

// Portals that are bound before others have a bound of their own are executed under it.
func TestRuleTimeoutIsThePortals(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE bounded (v int); INSERT INTO bounded VALUES (1)")
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, policy: router.Config{Rules: []router.Rule{
		{Match: router.Match{Relation: router.Patterns{"bounded"}}, To: "primary", Timeout: 7 * time.Second},
		{Match: router.Match{Function: router.Patterns{"pgml.embed"}}, To: "ml1", Timeout: 8 * time.Second},
	}}})
	const setting = "SELECT current_setting('statement_timeout')"
	c := enter(t, f.addr, db)
	for _, pair := range [][3]string{{setting + " FROM bounded", setting, "7s"}, {setting + ", pgml.embed('m', 'x') IS NOT NULL", setting + ", pgml.version() IS NOT NULL", "8s"}} {
		for _, block := range []string{"", "BEGIN"} {
			if block != "" {
				c.query(block)
			}
			rest := ",t"
			if pair[2] == "7s" {
				rest = ""
			}
			c.send(&pgproto3.Parse{Name: "a", Query: pair[0]}, &pgproto3.Bind{DestinationPortal: "a", PreparedStatement: "a"},
				&pgproto3.Parse{Name: "b", Query: pair[1]}, &pgproto3.Bind{DestinationPortal: "b", PreparedStatement: "b"},
				&pgproto3.Execute{Portal: "a"}, &pgproto3.Execute{Portal: "b"}, &pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Close{ObjectType: 'S', Name: "b"}, &pgproto3.Sync{})
			want := "ParseComplete; BindComplete; ParseComplete; BindComplete; row " + pair[2] + rest + "; SELECT 1; row 0" + rest + "; SELECT 1; CloseComplete; CloseComplete; ready "
			if got := joined(c.answer()); !strings.HasPrefix(got, want) {
				t.Errorf("%s %s: %q, expected %q", block, pair[0], got, want)
			}
			c.query("ROLLBACK")
		}
	}
	own(t, c, "after that", "0")
}

// A bound that the server could not be made to lift is lifted before the next statement.
func TestABoundThatStays(t *testing.T) {
	primary, replica := pgtest.Primary(t), pgtest.SharedReplica(t)
	primary.Exec(t, "CREATE TABLE bounded (v int)")
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: primary, replicas: []*pgtest.Server{replica}, policy: router.Config{Rules: []router.Rule{
		{Match: router.Match{Relation: router.Patterns{"bounded"}}, To: "primary", Timeout: 500 * time.Millisecond},
	}}})
	c, blocker := enter(t, f.addr, "postgres"), primary.Conn(t, primary.Superuser(), "postgres")
	c.query("LISTEN here") // which keeps the backend
	if got := joined(c.query("SELECT * FROM bounded")); !strings.HasSuffix(got, "SELECT 0; ready I") {
		t.Fatal(got)
	}
	for _, sql := range []string{"BEGIN", "LOCK TABLE pg_catalog.pg_settings IN ACCESS EXCLUSIVE MODE"} { // where the session's own is read
		if _, err := blocker.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	c.query("SELECT 1")
	if _, err := blocker.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	own(t, c, "after the server has refused to lift it", "0")
}

// own checks the session's own statement_timeout, by a statement without a bound.
func own(t *testing.T, c *client, when, want string) {
	t.Helper()
	if got := joined(c.query("SHOW statement_timeout")); !strings.Contains(got, "row "+want+";") {
		t.Errorf("%s: statement_timeout is %q, not %s", when, got, want)
	}
}
