package proxy_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// reader is a read on a replica whose data matters.
const reader = "SELECT v, pgml.embed('m', v) IS NOT NULL FROM t ORDER BY v"

// asking is a Watcher that counts questions; each replica is as the test has it.
type asking struct {
	mu        sync.Mutex
	positions int
	waits     []string
	looks     []string
	wanted    []string
	fails     map[string]bool
}

func (a *asking) Look(target string)   { a.note(&a.looks, target) }
func (a *asking) Want(database string) { a.note(&a.wanted, database) }

func (a *asking) Compare(context.Context, string) {}

func (a *asking) note(list *[]string, what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*list = append(*list, what)
}

func (a *asking) Position(context.Context) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.positions++
	return uint64(a.positions), nil
}

func (a *asking) WaitApplied(ctx context.Context, target string, _ uint64) error {
	a.note(&a.waits, target)
	a.mu.Lock()
	fails := a.fails[target]
	a.mu.Unlock()
	if !fails {
		return nil
	}
	<-ctx.Done()
	return errors.New("it is far behind")
}

func (a *asking) WaitLag(ctx context.Context, target string, _ time.Duration) error {
	return a.WaitApplied(ctx, target, 0)
}

// took returns the questions since the last call.
func (a *asking) took() (positions int, waits string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	positions, waits = a.positions, strings.Join(a.waits, " ")
	a.positions, a.waits = 0, nil
	return positions, waits
}

func (a *asking) slow(names ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails = map[string]bool{}
	for _, name := range names {
		a.fails[name] = true
	}
}

func freshSession(wait time.Duration, orPrimary bool) router.Config {
	return router.Config{Inference: router.Requirement{Freshness: router.Freshness{Session: true}, Wait: wait, OrPrimary: orPrimary}}
}

// questioned starts a proxy with a watcher that counts, and n replicas, each with a table t.
func questioned(t *testing.T, n int, policy router.Config) (*fixture, *asking, string) {
	t.Helper()
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	const table = "CREATE TABLE t (v text); CREATE FUNCTION put() RETURNS int LANGUAGE sql AS $$INSERT INTO t VALUES ('f'); SELECT 1$$"
	primary.ExecIn(t, db, table)
	replica.ExecIn(t, other, table)
	a := &asking{}
	c := setup{policy: policy, replicaDatabase: other, first: true}
	for range n {
		c.replicas = append(c.replicas, replica)
	}
	c.proxy.Watcher = a
	pgtest.NoLeaks(t)
	return start(t, c), a, db
}

// A read asks for the primary's position once after the session may have committed
// something, and never otherwise.
func TestPositionIsAskedForOnceAfterWrites(t *testing.T) {
	f, a, db := questioned(t, 1, freshSession(pgtest.Patience, false))
	f.primary.ExecIn(t, db, "CREATE SEQUENCE s")
	for _, test := range []struct {
		does  string // separated by |
		wants bool
	}{
		{"SELECT 1", false},
		{"SHOW work_mem|SET work_mem = '5MB'|RESET work_mem|BEGIN|SELECT count(*), now() FROM t|COMMIT", false},
		{"INSERT INTO t VALUES ('a')", true},
		{"BEGIN|UPDATE t SET v = v|COMMIT", true},
		{"BEGIN|UPDATE t SET v = v|COMMIT AND CHAIN|COMMIT", true},
		{"BEGIN; DELETE FROM t WHERE false; COMMIT; BEGIN|SELECT 1|COMMIT", true},
		{"SELECT put()", true},
		{"SELECT count(*) FROM t WHERE v = ''", false},
		{"SELECT setval('s', 5)", true}, // which a standby has later
		{"SELECT lo_create(0) IS NULL", true},
		{"DO 'BEGIN END'", true},
		{"CREATE TABLE other (v int)", true},
		{"PREPARE p AS INSERT INTO t VALUES ('p')", false},
		{"EXECUTE p", true},
		{"DEALLOCATE p", false},
		{"WITH w AS (DELETE FROM t WHERE false RETURNING 1) SELECT count(*) FROM w", true},
		{"SELECT 1 FROM t FOR UPDATE", false},
		{"INSERT INTO t VALUES (this fails)", true}, // what it does cannot be read
		{"DISCARD ALL", false},
	} {
		c := enter(t, f.addr, db)
		for round := range 2 {
			for _, sql := range strings.Split(test.does, "|") {
				c.query(sql)
			}
			a.took()
			for i := range 2 {
				if got := joined(c.query(reader)); !strings.HasSuffix(got, "ready I") || strings.Contains(got, "ERROR") {
					t.Errorf("%s: %q", test.does, got)
				}
				want := 0
				if test.wants && i == 0 {
					want = 1
				}
				if n, waits := a.took(); n != want || (waits != "") != (want == 1) {
					t.Errorf("%s, round %d, read %d: asked %d times for the position, waited for %q", test.does, round, i, n, waits)
				}
			}
		}
		c.put([]byte("X\x00\x00\x00\x04"))
		_ = c.Close()
	}
}

// In the extended protocol, and in one pipeline: the position is asked for when the write
// has been answered.
func TestPositionInAPipeline(t *testing.T) {
	f, a, db := questioned(t, 1, freshSession(pgtest.Patience, false))
	c := enter(t, f.addr, db)
	batch := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}
	}
	c.send(append(append(batch("INSERT INTO t VALUES ('a')"), batch(reader)...), batch(reader)...)...)
	for range 3 {
		if got := joined(c.answer()); !strings.HasSuffix(got, "ready I") || strings.Contains(got, "ERROR") {
			t.Errorf("got %q", got)
		}
	}
	if n, waits := a.took(); n != 1 || waits != "ml1" {
		t.Errorf("asked %d times for the position, waited for %q", n, waits)
	}
}

// What the session has written in the transaction at hand is not on any replica; what it
// wrote before is waited for.
func TestPositionBesideATransaction(t *testing.T) {
	f, a, db := questioned(t, 1, freshSession(pgtest.Patience, false))
	f.primary.ExecIn(t, db, "CREATE TABLE u (v text)")
	c := enter(t, f.addr, db)
	c.query("INSERT INTO t VALUES ('a')")
	c.query("BEGIN; INSERT INTO u VALUES ('a')")
	for _, want := range []int{1, 0} {
		if got := joined(c.query(reader)); !strings.HasSuffix(got, "ready T") {
			t.Errorf("got %q", got)
		}
		if n, _ := a.took(); n != want {
			t.Errorf("asked %d times for the position, not %d", n, want)
		}
	}
	c.query("COMMIT")
	c.query(reader)
	if n, _ := a.took(); n != 1 {
		t.Errorf("after COMMIT: asked %d times for the position", n)
	}
}

// Of several replicas the one that is there already answers.
func TestReplicaThatIsFreshAnswers(t *testing.T) {
	f, a, db := questioned(t, 3, freshSession(pgtest.Patience, false))
	a.slow("ml1", "ml3")
	c := enter(t, f.addr, db)
	c.query("INSERT INTO t VALUES ('a')")
	for i := range 3 {
		if got := joined(c.query(reader)); !strings.HasSuffix(got, "ready I") || strings.Contains(got, "ERROR") {
			t.Errorf("got %q", got)
		}
		if n, waits := a.took(); i == 0 && (n != 1 || !strings.Contains(waits, "ml2")) || i > 0 && n+len(waits) != 0 {
			t.Errorf("read %d: asked %d times for the position, waited for %q", i, n, waits)
		}
	}
}

const tooOld = `ERROR 57P03 the data on PostgresML server "ml1" is too old for this statement; ready `

// A replica that is not there in time, or where nobody can tell.
func TestReplicaThatIsTooOld(t *testing.T) {
	for name, test := range map[string]struct {
		policy router.Config
		want   string
	}{
		"an error":    {freshSession(50*time.Millisecond, false), tooOld + "I"},
		"a bound":     {router.Config{Inference: router.Requirement{Freshness: router.Freshness{Within: time.Second}, Wait: time.Millisecond}}, tooOld + "I"},
		"the primary": {freshSession(50*time.Millisecond, true), tooOld + "I"}, // it has no pgml
		"plain reads": {router.Config{Reads: "replica", Inference: router.Requirement{Freshness: router.Freshness{Session: true}}}, tooOld + "I"},
	} {
		t.Run(name, func(t *testing.T) {
			f, a, db := questioned(t, 1, test.policy)
			a.slow("ml1")
			c := enter(t, f.addr, db)
			c.query("INSERT INTO t VALUES ('a')")
			if got := joined(c.query(reader)); got != test.want {
				t.Errorf("simple: %q", got)
			}
			c.send(&pgproto3.Parse{Query: reader}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			if got := joined(c.answer()); got != test.want {
				t.Errorf("extended: %q", got)
			}
			c.query("BEGIN; SAVEPOINT s")
			if got := joined(c.query(reader)); got != strings.TrimSuffix(test.want, "I")+"E" {
				t.Errorf("in a transaction: %q", got)
			}
			if got := joined(c.query("ROLLBACK TO s")); got != "ROLLBACK; ready T" {
				t.Errorf("back to the savepoint: %q", got)
			}
			c.query("COMMIT")
			c.works()
		})
	}
}

// What ends a wait.
func TestWaitForFreshnessEnds(t *testing.T) {
	const timeout = "ERROR 57014 canceling statement due to statement timeout; ready I"
	ask := &pgproto3.Query{String: reader}
	waits := func(t *testing.T) (*fixture, *asking, string) {
		f, a, db := questioned(t, 1, freshSession(time.Hour, false))
		a.slow("ml1")
		return f, a, db
	}
	waiting := func(t *testing.T, a *asking) {
		t.Helper()
		if !pgtest.Eventually(func() bool { _, waits := a.took(); return waits != "" }) {
			t.Error("nobody waits")
		}
	}
	t.Run("a cancel request", func(t *testing.T) {
		f, a, db := waits(t)
		c, key := enterWithKey(t, f.addr, db)
		c.query("INSERT INTO t VALUES ('a')")
		c.send(ask)
		waiting(t, a)
		cancel(t, f.addr, key.ProcessID, key.SecretKey)
		if got := joined(c.answer()); got != canceled {
			t.Errorf("got %q", got)
		}
		a.slow()
		if got := joined(c.query(reader)); !strings.HasPrefix(got, "RowDescription") {
			t.Errorf("then %q", got)
		}
	})
	t.Run("statement_timeout", func(t *testing.T) {
		f, _, db := waits(t)
		for _, how := range []string{"SET statement_timeout = 50", "SET statement_timeout TO '0.05s'", "SELECT set_config('statement_timeout', '50ms', false)"} {
			c := enter(t, f.addr, db)
			c.query("INSERT INTO t VALUES ('a')")
			c.query(how)
			if got := joined(c.query(reader)); got != timeout {
				t.Errorf("%s: %q", how, got)
			}
		}
		c := enter(t, f.addr, db, "options", "-c statement_timeout=50")
		c.query("INSERT INTO t VALUES ('a')")
		if got := joined(c.query(reader)); got != timeout {
			t.Errorf("when connecting: %q", got)
		}
	})
	t.Run("the client leaves", func(t *testing.T) {
		f, a, db := waits(t)
		c := enter(t, f.addr, db)
		c.query("INSERT INTO t VALUES ('a')")
		c.send(ask)
		waiting(t, a)
		_ = c.Close()
		if !pgtest.Eventually(func() bool { return strings.Contains(f.log.String(), "session ended") }) {
			t.Error("the session goes on waiting")
		}
	})
	t.Run("shutdown", func(t *testing.T) {
		f, a, db := waits(t)
		c := enter(t, f.addr, db)
		c.query("INSERT INTO t VALUES ('a')")
		c.send(ask)
		waiting(t, a)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := f.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if got := joined(c.answer()); !strings.HasSuffix(got, "FATAL 57P01 terminating connection due to administrator command; closed") {
			t.Errorf("got %q", got)
		}
	})
}

// The watcher hears of what changes servers.
func TestWatcherHears(t *testing.T) {
	f, a, db := questioned(t, 1, router.Config{})
	c := enter(t, f.addr, db)
	for _, test := range []struct{ sql, want string }{
		{"SELECT 1", ""},
		{"CREATE TABLE new (v int)", "primary"},
		{"BEGIN; ALTER TABLE new ADD w int; COMMIT", "primary"},
		{"INSERT INTO new VALUES (1)", ""},
		{"SELECT pgml.version()", ""},
		{"SELECT * FROM pgml.train('p', 'regression', 'public.houses', 'price')", "ml1"},
	} {
		a.mu.Lock()
		a.looks = nil
		a.mu.Unlock()
		c.query(test.sql)
		a.mu.Lock()
		if got := strings.Join(a.looks, " "); got != test.want {
			t.Errorf("%s: looks at %q, not %q", test.sql, got, test.want)
		}
		a.mu.Unlock()
	}
	if len(a.wanted) != 1 || a.wanted[0] != db {
		t.Errorf("wants %q, not %q", a.wanted, db)
	}
}
