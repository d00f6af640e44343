package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

// One table is copied anew by name; and the slot of a replica that is dead is removed by
// drop, which says what is left to do there.
func TestALogicalFeedByCommand(t *testing.T) {
	primary, replica := pgtest.Primary(t), pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"wal_retrieve_retry_interval": "100ms"}})
	primary.Exec(t, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
	file := filepath.Join(t.TempDir(), "pgshunt.yaml")
	text := "primary: {url: \"" + primary.URL("postgres", "postgres") + "\"}\nreplicas:\n  - {name: ml1, url: \"" + replica.URL("postgres", "postgres") + "\", feed: logical, tables: [a, b]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(want int, args ...string) string {
		t.Helper()
		out, status, err := inProcess(file)(t.Context(), args...)
		if err != nil || status != want {
			t.Fatalf("%q ended with %d, %v: %s", args, status, err, out)
		}
		return out
	}
	command(0, "apply")
	replica.Exec(t, "INSERT INTO a VALUES (2); INSERT INTO b VALUES (2)")
	if out := command(1, "refresh", "--table", "none"); !strings.Contains(out, "none of the tables") {
		t.Errorf("a pattern that meets nothing: %s", out)
	}
	command(0, "refresh", "--table", "public.a")
	var rows string
	const count = "SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM b)"
	if err := replica.Super(t, "postgres").QueryRow(t.Context(), count).Scan(&rows); err != nil || rows != "1 2" {
		t.Errorf("rows %s, %v", rows, err)
	}
	replica.Kill()
	if out := command(1, "drop", "--replica", "ml1", "--yes"); !strings.Contains(out, "DROP SUBSCRIPTION") {
		t.Errorf("what is left is not said: %s", out)
	}
	var slots string
	if err := primary.Super(t, "postgres").QueryRow(t.Context(), "SELECT (SELECT count(*) FROM pg_replication_slots) || ' ' || (SELECT count(*) FROM pg_publication)").Scan(&slots); err != nil || slots != "0 0" {
		t.Errorf("left on the primary: %s, %v", slots, err)
	}
}
