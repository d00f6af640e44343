package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// Sessions that wait for a backend get it in the order in which they came.
func TestFaultPoolServesWaitersInOrder(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (id serial, who int)")
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	first := enter(t, f.addr, db)
	first.query("BEGIN")
	var line []*client
	for i := range 8 {
		c := enter(t, f.addr, db)
		c.send(&pgproto3.Query{String: "INSERT INTO t (who) VALUES (" + strconv.Itoa(i) + ")"})
		waiting(t, f, i+1)
		line = append(line, c)
	}
	first.query("COMMIT")
	for _, c := range line {
		if got := joined(c.answer()); got != "INSERT 0 1; ready I" {
			t.Errorf("got %q", got)
		}
	}
	if got := joined(first.query("SELECT string_agg(who::text, '' ORDER BY id) FROM t")); !strings.Contains(got, "row 01234567;") {
		t.Errorf("served in the order %q", got)
	}
}

func TestFaultPoolWaitEnds(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1, Wait: 500 * time.Millisecond}})
	first, second := enter(t, f.addr, "postgres"), enter(t, f.addr, "postgres")
	first.query("BEGIN")
	const full = `ERROR 53300 no connection to server "primary" became free within 500ms`
	if got := joined(second.query("SELECT 1")); got != full+"; ready I" {
		t.Errorf("got %q", got)
	}
	second.send(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if got := joined(second.answer()); got != full+"; ready I" {
		t.Errorf("extended: got %q", got)
	}
	first.query("COMMIT")
	second.works()
}

// What a session leaves in its server process is not for the next one.
func TestFaultPoolPinnedBackendIsReset(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		pgtest.NoLeaks(t)
		f := start(t, setup{pool: pool.Config{Size: 1}, proxy: proxy.Config{SessionMode: session}})
		for _, last := range []string{"terminate", "vanish", "vanish in a transaction"} {
			c := enter(t, f.addr, db)
			c.query("CREATE TEMP TABLE mine (v int); SELECT pg_advisory_lock(7); LISTEN news; PREPARE p AS SELECT 1; SET work_mem = '77MB'")
			c.query("DECLARE cur CURSOR WITH HOLD FOR SELECT 1")
			switch last {
			case "terminate":
				c.send(&pgproto3.Query{String: "SET maintenance_work_mem = '77MB'"}, &pgproto3.Terminate{})
				c.answer()
			case "vanish in a transaction":
				c.query("BEGIN; SET LOCAL work_mem = '99MB'; SELECT 1")
			}
			_ = c.Close()
			next := enter(t, f.addr, db)
			got := joined(next.query(`SELECT current_setting('work_mem'), current_setting('maintenance_work_mem'), to_regclass('pg_temp.mine') IS NULL,
				(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), (SELECT count(*) FROM pg_listening_channels()),
				(SELECT count(*) FROM pg_prepared_statements WHERE from_sql), (SELECT count(*) FROM pg_cursors WHERE name = 'cur')`))
			if got != "RowDescription; row 4MB,64MB,t,0,0,0,0; SELECT 1; ready I" {
				t.Errorf("after %s the next session sees %q", last, got)
			}
			_ = next.Close()
		}
	})
}

// Settings of a session that ends in the same breath as it sets them.
func TestFaultPoolSettingAndTerminate(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	for range 20 {
		c := enter(t, f.addr, db)
		c.send(&pgproto3.Query{String: "SET work_mem = '77MB'"}, &pgproto3.Terminate{})
		if got := joined(c.answer()); got != "SET; ready I" {
			t.Fatal(got)
		}
		next := enter(t, f.addr, db)
		if got := next.query("SHOW work_mem"); got[1] != "row 4MB" {
			t.Fatalf("the next session has %q", got)
		}
		_ = next.Close()
	}
}

// A server process that refuses to be reset is given up.
func TestFaultPoolFailedResetCloses(t *testing.T) {
	pgtest.NoLeaks(t)
	ended := make(chan string, 1)
	fake := startFake(t, func(fc *fakeConn) {
		fc.say(&pgproto3.CommandComplete{CommandTag: []byte("LISTEN")}, ready)
		q, _ := await[*pgproto3.Query](fc)
		first := fmt.Sprintf("%+v", q)
		fc.say(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000", Message: "no"}, ready)
		_, _ = await[*pgproto3.Query](fc) // RESET ROLE, sent with it
		fc.say(&pgproto3.CommandComplete{CommandTag: []byte("RESET")}, ready)
		if _, ok := await[*pgproto3.Query](fc); ok {
			t.Error("a backend that could not be reset is used again")
		}
		ended <- first
	})
	f := start(t, setup{primary: fake.server(), pool: pool.Config{Size: 1}})
	for range 3 {
		c := enter(t, f.addr, "postgres")
		if got := joined(c.query("LISTEN news")); got != "LISTEN; ready I" {
			t.Errorf("got %q", got)
		}
		_ = c.Close()
		if got := <-ended; got != "&{String:DISCARD ALL}" {
			t.Errorf("got %s, not a reset", got)
		}
	}
}

// NoReuse gives every session of a transaction a server process of its own.
func TestFaultPoolNoReuse(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 2, NoReuse: true}})
	c := enter(t, f.addr, db)
	seen := map[string]bool{}
	for range 5 {
		got := c.query("SELECT pg_backend_pid()")
		if len(got) != 4 || seen[got[1]] {
			t.Errorf("got %q, seen %v", got, seen)
			return
		}
		seen[got[1]] = true
	}
}

// Everybody in line is told when the server cannot be reached, not only the first.
func TestFaultPoolEveryWaiterHearsOfAFailedLogin(t *testing.T) {
	primary := pgtest.Primary(t)
	primary.Exec(t, "CREATE DATABASE other")
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: primary, pool: pool.Config{Size: 1}})
	var all []*client
	for range 5 {
		all = append(all, enter(t, f.addr, "other"))
	}
	terminate(t, primary, "other")
	primary.Exec(t, "DROP DATABASE other WITH (FORCE)")
	for _, c := range all {
		c.send(&pgproto3.Query{String: "SELECT 1"})
	}
	for _, c := range all {
		if got := joined(c.answer()); got != `ERROR 3D000 database "other" does not exist; ready I` {
			t.Errorf("got %q", got)
		}
	}
}

func TestFaultShutdown(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		primary.ExecIn(t, db, "CREATE TABLE t (v text)")
		const draining = "FATAL 57P01 terminating connection due to administrator command; closed"
		t.Run("in order", func(t *testing.T) {
			pgtest.NoLeaks(t)
			f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
			idle, inBlock, busy, silent := enter(t, f.addr, db), enter(t, f.addr, db), enter(t, f.addr, db), dial(t, f.addr)
			inBlock.query("BEGIN; INSERT INTO t VALUES ('kept')")
			busy.send(&pgproto3.Query{String: "SELECT pg_sleep(0.5)"})
			running(t, primary, db, "pg_sleep", true)
			stopped := make(chan error, 1)
			ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
			defer cancel()
			go func() { stopped <- f.server.Shutdown(ctx) }()
			for _, c := range []*client{idle, silent} {
				if got := joined(c.answer()); got != draining {
					t.Errorf("idle: got %q", got)
				}
			}
			if got := joined(busy.answer()); got != "RowDescription; row ; SELECT 1; ready I" {
				t.Errorf("busy: got %q", got)
			}
			if got := joined(busy.answer()); got != draining {
				t.Errorf("busy, then: got %q", got)
			}
			if got := joined(inBlock.query("COMMIT")); got != "COMMIT; ready I" {
				t.Errorf("in a transaction: got %q", got)
			}
			if got := joined(inBlock.answer()); got != draining {
				t.Errorf("after the transaction: got %q", got)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
		t.Run("cut off", func(t *testing.T) {
			pgtest.NoLeaks(t)
			f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 3}})
			inBlock, busy, leaving, queued := enter(t, f.addr, db), enter(t, f.addr, db), enter(t, f.addr, db), (*client)(nil)
			inBlock.query("BEGIN; INSERT INTO t VALUES ('lost')")
			busy.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
			leaving.send(&pgproto3.Query{String: "SELECT 1, pg_sleep(601)"}, &pgproto3.Terminate{})
			running(t, primary, db, "pg_sleep(600)", true)
			running(t, primary, db, "pg_sleep(601)", true)
			if !session {
				queued = enter(t, f.addr, db)
				queued.send(&pgproto3.Query{String: "SELECT 1"})
				if !pgtest.Eventually(func() bool { return f.pools.Load("primary") == 4 }) {
					t.Error("nobody waits")
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // no grace at all
			if err := f.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			for name, c := range map[string]*client{"in a transaction": inBlock, "busy": busy, "queued": queued} {
				if c == nil {
					continue
				}
				got := c.answer()
				for got[len(got)-1] != "closed" { // the statement that waited has an answer of its own
					got = append(got, c.answer()...)
				}
				if last := joined(got[max(0, len(got)-2):]); !strings.HasSuffix(last, "57P01 terminating connection due to administrator command; closed") {
					t.Errorf("%s: got %q", name, got)
				}
			}
			running(t, primary, db, "pg_sleep", false)
			f.pools.Close()
			if n := count(t, primary, "SELECT FROM pg_stat_activity WHERE datname = $1 AND state <> 'idle'", db); n != 0 {
				t.Errorf("%d server processes are still at work", n)
			}
		})
	})
}
