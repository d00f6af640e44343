package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

// What README.md shows is what its commands print, with its configuration, which is
// configs/minimal.yaml, a primary with a table, and a PostgresML stand-in. Commands that it
// only names are there.
func TestReadmePage(t *testing.T) {
	const file = "../../README.md"
	text := read(t, file)
	minimal := read(t, "../../configs/minimal.yaml")
	_, minimal, _ = strings.Cut(minimal, "\n") // what it is for
	if !strings.Contains(text, "```yaml\n"+minimal+"```\n") {
		t.Errorf("README.md has another configuration than configs/minimal.yaml")
	}
	primary, ml := pgtest.Primary(t, pgtest.Options{HBA: pageHBA}), pgtest.Replica(t, pgtest.Options{Name: "ml1", HBA: pageHBA})
	s := newStage(t, primary.Binaries.Dir)
	for host, server := range map[string]*pgtest.Server{"db.example.com": primary, "ml1.example.com": ml} {
		s.calls(server.Port, host)
		s.names = append(s.names, fmt.Sprintf("127.0.0.1:%d", server.Port), host+":5432")
		server.Exec(t, "CREATE ROLE app LOGIN PASSWORD 'geheim-1'")
		server.Exec(t, "CREATE DATABASE production OWNER app")
	}
	primary.ExecIn(t, "production", "SET ROLE app; CREATE TABLE orders (id int PRIMARY KEY, amount real); INSERT INTO orders VALUES (7, 10)")
	ml.ExecIn(t, "production", "CREATE EXTENSION IF NOT EXISTS pgml; GRANT USAGE ON SCHEMA pgml TO app")
	s.coarse = primary.Binaries.Major() != 15 || ml.Binaries.Major() != 15
	s.env = append(s.env, "APP_PASSWORD=geheim-1", "PGPASSWORD=geheim-1")
	t.Setenv("APP_PASSWORD", "geheim-1")
	running := serve(t, s.dir, s.here(minimal))
	s.names = append(s.names, fmt.Sprintf("127.0.0.1:%d", running.port), "localhost:6432")
	s.write(t, "pgshunt.yaml", minimal)
	s.write(t, "typo.yaml", strings.Replace(minimal, "auth:", "pool: {szie: 20}\nauth:", 1))
	s.play(t.Context(), t, readPage(t, file))
	for _, line := range regexp.MustCompile(`(?m)^ {4}pgshunt ([^#\n]*)`).FindAllStringSubmatch(text, -1) {
		if out, err := s.run(t.Context(), &pageEntry{command: "$ pgshunt " + line[1] + " --help", hidden: true}); err != nil {
			t.Errorf("pgshunt %s: %v\n%s", line[1], err, out)
		}
	}
}
