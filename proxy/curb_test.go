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
// protocol, and no others. A session that is kept on the primary meets no rule there.
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
		if !strings.Contains(sql, "pgml") {
			continue // what stays in its transaction meets no rule
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

// own checks the session's own statement_timeout, by a statement without a bound.
func own(t *testing.T, c *client, when, want string) {
	t.Helper()
	if got := joined(c.query("SHOW statement_timeout")); !strings.Contains(got, "row "+want+";") {
		t.Errorf("%s: statement_timeout is %q, not %s", when, got, want)
	}
}
