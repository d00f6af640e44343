package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/cluster"
)

const patience = time.Minute

func start(t *testing.T, cfg cluster.Config) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := cluster.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// value runs a query of one row and column over TCP.
func value(t *testing.T, c *cluster.Cluster, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.URL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var v string
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func awaitEnd(t *testing.T, ended func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ended(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

func TestStartAnswersAndCloseLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Config{Settings: map[string]string{"work_mem": "5MB"}})
	if err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"SELECT current_setting('work_mem')":          "5MB",
		"SELECT current_setting('wal_level')":         "logical",
		"SELECT current_setting('fsync')":             "off",
		"SELECT current_setting('port')":              strconv.Itoa(c.Port),
		"SELECT current_setting('lc_collate')":        "C",
		"SELECT pg_encoding_to_char(6)::text":         "UTF8",
		"SELECT host(inet_server_addr())::text":       "127.0.0.1",
		"SELECT rolsuper::text FROM pg_roles LIMIT 1": "true",
	} {
		if sql == "SELECT current_setting('lc_collate')" {
			sql = "SELECT datcollate FROM pg_database WHERE datname = current_database()" // the setting is gone since 16
		}
		if got := value(t, c, sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if !gone(c.PID()) {
		t.Error("the server still runs")
	}
	if _, err := os.Stat(c.Dir()); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", c.Dir(), err)
	}
}

func TestDataSurvivesStopAndKillAndASecondStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 25)) // too long for a socket's path
	c := start(t, cluster.Config{Dir: dir, Name: "kept"})
	port := c.Port
	value(t, c, "SELECT set_config('a.b', 'c', false)")

	conn, err := pgx.Connect(t.Context(), c.SocketURL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t AS SELECT 'here' AS v; CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())

	for name, end := range map[string]func(){
		"stop":    func() { _ = c.Stop() },
		"kill":    c.Kill,
		"nothing": func() {}, // Restart stops it
	} {
		end()
		if name != "nothing" {
			select {
			case <-c.Done():
			default:
				t.Errorf("%s: Done is not closed", name)
			}
		}
		if err := c.Restart(t.Context()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if got := value(t, c, "SELECT v FROM t"); got != "here" || c.Port != port {
			t.Errorf("after %s: %q on port %d, want %q on %d", name, got, c.Port, "here", port)
		}
	}

	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, cluster.Config{Dir: dir})
	if got := value(t, again, "SELECT v FROM t"); got != "here" {
		t.Errorf("after a second Start: %q", got)
	}
}

func TestExtensionsNeedNoInstallation(t *testing.T) {
	c := start(t, cluster.Config{Extensions: map[string][]byte{
		"greeting.control":  []byte("default_version = '1.0'\n"),
		"greeting--1.0.sql": []byte("CREATE FUNCTION greet() RETURNS text LANGUAGE sql AS $$ SELECT 'hello' $$;\n"),
	}})
	conn, err := pgx.Connect(t.Context(), c.URL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	// The system's own still work beside it, those with a library included.
	for _, sql := range []string{
		"CREATE EXTENSION greeting", "CREATE EXTENSION postgres_fdw", "SELECT greet()",
		"SET timezone = 'Europe/Berlin'", "SELECT to_tsvector('english', 'running')",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestExtensionFileNamesStayInTheDirectory(t *testing.T) {
	_, err := cluster.Start(t.Context(), cluster.Config{Extensions: map[string][]byte{"../x.control": nil}})
	if err == nil || !strings.Contains(err.Error(), "plain file name") {
		t.Errorf("got %v", err)
	}
}

func TestHBADecidesButTheSuperuserGetsInBySocket(t *testing.T) {
	c := start(t, cluster.Config{HBA: "host all all 127.0.0.1/32 scram-sha-256\n"})
	if _, err := pgx.Connect(t.Context(), c.URL("postgres", "postgres")); err == nil {
		t.Error("TCP without a password was let in")
	}
	conn, err := pgx.Connect(t.Context(), c.SocketURL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
}

func TestAStandbyFollows(t *testing.T) {
	source := start(t, cluster.Config{Settings: map[string]string{"max_connections": "120"}})
	standby := start(t, cluster.Config{StandbyOf: source})
	conn, err := pgx.Connect(t.Context(), source.URL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t AS SELECT 1"); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, func() bool { return value(t, standby, "SELECT (to_regclass('t') IS NOT NULL)::text") == "true" })
	if got := value(t, standby, "SELECT pg_is_in_recovery()::text"); got != "true" {
		t.Error("the standby is not in recovery")
	}
}

func TestManyStartAtOnce(t *testing.T) {
	const n = 4
	ports := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { ports[i] = start(t, cluster.Config{}).Port })
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] {
			t.Errorf("port %d was given twice", p)
		}
		seen[p] = true
	}
}

func TestATakenPortIsAnErrorWithTheServersLog(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = cluster.Start(t.Context(), cluster.Config{Port: l.Addr().(*net.TCPAddr).Port})
	if err == nil || !strings.Contains(err.Error(), "server log:") {
		t.Errorf("got %v", err)
	}
}

func TestABadSettingIsAnErrorThatNamesIt(t *testing.T) {
	_, err := cluster.Start(t.Context(), cluster.Config{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v", err)
	}
}

func TestFindSaysWhatIsWrongWithTheOverride(t *testing.T) {
	t.Setenv(cluster.BinEnv, t.TempDir())
	if _, err := cluster.Find(t.Context(), ""); err == nil || !strings.Contains(err.Error(), cluster.BinEnv) {
		t.Errorf("got %v", err)
	}
}

// TestServerDiesWithItsParent runs itself as a process that starts a server and
// is then killed, without a chance to stop it.
func TestServerDiesWithItsParent(t *testing.T) {
	const helper = "PGSHUNT_TEST_PARENT"
	if os.Getenv(helper) != "" {
		c := start(t, cluster.Config{Dir: os.Getenv(helper)})
		fmt.Printf("pid %d\n", c.PID())
		<-c.Done()
		return
	}
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Log("only Linux tells a child that its parent has died: nothing to check here")
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithItsParent$", "-test.v")
	cmd.Env = append(os.Environ(), helper+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "pid %d", &pid) // other lines are the test runner's
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // "killed", as asked for
	if pid == 0 {
		t.Fatal("the other process started no server")
	}
	awaitEnd(t, func() bool { return gone(pid) })
}
