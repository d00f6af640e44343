package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// Every kind of secret under every method, with users of the configuration: what is
// possible lets in, all else is the same refusal.
func TestUsersOfTheConfiguration(t *testing.T) {
	server := pgtest.Primary(t)
	server.Exec(t, makeRoles+"CREATE ROLE variable LOGIN; CREATE ROLE filed LOGIN;")
	t.Setenv("PGSHUNT_TEST_SECRET", "secret-variable")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "filed.pw"), []byte("secret-filed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	users := fmt.Sprintf(`
primary: {url: "%s"}
auth:
  users:
    - {name: variable, password: "${PGSHUNT_TEST_SECRET}"}
    - {name: filed, password_file: filed.pw}
    - {name: scram, verifier: "%s"}
    - {name: md5, verifier: "%s"}
`, server.URL("postgres", "postgres"), verifierOf(t, server, "scram"), verifierOf(t, server, "md5"))
	for method, in := range map[string]map[string]bool{
		"password":      {"variable": true, "filed": true, "scram": true, "md5": true},
		"md5":           {"variable": true, "filed": true, "scram": true, "md5": true},
		"scram-sha-256": {"variable": true, "filed": true, "scram": true},
	} {
		t.Run(method, func(t *testing.T) {
			f := serve(t, dir, users+"  method: "+method)
			for _, user := range []string{"variable", "filed", "scram", "md5", "nobody", "postgres"} {
				refused := "FATAL 28P01 password authentication failed for user \"" + user + "\""
				want := refused
				if in[user] {
					want = "in as " + user + " " + user
				}
				a := attempt{user: user, password: "secret-" + user, database: "postgres"}
				if got := a.login(t, f.port); got != want {
					t.Errorf("%s: %s", user, got)
				}
				a.password = "wrong"
				if got := a.login(t, f.port); got != refused {
					t.Errorf("%s with a wrong password: %s", user, got)
				}
			}
			if out, err := python(t, f.port, "filed", "secret-filed"); err != nil || out != "filed\n" {
				t.Errorf("psycopg: %s, %v", out, err)
			}
			if out, err := python(t, f.port, "filed", "wrong"); err == nil || !strings.Contains(out, "password authentication failed") || strings.Contains(out, "secret-") {
				t.Errorf("psycopg with a wrong password: %s, %v", out, err)
			}
			conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=variable dbname=postgres", f.port)
			if out, err := psql(t, server.Binaries.Dir, conninfo, "secret-variable", "SELECT session_user"); err != nil || out != "variable" {
				t.Errorf("psql: %s, %v", out, err)
			}
			noSecrets(t, f.log.String())
		})
	}
}

// python logs in by psycopg, with the password in the environment.
func python(t *testing.T, port int, user, password string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	const script = "import psycopg\nwith psycopg.connect('') as c: print(c.execute('SELECT session_user').fetchone()[0])"
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-c", script)
	cmd.Env = append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", port), "PGUSER="+user, "PGPASSWORD="+password, "PGDATABASE=postgres")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A client's certificate is the proof, its common name the user, and the login to
// the server is still that of the configuration (a trusting server here).
func TestMethodCert(t *testing.T) {
	server := pgtest.Primary(t)
	server.Exec(t, "CREATE ROLE holder LOGIN")
	dir := t.TempDir()
	ca := certificates(t, dir)
	ca.Write(dir, "holder", "holder")
	f := serve(t, dir, fmt.Sprintf(`
primary: {url: "%s"}
tls: {cert: server.crt, key: server.key, client_ca: ca.crt}
auth: {method: cert}
`, server.URL("postgres", "postgres")))
	file := func(name string) string { return filepath.Join(dir, name) }
	with := "sslmode=verify-full sslrootcert=" + file("ca.crt") + " sslcert=" + file("holder.crt") + " sslkey=" + file("holder.key")
	for _, c := range []struct{ user, more, want string }{
		{"holder", with, "holder"},
		{"postgres", with, `certificate authentication failed for user "postgres"`},
		{"holder", "sslmode=require sslcert=/dev/null/none", "connection requires a valid client certificate"},
		{"holder", "sslmode=disable", "connection requires a valid client certificate"},
	} {
		conninfo := fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d dbname=postgres user=%s %s", f.port, c.user, c.more)
		out, err := psql(t, server.Binaries.Dir, conninfo, "", "SELECT session_user")
		if !strings.Contains(out, c.want) || (err == nil) != (c.want == "holder") {
			t.Errorf("%s %s: %s, %v", c.user, c.more, out, err)
		}
	}
}

// What is seen of a user who does not exist is what is seen of a wrong password:
// messages, salts that stay, texts. The users here have SCRAM verifiers; with method
// md5 a user who does not exist is asked as those were that have been seen.
func TestNobodyLooksLikeSomebody(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	for _, method := range []string{"password", "md5", "scram-sha-256"} {
		f := serve(t, t.TempDir(), passing(server, "  method: "+method))
		for _, pair := range [][2]string{{"scram", "nobody"}, {"unexpired", "expired"}} {
			first := seen(t, f.port, pair[0])
			for _, user := range pair {
				for range 2 {
					if got := strings.ReplaceAll(seen(t, f.port, user), user, "USER"); got != strings.ReplaceAll(first, pair[0], "USER") {
						t.Errorf("%s: %s shows\n%s\n%s shows\n%s", method, pair[0], first, user, got)
					}
				}
			}
		}
		noSecrets(t, f.log.String())
	}
}

// seen is the conversation of a login with a wrong password, message by message.
func seen(t *testing.T, port int, user string) string {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fe := pgproto3.NewFrontend(conn, conn)
	fe.Send(&pgproto3.StartupMessage{ProtocolVersion: 3 << 16, Parameters: map[string]string{"user": user, "database": "postgres"}})
	var out strings.Builder
	var nonce string
	for {
		if err := fe.Flush(); err != nil {
			t.Fatal(err)
		}
		m, err := fe.Receive()
		if err != nil {
			fmt.Fprintf(&out, "closed\n")
			return out.String()
		}
		switch m := m.(type) {
		case *pgproto3.AuthenticationCleartextPassword, *pgproto3.AuthenticationMD5Password:
			fmt.Fprintf(&out, "%T\n", m)
			fe.Send(&pgproto3.PasswordMessage{Password: "wrong"})
		case *pgproto3.AuthenticationSASL:
			fmt.Fprintf(&out, "%T %v\n", m, m.AuthMechanisms)
			fe.Send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=abcdefgh")})
		case *pgproto3.AuthenticationSASLContinue:
			parts := strings.Split(string(m.Data), ",")
			nonce = parts[0]
			fmt.Fprintf(&out, "%T %d, salt of %d, %s\n", m, len(parts[0]), len(parts[1]), parts[2])
			fe.Send(&pgproto3.SASLResponse{Data: []byte("c=biws," + nonce + ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")})
		default:
			fmt.Fprintf(&out, "%T %+v\n", m, m)
		}
	}
}
