package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/router"
)

// failover is a test of clients that insert rows while their primary is lost and a
// standby takes its place.
type failover struct {
	f    *fixture
	done atomic.Bool

	mu        sync.Mutex
	sent      map[string]bool // whether it was confirmed
	confirmed [16]int         // by client
	refusals  map[string]int  // by SQLSTATE
}

// TestFailoverUnderLoad: writes resume on the new primary without a restart, what was
// confirmed is there, and nothing has run twice. The standby is synchronous, so that what
// the old primary has confirmed is on it; the table has no key, so that it would take a
// row twice.
func TestFailoverUnderLoad(t *testing.T) {
	const size = 8
	old := pgtest.Primary(t)
	standby := pgtest.Standby(t, old)
	old.Exec(t, "CREATE TABLE journal (k text, at timestamptz DEFAULT clock_timestamp())")
	old.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = '*'")
	old.Exec(t, "SELECT pg_reload_conf()")
	pgtest.NoLeaks(t)
	f := watched(t, setup{pool: pool.Config{Size: size, Wait: 4 * pgtest.Patience, ConnectTimeout: 2 * time.Second}}, router.FeedNone, old, standby)
	l := &failover{f: f, sent: map[string]bool{}, refusals: map[string]int{}}
	var clients sync.WaitGroup
	for id := range l.confirmed {
		clients.Go(func() { l.client(t, id) })
	}
	busy := enter(t, f.addr, "postgres")
	busy.query("BEGIN; INSERT INTO journal VALUES ('lost with its transaction')")
	l.progress(t, 5)

	old.Kill()
	if got := joined(busy.answer()); !strings.HasPrefix(got, "FATAL ") || !strings.HasSuffix(got, "closed") {
		t.Errorf("in a transaction: %q", got)
	}
	if _, err := standby.Super(t, "postgres").Exec(t.Context(), "SELECT pg_promote(true, 600)"); err != nil {
		t.Fatal(err)
	}
	l.progress(t, 5)
	l.done.Store(true)
	clients.Wait()

	l.compare(t, standby)
	busy, key := enterWithKey(t, f.addr, "postgres")
	busy.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, standby, "postgres", "pg_sleep", true)
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(busy.answer()); got != "RowDescription; "+canceled && got != canceled {
		t.Errorf("canceled on the new primary: %q", got)
	}
	t.Logf("%d rows sent, refusals %v", len(l.sent), l.refusals)
	refusals := 0
	for _, n := range l.refusals {
		refusals += n
	}
	if refusals > size { // a lost connection is one client's; who needs a new one waits
		t.Errorf("%d statements were refused, and %d connections lost", refusals, size)
	}
}

// progress waits until every client has had n more rows confirmed.
func (l *failover) progress(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	before := l.confirmed
	l.mu.Unlock()
	deadline := time.Now().Add(4 * pgtest.Patience)
	for !pgtest.Eventually(func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for id, was := range before {
			if l.confirmed[id] < was+n {
				return false
			}
		}
		return true
	}) {
		if time.Now().After(deadline) || t.Failed() {
			t.Fatalf("no progress from %v to %v", before, l.confirmed)
		}
	}
}

// client inserts rows, each once whatever becomes of it, in the ways that clients have.
func (l *failover) client(t *testing.T, id int) {
	var conn *pgx.Conn
	ctx, cancel := context.WithTimeout(context.Background(), 10*pgtest.Patience)
	defer cancel()
	defer func() {
		if conn != nil {
			_ = conn.Close(ctx)
		}
	}()
	for n := 0; !l.done.Load() && !t.Failed(); n++ {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgx.Connect(ctx, l.f.url("postgres", "postgres")); err != nil {
				l.refused(t, err)
				continue
			}
		}
		key := fmt.Sprintf("%d/%d", id, n)
		l.mu.Lock()
		l.sent[key] = false
		l.mu.Unlock()
		if err := insert(ctx, conn, key, id+n); err != nil {
			l.refused(t, err)
			continue
		}
		l.mu.Lock()
		l.sent[key] = true
		l.confirmed[id]++
		l.mu.Unlock()
	}
}

func insert(ctx context.Context, conn *pgx.Conn, key string, way int) error {
	const sql = "INSERT INTO journal (k) VALUES ($1)"
	modes := []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}
	mode := modes[way%len(modes)]
	if way%4 > 0 {
		_, err := conn.Exec(ctx, sql, mode, key)
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err = tx.Exec(ctx, sql, mode, key); err == nil {
		return tx.Commit(ctx)
	}
	_ = tx.Rollback(ctx)
	return err
}

// refused takes an error, which must be one of a server that is away.
func (l *failover) refused(t *testing.T, err error) {
	state := code(err)
	switch {
	case len(state) != 5: // the connection ended, with or without a word
		state = "closed"
	case state != "57P01" && state != "57P02" && state != "57P03" && state != "08006" && state != "08001":
		t.Errorf("refused with %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals[state]++
}

// compare looks for what was confirmed and for what is there twice.
func (l *failover) compare(t *testing.T, s *pgtest.Server) {
	rows, err := s.Super(t, "postgres").Query(t.Context(), "SELECT k, count(*) FROM journal GROUP BY k")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]int{}
	var key string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&key, &n}, func() error {
		there[key] = n
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for key, n := range there {
		if _, sent := l.sent[key]; n != 1 || !sent {
			t.Errorf("%s is there %d times, sent: %v", key, n, sent)
		}
	}
	for key, confirmed := range l.sent {
		if confirmed && there[key] == 0 {
			t.Errorf("%s was confirmed and is not there", key)
		}
	}
}
