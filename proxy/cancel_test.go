package proxy_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
	"pgshunt/router"
)

const canceled = "ERROR 57014 canceling statement due to user request; ready I"

// enterWithKey is enter, and returns what a cancel request needs.
func enterWithKey(t testing.TB, addr, database string, params ...string) (*client, *pgproto3.BackendKeyData) {
	t.Helper()
	c := dial(t, addr)
	c.startup(append([]string{"user", "postgres", "database", database}, params...)...)
	return c, c.key(t)
}

// key reads the welcome, which has the key.
func (c *client) key(t testing.TB) *pgproto3.BackendKeyData {
	t.Helper()
	var key pgproto3.BackendKeyData
	for {
		m, err := c.fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.BackendKeyData:
			key = pgproto3.BackendKeyData{ProcessID: m.ProcessID, SecretKey: append([]byte(nil), m.SecretKey...)}
		case *pgproto3.ErrorResponse:
			t.Fatal(m.Message)
		case *pgproto3.ReadyForQuery:
			return &key
		}
	}
}

// cancel sends a cancel request and waits until it has been dealt with, which is
// when the other side hangs up.
func cancel(t testing.TB, addr string, pid uint32, secret []byte) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(pgtest.Patience))
	out := binary.BigEndian.AppendUint32(nil, uint32(12+len(secret)))
	out = binary.BigEndian.AppendUint32(out, 80877102)
	out = binary.BigEndian.AppendUint32(out, pid)
	_, _ = nc.Write(append(out, secret...))
	if n, err := nc.Read(make([]byte, 1)); n != 0 || isTimeout(err) {
		t.Errorf("a cancel request was answered with %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestCancelStopsWhatIsInFlight(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		pgtest.NoLeaks(t)
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
		c, key := enterWithKey(t, f.addr, db)
		if session { // clients compare the two
			if got := c.query("SELECT pg_backend_pid() = " + fmt.Sprint(key.ProcessID)); got[1] != "row t" {
				t.Errorf("the process id of the key is not the server's: %q", got)
			}
		}
		for name, messages := range map[string][]pgproto3.FrontendMessage{
			"simple":   {&pgproto3.Query{String: "SELECT pg_sleep(600)"}},
			"extended": {&pgproto3.Parse{Query: "SELECT pg_sleep(600)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}},
		} {
			c.send(messages...)
			running(t, primary, db, "pg_sleep", true)
			cancel(t, f.addr, key.ProcessID, key.SecretKey)
			if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
				t.Errorf("%s: got %q", name, got)
			}
			c.works()
		}
		c.query("BEGIN")
		c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
		running(t, primary, db, "pg_sleep", true)
		cancel(t, f.addr, key.ProcessID, key.SecretKey)
		if got := joined(c.answer()); !strings.HasSuffix(got, "57014 canceling statement due to user request; ready E") {
			t.Errorf("in a transaction: got %q", got)
		}
		c.query("ROLLBACK")
		_ = c.Close()
	})
}

func TestCancelWithAWrongKeyDoesNothing(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	c, key := enterWithKey(t, f.addr, db)
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, db, "pg_sleep", true)
	wrong := append([]byte(nil), key.SecretKey...)
	wrong[3]++
	for name, k := range map[string]struct {
		pid    uint32
		secret []byte
	}{
		"other secret":   {key.ProcessID, wrong},
		"no secret":      {key.ProcessID, nil},
		"longer secret":  {key.ProcessID, append(key.SecretKey[:len(key.SecretKey):len(key.SecretKey)], 0)},
		"huge secret":    {key.ProcessID, make([]byte, 5000)},
		"other process":  {key.ProcessID + 1, key.SecretKey},
		"shorter secret": {key.ProcessID, key.SecretKey[:3]},
	} {
		t.Run(name, func(t *testing.T) { cancel(t, f.addr, k.pid, k.secret) })
	}
	nc := dial(t, f.addr) // a request that ends before its process id
	nc.put(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, 80877102))
	if got := joined(nc.answer()); got != "closed" {
		t.Errorf("a short request was answered with %q", got)
	}
	running(t, primary, db, "pg_sleep", true)
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
		t.Errorf("got %q", got)
	}
	// With nothing in flight the right key does nothing either.
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	c.works()
}

// With every backend in use and every place of clients taken, a cancel still gets through.
func TestCancelWithSaturatedPool(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1}, proxy: proxy.Config{Limits: proxy.Limits{Clients: 2}}})
	first, firstKey := enterWithKey(t, f.addr, db)
	second, secondKey := enterWithKey(t, f.addr, db)
	first.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, db, "pg_sleep", true)
	second.send(&pgproto3.Query{String: "SELECT pg_sleep(601)"})
	waiting(t, f, 1)
	cancel(t, f.addr, secondKey.ProcessID, secondKey.SecretKey)
	if got := joined(second.answer()); got != canceled {
		t.Errorf("waiting: got %q", got)
	}
	running(t, primary, db, "pg_sleep(600)", true)
	cancel(t, f.addr, firstKey.ProcessID, firstKey.SecretKey)
	if got := joined(first.answer()); !strings.HasSuffix(got, canceled) {
		t.Errorf("running: got %q", got)
	}
	first.works()
	second.works()
}

// waiting waits until n sessions wait for a backend of the primary.
func waiting(t *testing.T, f *fixture, n int) {
	t.Helper()
	if !pgtest.Eventually(func() bool { return f.pools.Load("primary") == 1+n }) {
		t.Errorf("%d backends in use or waited for, not 1 and %d", f.pools.Load("primary"), n)
	}
}

// Two sessions take turns on one backend; one is canceled all the time, and only
// it may ever hear of that.
func TestCancelNeverHitsTheNextSession(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	target, key := enterWithKey(t, f.addr, db)
	bystander := enter(t, f.addr, db)
	const rounds = 2000
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					cancel(t, f.addr, key.ProcessID, key.SecretKey)
				}
			}
		})
	}
	hits := 0
	work.Go(func() {
		defer close(stop)
		for range rounds {
			switch got := joined(target.query("SELECT 42")); {
			case got == "RowDescription; row 42; SELECT 1; ready I":
			case strings.HasSuffix(got, canceled):
				hits++
			default:
				t.Errorf("the target is told %q", got)
				return
			}
		}
	})
	for {
		select {
		case <-stop:
			work.Wait()
			t.Logf("%d of %d statements were canceled", hits, rounds)
			return
		default:
			bystander.works()
			if t.Failed() {
				work.Wait()
				return
			}
		}
	}
}

// A fit takes no notice of a cancel request. The client gets what it would get
// for any other statement, and its session goes on.
// A request that comes while the settings of a statement are on their way waits for them: what
// it hit would be missing to the statement.
func TestCancelDoesNotHitTheSettingsOfAStatement(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	pgtest.NoLeaks(t)
	setting := make(chan struct{})
	var f *fixture
	fake := startFake(t, func(fc *fakeConn) {
		close(setting)
		waits := func() bool { return strings.Contains(f.log.String(), "waits for the settings") }
		if !pgtest.Eventually(func() bool { return waits() || fc.server.cancels.Load() > 0 }) || !waits() || fc.server.cancels.Load() > 0 {
			t.Errorf("while the server was at a setting came %d cancel requests", fc.server.cancels.Load())
		}
		fc.say(&pgproto3.CommandComplete{CommandTag: []byte("SET")}, ready)
		if !pgtest.Eventually(func() bool { return fc.server.cancels.Load() > 0 }) {
			t.Error("no cancel request came")
		}
		fc.say(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "57014", Message: "stopped"}, ready)
		_, _ = fc.be.Receive()
		_, _ = fc.be.Receive()
	})
	f = start(t, setup{policy: router.Config{Reads: "replica"}, replicas: []*pgtest.Server{fake.server()}})
	c, key := enterWithKey(t, f.addr, db)
	c.script(t, "SET work_mem = '1MB'", "SET; ready I")
	c.send(&pgproto3.Query{String: fromT})
	<-setting
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(c.answer()); got != "ERROR 57014 stopped; ready I" {
		t.Errorf("got %q", got)
	}
	f.stop()
}

func TestCancelEndsTraining(t *testing.T) {
	pgtest.SharedPrimary(t)
	replica := pgtest.SharedReplica(t)
	db := replica.NewDatabase(t)
	replica.ExecIn(t, db, "CREATE TABLE fit AS SELECT i::float8 AS x, (2 * i)::float8 AS y FROM generate_series(1, 20) i")
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: db})
	train := `SELECT * FROM pgml.train('slow', 'regression', 'fit', 'y', algorithm => 'linear', hyperparams => '{"sleep_seconds": 600}')`
	for name, messages := range map[string][]pgproto3.FrontendMessage{
		"simple":   {&pgproto3.Query{String: train}},
		"extended": {&pgproto3.Parse{Query: train}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}},
	} {
		t.Run(name, func(t *testing.T) {
			c, key := enterWithKey(t, f.addr, "postgres")
			c.send(messages...)
			// The server counts a statement as active from its Parse on; what is to be hit is the fit.
			if !pgtest.Eventually(func() bool {
				return count(t, replica, `SELECT FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%sleep_seconds%' AND wait_event = 'PgSleep'`, db) > 0
			}) {
				t.Fatal("the fit does not begin")
			}
			cancel(t, f.addr, key.ProcessID, key.SecretKey)
			if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
				t.Errorf("got %q", got)
			}
			running(t, replica, db, "sleep_seconds", false)
			c.works()
			_ = c.Close()
		})
	}
}

// Drivers cancel when a context ends, on a connection of their own.
func TestCancelByADriver(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	f := start(t, setup{})
	cfg, err := pgconn.ParseConfig(f.url("postgres", db))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	done := make(chan error, 1)
	go func() { done <- conn.Exec(t.Context(), "SELECT pg_sleep(600)").Close() }()
	running(t, primary, db, "pg_sleep", true)
	if err := conn.CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := code(<-done); got != "57014" {
		t.Error(got)
	}
	if err := conn.Exec(t.Context(), "SELECT 1").Close(); err != nil {
		t.Error(err)
	}
}
