package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
)

// reload has pgshunt read another configuration, and returns what the log says of that.
func (s *served) reload(t *testing.T, config string) string {
	t.Helper()
	before := len(s.log.String())
	if err := os.WriteFile(s.file, []byte("log: {level: debug}\nshutdown: 1s\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.running.reloadFile(t.Context(), s.file)
	return s.log.String()[before:]
}

// bed is a primary and two PostgresML servers, each with an empty table gate.
type bed struct{ primary, ml1, ml2 *pgtest.Server }

func startBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{pgtest.Primary(t), pgtest.Replica(t), pgtest.Replica(t)}
	for _, s := range []*pgtest.Server{b.primary, b.ml1, b.ml2} {
		s.Exec(t, "CREATE TABLE gate (v int)")
		s.Exec(t, "INSERT INTO gate VALUES (1)")
	}
	return b
}

// config is for the primary and some replicas, each with keys of its own.
func (b *bed) config(more string, replicas ...string) string {
	text := fmt.Sprintf("listen: 127.0.0.1:0\nauth: {method: trust}\nprimary: {url: %q}\n%s\nreplicas:\n", b.primary.URL("postgres", "postgres"), more)
	for _, r := range replicas {
		name, keys, _ := strings.Cut(r, " ")
		at := map[string]*pgtest.Server{"ml1": b.ml1, "ml2": b.ml2}[name]
		text += fmt.Sprintf("  - {name: %s, feed: fdw, url: %q%s}\n", name, at.URL("postgres", "postgres"), keys)
	}
	return text
}

func (s *served) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	return pgtest.Connect(t, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port))
}

const (
	processThere = "SELECT current_setting('port') || ' ' || pg_backend_pid()"
	portOfPgml   = "SELECT current_setting('port') FROM pgml.version()"
)

// onML is a statement for one replica.
func onML(name, sql string) string { return "/*+ pgshunt: replica:" + name + " */ " + sql }

// A replica that is taken out of the configuration finishes what it runs, and gets nothing
// more; the connections to all others stay as they are.
func TestReloadRemovesAServerInUse(t *testing.T) {
	b := startBed(t)
	s := serve(t, t.TempDir(), b.config("", "ml1", "ml2"))
	conn, busy, kept := s.connect(t), s.connect(t), s.connect(t)
	onPrimary, onML2 := scalarOf(t, conn, processThere), scalarOf(t, conn, onML("ml2", processThere))
	port := func(of *pgtest.Server) string { return fmt.Sprint(of.Port) }
	if !strings.HasPrefix(onPrimary, port(b.primary)+" ") || !strings.HasPrefix(onML2, port(b.ml2)+" ") {
		t.Fatalf("on the primary %s, on ml2 %s", onPrimary, onML2)
	}

	if _, err := kept.Exec(t.Context(), onML("ml1", "PREPARE here AS "+processThere), pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	keptAt := scalarOf(t, kept, "EXECUTE here")
	if !strings.HasPrefix(keptAt, port(b.ml1)+" ") {
		t.Fatalf("a session that has prepared something on ml1 is at %s", keptAt)
	}
	lock, err := b.ml1.Super(t, "postgres").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), "LOCK gate"); err != nil {
		t.Fatal(err)
	}
	slow := make(chan string, 1)
	go func() {
		var at string
		err := busy.QueryRow(context.WithoutCancel(t.Context()), onML("ml1", "SELECT current_setting('port') FROM gate"), pgx.QueryExecModeSimpleProtocol).Scan(&at)
		slow <- fmt.Sprint(at, err)
	}()
	look := b.ml1.Super(t, "postgres")
	const waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM gate'"
	if !pgtest.Eventually(func() bool { return scalarOf(t, look, waiting) == "1" }) {
		t.Fatal("the slow statement does not run on ml1")
	}

	if log := s.reload(t, b.config("", "ml2")); !strings.Contains(log, "configuration reloaded") || !strings.Contains(log, "removed=[ml1]") || strings.Contains(log, "needs a restart") {
		t.Errorf("the log: %s", log)
	}
	for range 5 {
		if got := scalarOf(t, conn, portOfPgml); got != port(b.ml2) {
			t.Errorf("inference after the reload: %s", got)
		}
	}
	if got := scalarOf(t, conn, onML("ml1", processThere)); got != "22023" {
		t.Errorf("a hint for a server that is not there: %s", got)
	}
	if p, r := scalarOf(t, conn, processThere), scalarOf(t, conn, onML("ml2", processThere)); p != onPrimary || r != onML2 {
		t.Errorf("other processes than before: %s on the primary, %s on ml2; %s and %s before", p, r, onPrimary, onML2)
	}
	if got := scalarOf(t, kept, "EXECUTE here"); got != keptAt {
		t.Errorf("a session that is kept on ml1: %s, and %s before", got, keptAt)
	}
	if _, err := kept.Exec(t.Context(), "DEALLOCATE ALL", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Error(err)
	}
	if got := scalarOf(t, kept, portOfPgml); got != port(b.ml2) {
		t.Errorf("once nothing keeps it there: %s", got)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-slow; got != port(b.ml1)+"<nil>" {
		t.Errorf("the slow statement: %s", got)
	}
	const clients = "SELECT count(*)::text FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE '/*%FROM gate'"
	if !pgtest.Eventually(func() bool { return scalarOf(t, look, clients) == "0" }) {
		t.Error("its backend stays open")
	}
	if got := scalarOf(t, busy, portOfPgml); got != port(b.ml2) {
		t.Errorf("the next statement of its session: %s", got)
	}
}

// A changed rule is applied, a server that is added or changed is used, and what needs a
// restart is named. A file that is wrong changes nothing.
func TestReloadAppliesRoutingAndReplicas(t *testing.T) {
	b := startBed(t)
	s := serve(t, t.TempDir(), b.config(""))
	conn := s.connect(t)
	pid := scalarOf(t, conn, processThere)
	if got := scalarOf(t, conn, portOfPgml); got != "3F000" {
		t.Errorf("without replicas: %s", got)
	}
	if log := s.reload(t, b.config("", "ml1")); !strings.Contains(log, "added=[ml1]") {
		t.Errorf("the log: %s", log)
	}
	if got := scalarOf(t, conn, portOfPgml); got != fmt.Sprint(b.ml1.Port) {
		t.Errorf("with a replica that is new: %s", got)
	}
	if got := scalarOf(t, conn, "SELECT v::text FROM gate"); got != "1" {
		t.Errorf("a read: %s", got)
	}

	const rule = "routing: {rules: [{match: {relation: gate}, to: ml2}]}\n"
	if log := s.reload(t, b.config(rule, "ml1")); !strings.Contains(log, "not reloaded") || !strings.Contains(log, "pgshunt.yaml:") {
		t.Errorf("the log of a wrong file: %s", log)
	}
	const reads = "SELECT current_setting('port') FROM gate"
	if got := scalarOf(t, conn, reads); got != fmt.Sprint(b.primary.Port) {
		t.Errorf("after a wrong file: %s", got)
	}
	log := s.reload(t, b.config(rule+"pool: {mode: session, size: 3}", "ml1", "ml2"))
	if !strings.Contains(log, "configuration reloaded") || strings.Count(log, "needs a restart") != 2 || !strings.Contains(log, "key=pool.mode") || !strings.Contains(log, "key=pool.size") {
		t.Errorf("the log of what cannot be applied: %s", log)
	}
	if got := scalarOf(t, conn, reads); got != fmt.Sprint(b.ml2.Port) {
		t.Errorf("by the new rule: %s", got)
	}

	b.ml2 = b.ml1
	if log := s.reload(t, b.config(rule, "ml1", "ml2 , serves: [reads]")); !strings.Contains(log, "changed=[ml2]") {
		t.Errorf("the log of a changed url: %s", log)
	}
	if got := scalarOf(t, conn, reads); got != fmt.Sprint(b.ml1.Port) {
		t.Errorf("at its new url: %s", got)
	}
	if log := s.reload(t, b.config("")); !strings.Contains(log, `removed="[ml1 ml2]"`) {
		t.Errorf("the log of no replicas: %s", log)
	}
	if got := scalarOf(t, conn, reads); got != fmt.Sprint(b.primary.Port) {
		t.Errorf("without replicas again: %s", got)
	}
	if got := scalarOf(t, conn, processThere); got != pid {
		t.Errorf("on the primary as process %s, and %s before", got, pid)
	}
}

// SIGHUP is what has a running pgshunt reload.
func TestServeReloadsAtSIGHUP(t *testing.T) {
	primary := pgtest.Primary(t)
	config := fmt.Sprintf("listen: 127.0.0.1:0\nauth: {method: trust}\nprimary: {url: %q}\n", primary.URL("postgres", "postgres"))
	file := writeFile(t, "pgshunt.yaml", config)
	log := &syncBuffer{}
	ctx, stop := context.WithCancel(t.Context())
	cmd := serveCommand()
	cmd.SetArgs([]string{"-c", file})
	cmd.SetErr(log)
	served := make(chan error, 1)
	go func() { served <- cmd.ExecuteContext(ctx) }()
	says := func(text string) {
		t.Helper()
		if !pgtest.Eventually(func() bool { return strings.Contains(log.String(), text) }) {
			t.Errorf("the log has no %q:\n%s", text, log.String())
		}
	}
	if says("listening"); !t.Failed() { // else nobody may be there to take the signal
		for _, now := range []struct{ config, says string }{
			{config + "instance: 1\n", "key=instance"},
			{config + "database: [postgres]\n", ":4:1: database: unknown key"},
		} {
			if err := os.WriteFile(file, []byte(now.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			says(now.says)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// How clients are let in, and where the primary is, change without a restart: for who comes
// from then on, and for what runs next.
func TestReloadAppliesPrimaryAndAdmission(t *testing.T) {
	b := startBed(t)
	for _, server := range []*pgtest.Server{b.primary, b.ml1} {
		server.Exec(t, "CREATE ROLE app LOGIN SUPERUSER")
	}
	at := func(server *pgtest.Server, more string) string {
		return fmt.Sprintf("listen: 127.0.0.1:0\nprimary: {url: %q}\n%s\n", server.URL("postgres", "postgres"), more)
	}
	s := serve(t, t.TempDir(), at(b.primary, "auth: {method: scram-sha-256, users: [{name: app, password: first}]}"))
	enter := func(user, password, database string) (*pgx.Conn, string) {
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", user, password, s.port, database))
		if err != nil {
			if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
				return nil, pe.Code
			}
			return nil, err.Error()
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		return conn, ""
	}
	must := func(user, password, database, want string) (conn *pgx.Conn) {
		t.Helper()
		conn, got := enter(user, password, database)
		if got != want {
			t.Fatalf("%s with password %s to %s: %q, expected %q", user, password, database, got, want)
		}
		return conn
	}
	stays := must("app", "first", "postgres", "")
	must("app", "second", "postgres", "28P01")
	log := s.reload(t, at(b.primary, "auth: {method: scram-sha-256, users: [{name: app, password: second}]}\ndatabases: [postgres]\nlimits: {clients: 2, message: 1MB}"))
	if strings.Contains(log, "needs a restart") || !strings.Contains(log, "configuration reloaded") {
		t.Errorf("the log: %s", log)
	}
	must("app", "first", "postgres", "28P01")
	must("app", "second", "template1", "3D000")
	last := must("app", "second", "postgres", "")
	must("app", "second", "postgres", "53300")
	if got := scalarOf(t, stays, "SELECT '"+strings.Repeat("x", 2<<20)+"' IS NOT NULL"); got != "true" && got != "t" {
		t.Errorf("a session of before has its own limits: %.100s", got)
	}
	port := func(conn *pgx.Conn) string { return scalarOf(t, conn, "SELECT current_setting('port')") }
	if _, err := stays.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	s.reload(t, at(b.ml1, "auth: {method: trust}"))
	if was, is := fmt.Sprint(b.primary.Port), fmt.Sprint(b.ml1.Port); port(stays) != was || port(last) != is || port(must("app", "any", "postgres", "")) != is {
		t.Errorf("a transaction is on port %s, other sessions on %s; the primary was on %s, and is on %s", port(stays), port(last), was, is)
	}
	if _, err := stays.Exec(t.Context(), "COMMIT"); err != nil {
		t.Error(err)
	}
	if got := port(stays); got != fmt.Sprint(b.ml1.Port) {
		t.Errorf("after its transaction: %s", got)
	}
	if log := s.reload(t, at(b.ml1, "auth: {method: trust}\ntls: {mode: require, cert: nothing.crt, key: nothing.key}")); !strings.Contains(log, "not reloaded") {
		t.Errorf("a certificate that is not there: %s", log)
	}
	if log := s.reload(t, at(b.ml1, "auth: {method: trust}\npool: {size: 7}")); !strings.Contains(log, `key=pool.size reason="connections and sessions were made by it"`) {
		t.Errorf("what needs a restart: %s", log)
	}
	must("app", "any", "postgres", "")
}
