package proxy_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/cluster"
	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// deafServer is a machine that takes connections and is never heard of again.
func deafServer(t *testing.T) (server *pgtest.Server, heard <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 100)
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, nc)
			accepted <- struct{}{}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, nc := range conns {
			_ = nc.Close()
		}
	})
	return &pgtest.Server{Cluster: &cluster.Cluster{Port: l.Addr().(*net.TCPAddr).Port}}, accepted
}

// Scenario 70: a replica is cut off, so that connections to it are made and never
// answered. Whoever needs it is told after the time for a login; a client that gives up
// earlier, by a cancel request, is let go at once; nobody else waits.
func TestReplicaThatNeverAnswers(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (v int)")
	const ask = "SELECT pgml.version()"
	t.Run("the login ends", func(t *testing.T) {
		pgtest.NoLeaks(t)
		deaf, _ := deafServer(t)
		f := start(t, setup{replicas: []*pgtest.Server{deaf}, pool: pool.Config{ConnectTimeout: 300 * time.Millisecond}})
		const cut = `ERROR 08001 could not connect to server "ml1"; ready `
		c := enter(t, f.addr, db)
		if got := joined(c.query(ask)); got != cut+"I" {
			t.Errorf("simple: %q", got)
		}
		c.send(&pgproto3.Parse{Query: ask}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := joined(c.answer()); got != cut+"I" {
			t.Errorf("extended: %q", got)
		}
		c.query("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s")
		if got := joined(c.query(ask)); got != cut+"E" {
			t.Errorf("in a transaction: %q", got)
		}
		if got := joined(c.query("ROLLBACK TO s")); got != "ROLLBACK; ready T" {
			t.Errorf("back to the savepoint: %q", got)
		}
		if got := joined(c.query("COMMIT")); got != "COMMIT; ready I" {
			t.Errorf("commit: %q", got)
		}
		c.works()
		_ = c.Close()
	})
	t.Run("others do not wait for it", func(t *testing.T) {
		pgtest.NoLeaks(t)
		deaf, heard := deafServer(t)
		f := start(t, setup{replicas: []*pgtest.Server{deaf}, pool: pool.Config{ConnectTimeout: pgtest.Patience, Size: 1}})
		waits, key := enterWithKey(t, f.addr, db)
		waits.send(&pgproto3.Query{String: ask})
		<-heard
		other := enter(t, f.addr, db)
		for range 20 {
			other.works()
		}
		cancel(t, f.addr, key.ProcessID, key.SecretKey)
		if got := joined(waits.answer()); got != canceled {
			t.Errorf("canceled while waiting: %q", got)
		}
		waits.works()
		_ = waits.Close()
		_ = other.Close()
	})
}

// The same of the primary: clients that are in hear of it, and new ones are not let in
// without a word.
func TestPrimaryThatNeverAnswers(t *testing.T) {
	pgtest.NoLeaks(t)
	deaf, _ := deafServer(t)
	f := start(t, setup{primary: deaf, pool: pool.Config{ConnectTimeout: 300 * time.Millisecond}})
	for range 2 {
		c := dial(t, f.addr)
		c.startup("user", "postgres", "database", "postgres")
		if got := joined(c.answer()); got != `FATAL 08001 could not connect to server "primary"; closed` {
			t.Errorf("got %q", got)
		}
	}
	if log := f.log.String(); !strings.Contains(log, "login to server failed") {
		t.Error("the log does not say why")
	}
}
