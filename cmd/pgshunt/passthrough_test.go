package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
	"pgshunt/internal/scram"
)

// guarded is a server where everybody needs a password, with a role for pgshunt
// that may look passwords up by one function and nothing else, as
// docs/authentication.md has it.
func guarded(t *testing.T, start func(testing.TB, ...pgtest.Options) *pgtest.Server) *pgtest.Server {
	t.Helper()
	server := start(t, pgtest.Options{HBA: "host all,replication all 127.0.0.1/32 md5\n"})
	server.Exec(t, makeRoles+`
CREATE ROLE gate LOGIN PASSWORD 'secret-gate';
CREATE SCHEMA pgshunt;
GRANT USAGE ON SCHEMA pgshunt TO gate;
CREATE FUNCTION pgshunt.login(INOUT name text, OUT verifier text, OUT valid_until timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
  AS $$ SELECT rolname, rolpassword, rolvaliduntil FROM pg_authid WHERE rolname = name AND rolcanlogin AND NOT rolsuper $$;
REVOKE ALL ON FUNCTION pgshunt.login FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgshunt.login TO gate;
`)
	return server
}

// passing is a configuration that stores no user's password.
func passing(server *pgtest.Server, more string) string {
	return fmt.Sprintf(`
primary: {url: "postgres://gate@127.0.0.1:%d/postgres?sslmode=disable", password: secret-gate}
auth:
  query: "SELECT name, verifier, valid_until FROM pgshunt.login($1) WHERE name IS NOT NULL"
  passthrough: true
%s`, server.Port, more)
}

// verifierOf is what a server stores of a role's password.
func verifierOf(t *testing.T, server *pgtest.Server, role string) string {
	t.Helper()
	var verifier string
	if err := server.Super(t, "postgres").QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role).Scan(&verifier); err != nil {
		t.Fatal(err)
	}
	return verifier
}

// endSessions ends a role's connections, as a failover or an administrator does.
func endSessions(t *testing.T, server *pgtest.Server, role string) {
	t.Helper()
	server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+role+"'")
	conn := server.Super(t, "postgres")
	if !pgtest.Eventually(func() bool {
		var n int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", role).Scan(&n)
		return err == nil && n == 0
	}) {
		t.Fatal("sessions do not end")
	}
}

// No password is stored anywhere, and every client of the usual drivers gets in as
// itself, never as the role that looks passwords up.
func TestPassthroughNeedsNoPassword(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	f := serve(t, t.TempDir(), passing(server, ""))
	in := attempt{user: "scram", password: "secret-scram", database: "postgres"}
	for range 3 {
		if got := in.login(t, f.port); got != "in as scram scram" {
			t.Fatalf("pgx: %s", got)
		}
	}
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=scram dbname=postgres sslmode=disable", f.port)
	if out, err := psql(t, server.Binaries.Dir, conninfo, "secret-scram", "SELECT session_user"); err != nil || out != "scram" {
		t.Errorf("psql: %s, %v", out, err)
	}
	if out, err := psql(t, server.Binaries.Dir, conninfo, "wrong", "SELECT session_user"); err == nil || !strings.Contains(out, `password authentication failed for user "scram"`) {
		t.Errorf("psql: %s, %v", out, err)
	}
	for _, kind := range []string{"true", "database"} {
		walker := attempt{user: "walker", password: "secret-walker", database: "postgres", replication: kind}
		if got := walker.login(t, f.port); got != "in as walker" {
			t.Errorf("replication %s: %s", kind, got)
		}
	}
	for user, want := range map[string]string{
		"postgres":   "FATAL 28P01 password authentication failed for user \"postgres\"", // the function hides superusers
		"expired":    "FATAL 28P01 password authentication failed for user \"expired\"",
		"nopassword": "FATAL 28P01 password authentication failed for user \"nopassword\"",
		"nobody":     "FATAL 28P01 password authentication failed for user \"nobody\"",
		"md5":        "FATAL 28P01 password authentication failed for user \"md5\"", // scram-sha-256 and an MD5 hash
	} {
		if got := (attempt{user: user, password: "secret-" + user, database: "postgres"}).login(t, f.port); got != want {
			t.Errorf("%s: %s", user, got)
		}
	}
	if log := f.log.String(); !strings.Contains(log, "only an MD5 hash is stored") || !strings.Contains(log, "no such user") {
		t.Error("the log does not say why")
	}
	noSecrets(t, f.log.String())
}

// A password that changes while its user is connected: connections that exist go
// on, a new one to the server is refused, and the next login with the new password
// heals all that. The old password does not come back.
func TestPassthroughHealsAfterANewPassword(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	f := serve(t, t.TempDir(), passing(server, ""))
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	old, err := pgx.Connect(ctx, fmt.Sprintf("postgres://scram:secret-scram@127.0.0.1:%d/postgres?sslmode=disable", f.port))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(ctx)
	ask := func() error {
		_, err := old.Exec(ctx, "SELECT 1")
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "ALTER ROLE scram PASSWORD 'secret-rotated'")
	if err := ask(); err != nil {
		t.Errorf("the connection that exists: %v", err)
	}
	endSessions(t, server, "scram")
	err = ask()
	if err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("a new connection with the old key: %v", err)
	}
	if got := (attempt{user: "scram", password: "secret-scram", database: "postgres"}).login(t, f.port); !strings.HasPrefix(got, "FATAL 28P01") {
		t.Errorf("the old password: %s", got)
	}
	if got := (attempt{user: "scram", password: "secret-rotated", database: "postgres"}).login(t, f.port); got != "in as scram scram" {
		t.Errorf("the new password: %s", got)
	}
	if err := ask(); err != nil {
		t.Errorf("the old session, by the new key: %v", err)
	}
	noSecrets(t, f.log.String())
}

// A new password that meets a remembered verifier: method password notices at
// once, SCRAM with the next login, since a proof is about one salt.
func TestNewPasswordMeetsAnOldAnswer(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pg_hba.conf"), []byte("host clear all all password\nhost md5 all all md5\nhost all all all scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "CREATE DATABASE clear")
	server.Exec(t, "CREATE DATABASE md5")
	f := serve(t, dir, passing(server, "  hba: pg_hba.conf"))
	login := func(user, password, database string) string {
		return attempt{user: user, password: password, database: database}.login(t, f.port)
	}
	for round, db := range []string{"clear", "clear", "postgres"} {
		was := []string{"secret-scram", "secret-1", "secret-2"}[round]
		next := fmt.Sprintf("secret-%d", round+1)
		if got := login("scram", was, db); got != "in as scram scram" {
			t.Fatalf("round %d: %s", round, got)
		}
		server.Exec(t, "ALTER ROLE scram PASSWORD '"+next+"'")
		endSessions(t, server, "scram")
		got := login("scram", next, db)
		if db == "postgres" {
			if !strings.HasPrefix(got, "FATAL 28P01") {
				t.Errorf("SCRAM with an answer of before: %s", got)
			}
			got = login("scram", next, db)
		}
		if got != "in as scram scram" {
			t.Errorf("round %d, new password: %s", round, got)
		}
	}
	// md5: the client is let in, and pgshunt has nothing to log in to the server by.
	if got := login("md5", "secret-md5", "md5"); !strings.HasPrefix(got, "FATAL 28P01") {
		t.Errorf("md5: %s", got)
	}
	noSecrets(t, f.log.String())
}

// On a replica the key fits where the verifier is the same. Where it is not, or the
// role is missing, the error says which server it is about.
func TestPassthroughToReplicas(t *testing.T) {
	server, ml := guarded(t, pgtest.Primary), guarded(t, pgtest.Replica)
	ml.Exec(t, "GRANT USAGE ON SCHEMA pgml TO PUBLIC")
	f := serve(t, t.TempDir(), passing(server, "")+fmt.Sprintf(`
replicas: [{name: ml1, url: "postgres://gate@127.0.0.1:%d/postgres?sslmode=disable", password: secret-gate}]
`, ml.Port))
	ask := func(role, password string) error {
		ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
		defer cancel()
		conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres?sslmode=disable", role, password, f.port))
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		var user string
		if err := conn.QueryRow(ctx, "SELECT current_user FROM pgml.version()").Scan(&user); err != nil {
			return err
		}
		if user != role {
			t.Errorf("%s runs as %s", role, user)
		}
		return nil
	}
	err := ask("scram", "secret-scram")
	if e := pgError(err); e == nil || e.Code != "28P01" || !strings.Contains(e.Detail, "not the one that the client logged in with") || !strings.Contains(e.Hint, "ml1") {
		t.Errorf("another verifier: %+v", e)
	}
	ml.Exec(t, "ALTER ROLE scram PASSWORD '"+verifierOf(t, server, "scram")+"'")
	if err := ask("scram", "secret-scram"); err != nil {
		t.Errorf("the same verifier: %v", err)
	}
	server.Exec(t, "CREATE ROLE newcomer LOGIN PASSWORD 'secret-newcomer'")
	err = ask("newcomer", "secret-newcomer")
	if e := pgError(err); e == nil || !strings.HasPrefix(e.Code, "28") || !strings.Contains(e.Hint, "ml1") {
		t.Errorf("no such role: %+v", e)
	}
	if err := ask("scram", "secret-scram"); err != nil {
		t.Errorf("the replica's refusal has cost the primary its key: %v", err)
	}
	noSecrets(t, f.log.String())
}

// Where a server's password comes from, in order: auth.users, the server's URL, the
// client's key. A mapped user is the only one whom a session's is exchanged for.
func TestCredentialsForServers(t *testing.T) {
	t.Setenv("PGPASSFILE", "/dev/null")
	key, ok := scram.New("secret-key", []byte("salt of sixteen."), 4096).Check("secret-key")
	if !ok {
		t.Fatal("a password is not its own")
	}
	cfg, err := configs.Parse("test.yaml", []byte(`
primary: {url: "postgres://own:secret-url@db/production"}
replicas: [{name: ml1, url: "postgres://own@ml/d", users: {alias: own, app: other}}]
auth:
  query: SELECT 1, $1
  passthrough: true
  users: [{name: app, password: secret-app}, {name: own, password: secret-own}]
`), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	id, err := newIdentity(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer id.close()
	for _, user := range []string{"own", "app", "third", "alias"} {
		id.known.Load().clients.Keys.Put(user, key)
	}
	for _, c := range []struct {
		target, user, as, password string
		byKey                      bool
	}{
		{"primary", "app", "app", "secret-app", false},
		{"primary", "own", "own", "secret-own", false},
		{"primary", "third", "third", "", true},
		{"primary", "stranger", "stranger", "", false},
		{"ml1", "alias", "own", "secret-own", false},
		{"ml1", "app", "other", "", true},
		{"ml1", "third", "third", "", true},
	} {
		got, err := id.login(c.target, c.user, "production")
		if err != nil || got.User != c.as || got.Password != c.password || (got.AfterNetConnect != nil) != c.byKey {
			t.Errorf("%+v: as %s, password %q, key %v, %v", c, got.User, got.Password, got.AfterNetConnect != nil, err)
		}
	}
}
