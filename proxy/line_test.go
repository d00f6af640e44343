package proxy_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// holdTheOnly takes the only backend of a proxy and returns what lets go of it.
func holdTheOnly(t *testing.T, f *fixture) (free func()) {
	t.Helper()
	holder := enter(t, f.addr, "postgres")
	if got := joined(holder.query("BEGIN")); got != "BEGIN; ready T" {
		t.Fatal(got)
	}
	return func() {
		if got := joined(holder.query("COMMIT")); got != "COMMIT; ready I" {
			t.Error(got)
		}
	}
}

// inLine waits until n sessions are in line for the primary.
func inLine(t *testing.T, f *fixture, n int) {
	t.Helper()
	ok := pgtest.Eventually(func() bool { return f.pools.Load("primary") == 1+n }) // one is in use
	if !ok {
		t.Fatalf("%d sessions use or wait for a backend, not %d", f.pools.Load("primary"), 1+n)
	}
}

// Sessions in line are served in order, with everything they have sent meanwhile,
// and cost no goroutine.
func TestLineIsServedInOrder(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	free := holdTheOnly(t, f)
	const n = 40
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = enter(t, f.addr, "postgres")
	}
	before := runtime.NumGoroutine()
	for i, c := range clients {
		if i%2 == 0 {
			c.send(&pgproto3.Query{String: fmt.Sprintf("SELECT %d", i)}, &pgproto3.Query{String: "SELECT 'and on'"})
		} else {
			c.send(&pgproto3.Parse{Query: fmt.Sprintf("SELECT %d", i)}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{},
				&pgproto3.Query{String: "SELECT 'and on'"})
		}
		inLine(t, f, i+1)
	}
	if after := runtime.NumGoroutine(); after > before+n/4 {
		t.Errorf("%d goroutines for %d sessions in line", after-before, n)
	}
	free()
	for i, c := range clients {
		want := fmt.Sprintf("RowDescription; row %d; SELECT 1; ready I", i)
		if i%2 == 1 {
			want = fmt.Sprintf("ParseComplete; BindComplete; row %d; SELECT 1; ready I", i)
		}
		if got := joined(c.answer()); got != want {
			t.Errorf("session %d: got %q", i, got)
		}
		if got := joined(c.answer()); got != "RowDescription; row and on; SELECT 1; ready I" {
			t.Errorf("session %d, what it sent while in line: got %q", i, got)
		}
	}
}

// A request to cancel takes a session out of line; its next statement is a new one.
func TestLineIsLeftByCancel(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	free := holdTheOnly(t, f)
	c, key := enterWithKey(t, f.addr, "postgres")
	c.send(&pgproto3.Query{String: "SELECT 1"}, &pgproto3.Query{String: "SELECT 2"})
	inLine(t, f, 1)
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(c.answer()); got != "ERROR 57014 canceling statement due to user request; ready I" {
		t.Errorf("got %q", got)
	}
	free()
	if got := joined(c.answer()); got != "RowDescription; row 2; SELECT 1; ready I" {
		t.Errorf("the one behind it: got %q", got)
	}
}

// A client that vanishes while in line is not waited for, and what it asked for is
// not done, whatever else it has said and in whatever way it goes.
func TestLineIsLeftByAClientThatVanishes(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (v int)")
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1, Wait: 2 * pgtest.Patience}})
	holder := enter(t, f.addr, db)
	holder.query("BEGIN")
	insert := &pgproto3.Query{String: "INSERT INTO t VALUES (1)"}
	ways := map[string]func(c *client){
		"without a word": withoutLeaving,
		"politely":       politely,
		"with a reset":   reset,
		"saying more":    func(c *client) { c.send(insert); withoutLeaving(c) },
		"after more":     func(c *client) { c.send(insert, &pgproto3.Sync{}); politely(c) },
	}
	var gone []*client
	for range ways {
		c := enter(t, f.addr, db)
		c.send(insert)
		gone = append(gone, c)
		inLine(t, f, len(gone))
	}
	i := 0
	for _, vanish := range ways {
		vanish(gone[i])
		i++
	}
	inLine(t, f, 0)
	if !pgtest.Eventually(func() bool { return strings.Count(f.log.String(), `msg="session ended"`) == len(ways) }) {
		t.Errorf("%d sessions have ended, not %d", strings.Count(f.log.String(), `msg="session ended"`), len(ways))
	}
	holder.query("COMMIT")
	if got := joined(holder.query("SELECT count(*) FROM t")); !strings.Contains(got, "row 0;") {
		t.Errorf("got %q", got)
	}
}

// Shutdown does not wait for those in line for longer than it is told to.
func TestLineEndsAtShutdown(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	holdTheOnly(t, f)
	c := enter(t, f.addr, "postgres")
	c.send(&pgproto3.Query{String: "SELECT 1"})
	inLine(t, f, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.server.Shutdown(ctx); err == nil {
		t.Error("a session in a transaction ended by itself")
	}
	if got := joined(c.answer()); got != "FATAL 57P01 terminating connection due to administrator command; closed" {
		t.Errorf("got %q", got)
	}
}

// TestLineWithinStatementTimeout: a statement that waits for a backend for longer than
// statement_timeout is canceled as a server would, and the session goes on.
func TestLineWithinStatementTimeout(t *testing.T) {
	replica := pgtest.SharedReplica(t)
	db, other := pgtest.SharedPrimary(t).NewDatabase(t), replica.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, pool: pool.Config{Size: 1}})
	c, holder := enter(t, f.addr, db), enter(t, f.addr, db)
	c.query("SET statement_timeout = '50ms'")
	holder.query("BEGIN")
	holder.query("DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 9) n WHERE pgml.version() <> ''")
	const timeout = "ERROR 57014 canceling statement due to statement timeout; ready I"
	for place, sql := range map[string]string{"the primary": "SELECT 1", "a replica": "SELECT pgml.version() <> ''"} {
		if got := joined(c.query(sql)); got != timeout {
			t.Errorf("on %s: got %q", place, got)
		}
		c.send(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := joined(c.answer()); got != timeout {
			t.Errorf("in a batch on %s: got %q", place, got)
		}
	}
	holder.query("COMMIT")
	c.query("RESET statement_timeout")
	c.works()
	_, _ = c.Close(), holder.Close()
}
