package proxy_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

func walsenders(t *testing.T, primary *pgtest.Server, pid uint32) func() bool {
	return func() bool {
		return count(t, primary, "SELECT FROM pg_stat_activity WHERE backend_type = 'walsender' AND pid = $1", pid) == 0
	}
}

// A client that vanishes ends the server's side, streaming or at work.
func TestReplicationClientVanishes(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	c, key := replicationClient(t, f.addr, db, "true")
	c.stream(t, primary)
	_ = c.Close()
	if !pgtest.Eventually(walsenders(t, primary, key.ProcessID)) {
		t.Error("the stream goes on")
	}
	c, key = replicationClient(t, f.addr, db, "database")
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, db, "pg_sleep", true)
	_ = c.Close()
	if !pgtest.Eventually(walsenders(t, primary, key.ProcessID)) {
		t.Error("the statement goes on")
	}
}

// One that neither reads nor says more holds nothing up.
func TestReplicationClientStopsReading(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	c, key := replicationClient(t, f.addr, "", "true")
	backup := "BASE_BACKUP (CHECKPOINT 'fast')"
	if primary.Binaries.Major() < 15 {
		backup = "BASE_BACKUP FAST"
	}
	c.send(&pgproto3.Query{String: backup})
	if !pgtest.Eventually(func() bool { // every buffer on the way is full
		return count(t, primary, "SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'WalSenderWriteData' OR pid = $1 AND wait_event = 'ClientWrite'", key.ProcessID) == 1
	}) {
		t.Error("the backup does not wait for its client")
	}
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if !pgtest.Eventually(walsenders(t, primary, key.ProcessID)) {
		t.Error("the backup goes on")
	}
	f.stop() // the session ends although its client does not close
}

// What the server says last reaches the client, and then its connection ends.
func TestReplicationServerEnds(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	const ended = "FATAL 57P01 terminating connection due to administrator command; closed"
	idle, idleKey := replicationClient(t, f.addr, db, "database")
	streaming, streamingKey := replicationClient(t, f.addr, db, "true")
	streaming.stream(t, primary)
	for _, c := range []struct {
		*client
		key *pgproto3.BackendKeyData
	}{{idle, idleKey}, {streaming, streamingKey}} {
		primary.Exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d)", c.key.ProcessID))
		if got := c.afterCopy(); got != ended {
			t.Errorf("got %q", got)
		}
	}
}

// A connection that breaks without a word is not passed on without one.
func TestReplicationServerIsLost(t *testing.T) {
	fake := startFake(t, func(c *fakeConn) {
		c.say(&pgproto3.CopyBothResponse{}, &pgproto3.CopyData{Data: []byte("k")})
	})
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: fake.server()})
	c, _ := replicationClient(t, f.addr, "postgres", "true")
	c.send(&pgproto3.Query{String: "START_REPLICATION 0/0"})
	const lost = `CopyBothResponse; FATAL 08006 connection to server "primary" was lost; closed`
	if got := c.afterCopy(); got != lost {
		t.Errorf("got %q", got)
	}
}

func TestReplicationServerIsLostInAMessage(t *testing.T) {
	fake := startFake(t, func(c *fakeConn) {
		_, _ = c.Write(message('d', strings.Repeat("w", 100000))[:50000])
	})
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: fake.server()})
	c, _ := replicationClient(t, f.addr, "postgres", "true")
	c.send(&pgproto3.Query{String: "BASE_BACKUP"})
	if got := c.afterCopy(); got != "closed" {
		t.Errorf("got %q", got)
	}
}

func TestReplicationCancel(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	c, key := replicationClient(t, f.addr, db, "database")
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, db, "pg_sleep", true)
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
		t.Errorf("got %q", got)
	}
	c.works()
}

// A shutdown ends idle connections and streams at once, and lets a command finish.
func TestReplicationShutdown(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	const ended = "FATAL 57P01 terminating connection due to administrator command; closed"
	idle, _ := replicationClient(t, f.addr, db, "true")
	streaming, _ := replicationClient(t, f.addr, db, "true")
	streaming.stream(t, primary)
	holder := enter(t, address(primary), db)
	holder.query("SELECT pg_advisory_lock(4711)")
	busy, _ := replicationClient(t, f.addr, db, "database")
	busy.send(&pgproto3.Query{String: "SELECT 'done' FROM pg_advisory_lock(4711)"})
	running(t, primary, db, "'done'", true)
	stopped := make(chan struct{})
	go func() { defer close(stopped); f.stop() }()
	for _, c := range []*client{idle, streaming} {
		if got := c.afterCopy(); got != ended {
			t.Errorf("got %q", got)
		}
	}
	holder.query("SELECT pg_advisory_unlock(4711)")
	if got := joined(busy.answer()); got != "RowDescription; row done; SELECT 1; ready I" {
		t.Errorf("busy: got %q", got)
	}
	if got := joined(busy.answer()); got != ended {
		t.Errorf("busy, then: got %q", got)
	}
	<-stopped
	_ = holder.Close()
}

func TestReplicationKeepsTheRules(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	ask := func(f *fixture, database, kind string) string {
		c := dial(t, f.addr)
		defer c.Close()
		c.startup("user", "postgres", "database", database, "replication", kind)
		return joined(c.answer())
	}
	one := start(t, setup{proxy: proxy.Config{Limits: proxy.Limits{Clients: 1}}})
	c, _ := replicationClient(t, one.addr, db, "true")
	if got := ask(one, db, "true"); !strings.HasPrefix(got, "FATAL 53300 ") {
		t.Errorf("beyond the limit: %q", got)
	}
	_ = c.Close()
	only := start(t, setup{proxy: proxy.Config{Databases: []string{db}}})
	for _, r := range []struct{ database, kind, want string }{
		{db, "database", "AuthenticationOk; ready I"},
		{"postgres", "database", `FATAL 3D000 database "postgres" does not exist; closed`},
		{db, "true", "FATAL 28000 physical replication is not permitted; closed"},
	} {
		if got := ask(only, r.database, r.kind); got != r.want {
			t.Errorf("%s of %s: %q", r.kind, r.database, got)
		}
	}
	auth := scramAuth(t)
	proven := start(t, setup{auth: auth})
	stranger := dial(t, proven.addr)
	stranger.startup("user", "postgres", "replication", "true")
	if got, _ := stranger.receive(); got != "AuthenticationSASL" {
		t.Errorf("without a password: %q", got)
	}
	_ = stranger.Close()
}
