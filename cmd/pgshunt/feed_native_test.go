package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/testdata/pgml"
)

// PostgresML in the primary: what trains or loads a model runs there, and a standby answers what
// needs none.
func TestPostgresMLInThePrimary(t *testing.T) {
	primary := pgtest.Primary(t, pgtest.Options{Extensions: pgml.Files()})
	standby := pgtest.Standby(t, primary, pgtest.Options{Extensions: pgml.Files()})
	primary.Exec(t, "CREATE TABLE points (x real, y real); INSERT INTO points SELECT i, 2 * i + 1 FROM generate_series(1, 100) i")
	config := fmt.Sprintf("primary: {url: %q}\nreplicas:\n  - {name: ml1, url: %q, feed: native}\nrouting: {inference: {freshness: session}}\nauth: {method: trust}\n",
		primary.URL("postgres", "postgres"), standby.URL("postgres", "postgres"))
	dir := t.TempDir()
	file := filepath.Join(dir, "feed.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := feedFile(t, file, "apply"); !strings.Contains(out, "create extension pgml") || !strings.Contains(out, "the primary trains") {
		t.Errorf("apply says\n%s", out)
	}
	if !pgtest.Eventually(func() bool {
		var there bool
		if err := standby.Super(t, "postgres").QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pgml')").Scan(&there); err != nil {
			t.Fatal(err)
		}
		return there
	}) {
		t.Fatal("the standby does not follow")
	}
	s := serve(t, dir, config)
	conn := s.connect(t)
	for _, c := range []struct {
		sql, want string
		at        *pgtest.Server
	}{
		{"SELECT project || ' ' || deployed FROM pgml.train('line', 'regression', 'public.points', 'y')", "line true", primary},
		{"SELECT round(pgml.predict('line', ARRAY[20::real]))::text", "41", primary},
		{"SELECT cardinality(pgml.embed('intfloat/e5-small', 'some text'))::text", "384", standby},
		{"SELECT count(pgml.embed('intfloat/e5-small', x::text))::text FROM points", "100", standby},
	} {
		mark := c.at.Mark(t)
		if got := answer(t, conn, c.sql); got != c.want {
			t.Errorf("%s: %s", c.sql, got)
		}
		c.at.WaitStatement(t, mark, c.sql)
	}
	if _, err := conn.Exec(t.Context(), "/*+ pgshunt: replica:ml1 */ SELECT pgml.predict('line', ARRAY[20::real])"); err == nil || !strings.Contains(err.Error(), "ml1") {
		t.Errorf("a hint sends what a standby cannot do: %v", err)
	}
}
