package pgtest

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

func TestLogTellsWhoSentWhat(t *testing.T) {
	p := SharedPrimary(t)
	mark := p.Mark(t)
	conn := p.Conn(t, "postgres", "postgres")
	if _, err := conn.Exec(t.Context(), "SET application_name = 'a b: c'"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1,\n\t2 AS simple", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT $1::int AS extended", pgx.QueryExecModeExec, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Prepare(t.Context(), "three", "SELECT $1::int AS prepared"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "three", 3); err != nil {
		t.Fatal(err)
	}

	simple := p.WaitStatement(t, mark, "AS simple")
	if simple.SQL != "SELECT 1,\n\t2 AS simple" || simple.Name != "" {
		t.Errorf("simple: %+v", simple)
	}
	if simple.PID != int(conn.PgConn().PID()) || simple.Application != "a b: c" || simple.User != "postgres" || simple.Database != "postgres" {
		t.Errorf("simple was sent by %+v", simple.Line)
	}
	if got := p.WaitStatement(t, mark, "AS extended"); got.SQL != "SELECT $1::int AS extended" || got.Name != "<unnamed>" {
		t.Errorf("extended: %+v", got)
	}
	if got := p.WaitStatement(t, mark, "AS prepared"); got.SQL != "SELECT $1::int AS prepared" || got.Name != "three" {
		t.Errorf("prepared: %+v", got)
	}
	if p.Saw(t, mark, "AS absent") || !p.Saw(t, mark, "AS prepared") {
		t.Error("Saw is wrong")
	}
	if p.Saw(t, p.Mark(t), "AS simple") {
		t.Error("a mark does not hide what came before it")
	}
}

func TestLogHasErrors(t *testing.T) {
	p := SharedPrimary(t)
	mark := p.Mark(t)
	conn := p.Conn(t, "postgres", "postgres")
	if _, err := conn.Exec(t.Context(), "SELECT no_such_column"); err == nil {
		t.Fatal("no error")
	}
	if l := p.WaitLog(t, mark, "no_such_column"); l.PID == 0 {
		t.Errorf("got %+v", l)
	}
}

func TestReplicaHasTheStandInInEveryNewDatabase(t *testing.T) {
	r := SharedReplica(t)
	for _, database := range []string{"postgres", r.NewDatabase(t)} {
		var version string
		if err := r.Conn(t, "postgres", database).QueryRow(t.Context(), "SELECT pgml.version()").Scan(&version); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(version, "stand-in") {
			t.Errorf("%s: version %q does not say that it is a stand-in", database, version)
		}
	}
}

func TestPrimaryHasNoPgml(t *testing.T) {
	var n int
	err := SharedPrimary(t).Conn(t, "postgres", "postgres").QueryRow(t.Context(),
		"SELECT count(*) FROM pg_available_extensions WHERE name = 'pgml'").Scan(&n)
	if err != nil || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestOwnServerTakesOptions(t *testing.T) {
	p := Primary(t, Options{Name: "own", Settings: map[string]string{"wal_level": "replica"}})
	var level string
	if err := p.Super(t, "postgres").QueryRow(t.Context(), "SHOW wal_level").Scan(&level); err != nil || level != "replica" {
		t.Errorf("%q, %v", level, err)
	}
}

// failures records what would have failed a test, and runs its cleanups.
type failures struct {
	testing.TB
	cleanups []func()
	errors   int
}

func (f *failures) Cleanup(fn func())     { f.cleanups = append(f.cleanups, fn) }
func (f *failures) Errorf(string, ...any) { f.errors++ }
func (f *failures) Logf(string, ...any)   {}
func (f *failures) end() {
	for _, fn := range f.cleanups {
		fn()
	}
}

func TestNoLeaks(t *testing.T) {
	SharedPrimary(t)

	clean := &failures{TB: t}
	NoLeaks(clean)
	stop := make(chan struct{})
	go func() { <-stop }()
	close(stop) // may end after the test does
	clean.end()
	if clean.errors != 0 {
		t.Error("a goroutine that ends is a leak")
	}

	leaky := &failures{TB: t}
	NoLeaks(leaky)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	leaky.end()
	if leaky.errors != 1 {
		t.Error("an open file is no leak")
	}
	_ = f.Close()
}
