package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
)

// expectNothingLeft checks that the servers of a run and their files are gone.
func expectNothingLeft(t *testing.T, r *demoReport) {
	t.Helper()
	if _, err := os.Stat(r.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %s is still there (%v)", r.Dir, err)
	}
	for _, pid := range r.PIDs {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("server process %d is still there (%v)", pid, err)
		}
	}
}

func TestDemoTellsItsStoryAndLeavesNothing(t *testing.T) {
	pgtest.NoLeaks(t)
	var out bytes.Buffer
	r, err := runDemo(t.Context(), demoOptions{once: true, story: demoStory()}, newDemoPage(&out))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if r.failures() > 0 {
		t.Errorf("not as expected:\n%s", out.String())
	}
	expectNothingLeft(t, r)
	if len(r.PIDs) != 3 {
		t.Errorf("%d servers, expected 3", len(r.PIDs))
	}
	for server, want := range map[string]int{"primary": 17, "ml1": 6, "ml2": 3, "": 1} {
		if n, _ := r.on(server); n != want {
			t.Errorf("%d statements ran on %q, expected %d", n, server, want)
		}
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Rule == "" || s.Reason == "" || s.Elapsed <= 0 {
			t.Errorf("step %d says too little: %+v", s.Number, s)
		}
	}
	for _, text := range []string{
		"The primary was spared 9 statements", ": 0 call pgml", "neither installed nor available there",
		"stand-in", "442 patients, 150 flowers", "HINT:", r.URL,
	} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	told := out.String()
	if strings.Contains(told, "(PostgreSQL) 13.") || strings.Contains(told, "(PostgreSQL) 14.") { // whose subscriptions always connect again
		told = strings.ReplaceAll(told, "  3 steps found", "  - have the subscription connect again after any error on ml1\n  2 steps found")
	}
	shortened(t, demoPageFile, "One run, shortened", told)
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape sequences where there is no terminal")
	}
}

func TestDemoStaysUpAndShowsWhatWentOtherwise(t *testing.T) {
	pgtest.NoLeaks(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*pgtest.Patience)
	defer cancel()
	var out bytes.Buffer
	visited := errors.New("nobody came")
	story := []demoStep{
		{chapter: "Wrong in every way", sql: "SELECT pgml.version();", on: "primary", rows: 2, shows: []string{"the real one"}},
		{sql: "SELECT 1/0;", on: "primary"},
	}
	r, err := runDemo(ctx, demoOptions{story: story, ready: func(url string) {
		visited = visit(ctx, url)
		cancel()
	}}, newDemoPage(&out))
	if err != nil || visited != nil {
		t.Fatalf("%v, visitor: %v\n%s", err, visited, out.String())
	}
	expectNothingLeft(t, r)
	if n := r.failures(); n != 5 {
		t.Errorf("%d things not as expected, 5 are\n%s", n, out.String())
	}
	for _, text := range []string{
		"it ran on ml1; expected: primary", `says role "replica"`, "1 rows; expected: 2", `does not contain "the real one"`,
		"SQLSTATE 22012; expected: 00000", "5 things NOT AS EXPECTED", "psql " + r.URL, "a statement: ml1 ",
	} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the page does not say %q:\n%s", text, out.String())
		}
	}
	shortened(t, demoPageFile, "Afterwards", out.String())
}

// demoPageFile is what tells readers of the demo.
const demoPageFile = "../../docs/demo.md"

func visit(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{"SELECT pgml.version()", "/*+ pgshunt: replica:ml2 */ SELECT name FROM pgml.projects", "SELECT current_user"} {
		if _, err = conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func TestDemoInterruptedWhileStartingLeavesNothing(t *testing.T) {
	pgtest.NoLeaks(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	r, err := runDemo(ctx, demoOptions{once: true, story: demoStory()}, newDemoPage(&out))
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("error %v, expected one about the interruption\n%s", err, out.String())
	}
	expectNothingLeft(t, r)
}

func TestDemoReadsWhereThingsRanFromServerLogs(t *testing.T) {
	runs, err := parseDemoLog(strings.Join([]string{
		"2026-01-02 03:04:05.678 UTC [11] user=app,db=clinic,app=psql: LOG:  statement: SELECT 1,",
		"\t2;",
		"2026-01-02 03:04:05.679 UTC [12] user=postgres,db=clinic,app=: LOG:  statement: SELECT 'of the demo itself'",
		"2026-01-02 03:04:05.679 UTC [12] user=postgres,db=clinic,app=: LOG:  duration: 700.5 ms",
		"2026-01-02 03:04:05.680 UTC [13] user=app,db=clinic,app=a: b: LOG:  execute <unnamed>: SELECT $1",
		"2026-01-02 03:04:05.680 UTC [13] user=app,db=clinic,app=a: b: DETAIL:  parameters: $1 = '3'",
		"2026-01-02 03:04:05.681 UTC [11] user=app,db=clinic,app=psql: LOG:  duration: 1.5 ms",
		"2026-01-02 03:04:05.682 UTC [] user=app,db=clinic,app=psql: half a li",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []demoRun{{pid: 11, sql: "SELECT 1,\n2;", elapsed: 1500 * time.Microsecond}, {pid: 13, sql: "SELECT $1"}}
	if len(runs) != len(want) || runs[0] != want[0] || runs[1] != want[1] {
		t.Errorf("%+v, expected %+v", runs, want)
	}
}

func TestDemoKnowsWhatPsqlMakesOfAStatement(t *testing.T) {
	for _, c := range []struct {
		written, sent string
		same          bool
	}{
		{"SELECT 1;", "SELECT 1;", true},
		{"SELECT\n  1;", "SELECT 1", true},
		{"SELECT a AS b \\gset", "SELECT a AS b ", true},
		{"SET x = :forecast;", "SET x = 71.75;", true},
		{"SELECT a::numeric, :b;", "SELECT a::numeric, 2;", true},
		{"SELECT a::numeric;", "SELECT a::text;", false},
		{"SELECT 1;", "SELECT 10;", false},
	} {
		if got := sameSQL(c.written, c.sent); got != c.same {
			t.Errorf("%q and %q: same %v, expected %v", c.written, c.sent, got, c.same)
		}
	}
}
