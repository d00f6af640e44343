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
