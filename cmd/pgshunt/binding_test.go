package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
)

// libpq and pgx insist on channel binding and get it, through pgshunt and, by
// pass-through, from pgshunt to the server.
func TestChannelBinding(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	dir := t.TempDir()
	ca := certificates(t, dir)
	f := serve(t, dir, passing(server, "tls: {cert: server.crt, key: server.key, client_ca: ca.crt}"))
	conninfo := func(more string) string {
		return fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=scram dbname=postgres %s", f.port, more)
	}
	root := "sslrootcert=" + filepath.Join(dir, "ca.crt")
	for more, want := range map[string]string{
		"sslmode=verify-full channel_binding=require " + root: "scram",
		"sslmode=require channel_binding=prefer":              "scram",
		"sslmode=require channel_binding=disable":             "scram",
		"sslmode=disable channel_binding=require":             "channel binding required",
	} {
		if out, err := psql(t, server.Binaries.Dir, conninfo(more), "secret-scram", "SELECT session_user"); !strings.Contains(out, want) || (err == nil) != (want == "scram") {
			t.Errorf("psql with %s: %s, %v", more, out, err)
		}
	}
	trusting := &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}
	for _, binding := range []string{"require", "prefer", "disable"} {
		a := attempt{user: "scram", password: "secret-scram", database: "postgres", tls: trusting, binding: binding}
		if got := a.login(t, f.port); got != "in as scram scram" {
			t.Errorf("pgx, %s: %s", binding, got)
		}
		a.password = "wrong"
		if got := a.login(t, f.port); !strings.HasPrefix(got, "FATAL 28P01") {
			t.Errorf("pgx, %s, wrong password: %s", binding, got)
		}
	}
	noSecrets(t, f.log.String())
}

// With a server that speaks TLS, the login by a client key is bound to its
// certificate, and channel_binding and require_auth in the target's URL hold.
func TestPassthroughIsBoundToTheServersCertificate(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	dir := t.TempDir()
	server.EnableTLS(t, certificates(t, dir))
	for more, want := range map[string]string{
		"sslmode=verify-full&channel_binding=require":                                 "in as scram scram",
		"sslmode=require&channel_binding=prefer&require_auth=scram-sha-256":           "in as scram scram",
		"sslmode=require&channel_binding=disable&require_auth=!password,!md5":         "in as scram scram",
		"sslmode=require&require_auth=!scram-sha-256,!none":                           "FATAL 28P01 password authentication failed for user \"scram\"",
		"sslmode=disable&channel_binding=disable&require_auth=scram-sha-256,password": "in as scram scram",
	} {
		config := strings.ReplaceAll(passing(server, ""), "sslmode=disable", more+"&sslrootcert="+filepath.Join(dir, "ca.crt"))
		config = strings.ReplaceAll(config, "@127.0.0.1", "@localhost")
		// The look-ups are pgshunt's own login and no business of this test.
		config = strings.Replace(config, `query: "`, `users: [{name: scram, verifier: "`+verifierOf(t, server, "scram")+`"}] #`, 1)
		f := serve(t, t.TempDir(), config)
		if got := (attempt{user: "scram", password: "secret-scram", database: "postgres"}).login(t, f.port); got != want {
			t.Errorf("%s: %s", more, got)
		}
		noSecrets(t, f.log.String())
	}
}

// A connection that was logged in by a key and over TLS is like any other: it can be
// cancelled.
func TestPassthroughConnectionsAreCancelled(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	dir := t.TempDir()
	server.EnableTLS(t, certificates(t, dir))
	f := serve(t, dir, strings.ReplaceAll(passing(server, ""), "sslmode=disable", "sslmode=require"))
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, fmt.Sprintf("postgres://scram:secret-scram@127.0.0.1:%d/postgres?sslmode=disable", f.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	mark := server.Mark(t)
	asleep := make(chan error, 1)
	go func() { asleep <- conn.Exec(ctx, "SELECT pg_sleep(60)").Close() }()
	server.WaitStatement(t, mark, "pg_sleep")
	if err := conn.CancelRequest(ctx); err != nil {
		t.Error(err)
	}
	if e := pgError(<-asleep); e == nil || e.Code != "57014" {
		t.Errorf("the sleep ends with %+v", e)
	}
	if got := conn.ExecParams(ctx, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", nil, nil, nil, nil).Read(); got.Err != nil || string(got.Rows[0][0]) != "t" {
		t.Errorf("not over TLS: %v", got.Err)
	}
}
