package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// Whatever a client asks for with "replication", it gets what PostgreSQL gives.
func TestReplicationAsPostgreSQLReadsIt(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.Exec(t, "CREATE ROLE walker LOGIN")
	t.Cleanup(func() { primary.Exec(t, "DROP ROLE walker") })
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	type login struct{ user, database, replication string }
	logins := []login{{"walker", db, "database"}, {"walker", db, "true"}, {"postgres", "nowhere", "database"}, {"postgres", "nowhere", "true"}, {"nobody", db, "true"}}
	for _, v := range strings.Split("true on yes 1 database false off 0 no t tru TRUE y f n of o 2 Database truth", " ") {
		logins = append(logins, login{"postgres", db, v})
	}
	logins = append(logins, login{"postgres", db, ""})
	for _, l := range logins {
		t.Run(fmt.Sprintf("%s in %s with %q", l.user, l.database, l.replication), func(t *testing.T) {
			said := make(map[string]string)
			for who, addr := range map[string]string{"PostgreSQL": address(primary), "pgshunt": f.addr} {
				c := dial(t, addr)
				c.startup("user", l.user, "database", l.database, "replication", l.replication, "options", "-c work_mem=77MB")
				// PostgreSQL looks at users and databases after AuthenticationOk, pgshunt before it.
				got := []string{strings.TrimPrefix(joined(c.answer()), "AuthenticationOk; FATAL")}
				got[0] = strings.TrimPrefix(got[0], "FATAL")
				if strings.HasSuffix(got[0], "ready I") {
					for _, sql := range []string{"SELECT 1", "SHOW work_mem", "SELECT current_database()", "NO_SUCH_COMMAND"} {
						got = append(got, c.query(sql)...)
					}
				}
				_ = c.Close()
				said[who] = joined(got)
			}
			if said["pgshunt"] != said["PostgreSQL"] {
				t.Errorf("pgshunt:    %s\nPostgreSQL: %s", said["pgshunt"], said["PostgreSQL"])
			}
		})
	}
}

func TestReplicationWelcomeIsTheServers(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	var told []map[string]string
	for _, addr := range []string{address(primary), f.addr} {
		c := dial(t, addr)
		c.startup("user", "postgres", "database", db, "replication", "database", "application_name", "me", "DateStyle", "German")
		// A question may follow the startup packet at once.
		c.send(&pgproto3.Query{String: "SELECT pg_backend_pid()"})
		params := map[string]string{}
		pid := uint32(0)
		for ready := 0; ready < 2; {
			m, err := c.fe.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.ParameterStatus:
				params[m.Name] = m.Value
			case *pgproto3.BackendKeyData:
				pid = m.ProcessID
			case *pgproto3.DataRow:
				params["the key has the server's process id"] = fmt.Sprint(string(m.Values[0]) == fmt.Sprint(pid))
			case *pgproto3.ReadyForQuery:
				ready++
			}
		}
		told = append(told, params)
	}
	if fmt.Sprint(told[0]) != fmt.Sprint(told[1]) {
		t.Errorf("PostgreSQL %v\npgshunt %v", told[0], told[1])
	}
}

// tool is one of PostgreSQL's own programs.
func tool(s *pgtest.Server, name string) string { return filepath.Join(s.Binaries.Dir, name) }

func TestReplicationBaseBackup(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	for _, wal := range []string{"stream", "fetch"} {
		dir := filepath.Join(t.TempDir(), wal)
		program(t, f, "", tool(primary, "pg_basebackup"), "-D", dir, "-X", wal, "-c", "fast", "--no-sync")
		program(t, f, "", tool(primary, "pg_verifybackup"), dir)
	}
}

// scalar asks the server directly for one value.
func scalar(t *testing.T, s *pgtest.Server, database, sql string) string {
	t.Helper()
	var v string
	conn := s.Super(t, database)
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReplicationReceiveWAL(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	primary.ExecIn(t, db, "CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 5000) i")
	end := scalar(t, primary, db, "SELECT pg_current_wal_flush_lsn()::text")
	primary.ExecIn(t, db, "CREATE TABLE u AS SELECT 1") // what comes after the end tells the program that it is there
	direct := &fixture{addr: address(primary)}
	var received [][]byte
	for _, from := range []*fixture{direct, f} {
		dir := t.TempDir()
		program(t, from, "", tool(primary, "pg_receivewal"), "-D", dir, "--endpos", end, "--no-loop", "--no-sync")
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		data, err := os.ReadFile(files[len(files)-1])
		if err != nil {
			t.Fatal(err)
		}
		var hi, lo uint64
		if _, err := fmt.Sscanf(end, "%X/%X", &hi, &lo); err != nil {
			t.Fatal(err)
		}
		received = append(received, data[:lo%uint64(len(data))]) // what follows may be different by now
	}
	if len(received[1]) == 0 || !bytes.Equal(received[0], received[1]) {
		t.Errorf("%d and %d bytes, which differ", len(received[0]), len(received[1]))
	}
}

func TestReplicationReceiveLogical(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	recv := func(args ...string) string {
		return program(t, f, db, tool(primary, "pg_recvlogical"), append([]string{"-d", db, "--slot", "edge"}, args...)...)
	}
	recv("--create-slot", "-P", "test_decoding")
	primary.ExecIn(t, db, "CREATE TABLE t (id int PRIMARY KEY, body text)")
	primary.ExecIn(t, db, "INSERT INTO t SELECT i, repeat('y', 100) FROM generate_series(1, 1000) i")
	end := scalar(t, primary, db, "SELECT pg_current_wal_flush_lsn()::text")
	primary.ExecIn(t, db, "CREATE TABLE u AS SELECT 1")
	out := recv("--start", "--no-loop", "--endpos", end, "-f", "-")
	recv("--drop-slot")
	if got := strings.Count(out, "table public.t: INSERT:"); got != 1000 {
		t.Errorf("%d changes were received, not 1000:\n%.2000s", got, out)
	}
	if n := count(t, primary, "SELECT FROM pg_replication_slots WHERE slot_name = 'edge'"); n != 0 {
		t.Error("the slot was not dropped")
	}
}

// A hot standby may follow its primary through the proxy.
func TestReplicationStandbyFollows(t *testing.T) {
	primary := pgtest.Primary(t)
	standby := pgtest.Standby(t, primary)
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: primary})
	host, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	mark := standby.Mark(t)
	standby.Exec(t, fmt.Sprintf("ALTER SYSTEM SET primary_conninfo = 'host=%s port=%s user=postgres sslmode=disable application_name=through'", host, port))
	standby.Exec(t, "SELECT pg_reload_conf()")
	standby.WaitLog(t, mark, "started streaming WAL from primary")
	primary.Exec(t, "CREATE TABLE followed AS SELECT generate_series(1, 1000) i")
	if !pgtest.Eventually(func() bool {
		return count(t, standby, "SELECT FROM pg_class WHERE relname = 'followed'") == 1 && count(t, standby, "SELECT FROM followed") == 1000
	}) {
		t.Error("the rows do not arrive")
	}
	if n := count(t, primary, "SELECT FROM pg_stat_replication WHERE application_name = 'through' AND state = 'streaming'"); n != 1 {
		t.Errorf("%d standbys stream through the proxy", n)
	}
	f.stop()
}

// replicationClient logs in for replication and returns its key.
func replicationClient(t *testing.T, addr, database, kind string) (*client, *pgproto3.BackendKeyData) {
	t.Helper()
	return enterWithKey(t, addr, database, "replication", kind)
}

// stream starts a stream of changes.
func (c *client) stream(t *testing.T, primary *pgtest.Server) {
	t.Helper()
	c.send(&pgproto3.Query{String: "START_REPLICATION PHYSICAL " + scalar(t, primary, "postgres", "SELECT pg_current_wal_lsn()::text")})
	for {
		m, err := c.fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m.(type) {
		case *pgproto3.ErrorResponse:
			t.Fatal(m)
		case *pgproto3.CopyBothResponse:
			return
		}
	}
}

// afterCopy is answer without copy data.
func (c *client) afterCopy() string {
	c.t.Helper()
	var lines []string
	for _, l := range c.answer() {
		if l != "CopyData" {
			lines = append(lines, l)
		}
	}
	return joined(lines)
}

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
