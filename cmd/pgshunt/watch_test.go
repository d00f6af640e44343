package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
)

// nobodyThere is the address of a port that nobody listens on.
func nobodyThere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// scalarOf runs a query that returns one text, or returns its SQLSTATE.
func scalarOf(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var text string
	err := conn.QueryRow(t.Context(), sql, pgx.QueryExecModeSimpleProtocol).Scan(&text)
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
		return pe.Code
	}
	if err != nil {
		return err.Error()
	}
	return text
}

// everyClass is a script of each class of statement, with what becomes of it while every
// replica is down: nothing that does not need one is worse off.
var everyClass = []struct{ sql, code string }{
	{"CREATE TABLE houses (price real, rooms real)", ""},
	{"INSERT INTO houses VALUES (1, 2)", ""},
	{"SELECT * FROM houses", ""},
	{"SELECT pgml.version()", "57P03"},
	{"EXPLAIN SELECT pgml.version()", "57P03"},
	{"SELECT pgml.predict('p', ARRAY[rooms]) FROM houses", "57P03"},
	{"SELECT * FROM pgml.models", "57P03"},
	{"SELECT * FROM pgml.train('p', 'regression', 'houses', 'price')", "57P03"},
	{"SELECT pgml.deploy('p', 'best_score')", "57P03"},
	{"UPDATE houses SET price = pgml.predict('p', ARRAY[rooms])", "0A000"},
	{"BEGIN", ""},
	{"INSERT INTO houses VALUES (3, 4)", ""},
	{"SELECT pgml.version()", "57P03"},
	{"SELECT 1", "25P02"},
	{"ROLLBACK", ""},
	{"SELECT 1 / (count(*) - 1) FROM houses", "22012"}, // one row is left
	{"DROP TABLE houses", ""},
}

// pgshunt starts whoever else is there, and finds servers when they come.
func TestServingBeginsWithoutReplicas(t *testing.T) {
	primary := pgtest.Primary(t)
	s := serve(t, t.TempDir(), fmt.Sprintf("auth: {method: trust}\nprimary: {url: %q}\nreplicas: [{name: ml1, url: \"postgres://postgres@%s/postgres\"}]\n",
		primary.URL("postgres", "postgres"), nobodyThere(t)))
	conn := pgtest.Connect(t, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port))
	if got := scalarOf(t, conn, "SELECT 'here'"); got != "here" {
		t.Error(got)
	}
	for protocol, mode := range map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "extended": pgx.QueryExecModeExec} {
		for _, step := range everyClass {
			_, err := conn.Exec(t.Context(), step.sql, mode)
			e := pgError(err)
			switch {
			case err != nil && e == nil:
				t.Fatalf("%s, %s: %v", protocol, step.sql, err)
			case e == nil && step.code != "", e != nil && e.Code != step.code:
				t.Errorf("%s, %s: %v, expected %q", protocol, step.sql, err, step.code)
			case step.code == "57P03" && !strings.Contains(e.Hint, "pgshunt check"):
				t.Errorf("%s, %s: the hint is %q", protocol, step.sql, e.Hint)
			}
		}
	}
	if log := s.log.String(); !strings.Contains(log, "target unhealthy") || !strings.Contains(log, "target=ml1") {
		t.Errorf("the log does not name the server that is down:\n%s", log)
	}
}

func TestServingBeginsWithoutPrimary(t *testing.T) {
	ml := pgtest.Replica(t)
	s := serve(t, t.TempDir(), fmt.Sprintf("auth: {method: trust}\npool: {wait: 100ms}\nlimits: {startup: 2s}\nprimary: {url: \"postgres://postgres@%s/postgres\"}\nreplicas: [{name: ml1, url: %q}]\n",
		nobodyThere(t), ml.URL("postgres", "postgres")))
	_, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port))
	if pe := (*pgconn.PgError)(nil); !errors.As(err, &pe) || pe.Code != "08001" {
		t.Errorf("with the primary down: %v", err)
	}
}

// Of several hosts the primary is used, and after a failover the next one.
func TestServingFollowsThePrimary(t *testing.T) {
	first := pgtest.Primary(t)
	second := pgtest.Standby(t, first)
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", second.Port, first.Port)
	s := serve(t, t.TempDir(), fmt.Sprintf("auth: {method: trust}\nprimary: {url: %q}\n", url))
	conn := pgtest.Connect(t, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port))
	const port, write = "SELECT current_setting('port')", "CREATE TABLE written (v int)"
	if got := scalarOf(t, conn, port); got != fmt.Sprint(first.Port) {
		t.Errorf("at first on port %s, not that of the primary, %d", got, first.Port)
	}
	first.Kill()
	second.Exec(t, "SELECT pg_promote(true, 60)")
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	if !pgtest.Eventually(func() bool { return scalarOf(t, conn, port) == fmt.Sprint(second.Port) }) {
		t.Fatalf("the session has not come to the new primary: %s", scalarOf(t, conn, port))
	}
	if _, err := conn.Exec(ctx, write); err != nil {
		t.Errorf("the new primary does not take writes: %v", err)
	}
}
