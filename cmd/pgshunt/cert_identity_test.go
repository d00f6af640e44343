package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

// Scenarios 11 and 12: a client whose certificate is its proof is on a replica who the
// configuration says, or itself; where that role does not exist there, the error names
// the server. It is never the user of the URL.
func TestIdentityOnReplicas(t *testing.T) {
	server, ml := pgtest.Primary(t), pgtest.Replica(t)
	server.Exec(t, "CREATE ROLE holder LOGIN; CREATE ROLE newcomer LOGIN")
	ml.Exec(t, "CREATE ROLE holder LOGIN; CREATE ROLE clerk LOGIN; GRANT USAGE ON SCHEMA pgml TO PUBLIC")
	dir := t.TempDir()
	ca := certificates(t, dir)
	for _, role := range []string{"holder", "newcomer"} {
		ca.Write(dir, role, role)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct{ user, mapped, want string }{
		{"holder", "{}", "holder"},
		{"holder", "{holder: clerk}", "clerk"},
		{"newcomer", "{holder: clerk}", `role "newcomer" does not exist`},
		{"newcomer", "{newcomer: clerk}", "clerk"},
		{"holder", "{holder: nobody}", `role "nobody" does not exist`},
	} {
		f := serve(t, dir, fmt.Sprintf(`
primary: {url: "%s"}
replicas: [{name: ml1, url: "%s", users: %s}]
tls: {cert: server.crt, key: server.key, client_ca: ca.crt}
auth: {method: cert}
`, server.URL("postgres", "postgres"), ml.URL("postgres", "postgres"), c.mapped))
		conninfo := fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d dbname=postgres user=%s sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s",
			f.port, c.user, file("ca.crt"), file(c.user+".crt"), file(c.user+".key"))
		out, err := psql(t, server.Binaries.Dir, conninfo, "", "SELECT session_user")
		if err != nil || !strings.HasSuffix(out, c.user) {
			t.Errorf("%s on the primary: %s, %v", c.user, out, err)
		}
		out, err = psql(t, server.Binaries.Dir, conninfo, "", "SELECT session_user FROM pgml.version()")
		refused := strings.Contains(c.want, " ")
		switch {
		case !refused && (err != nil || !strings.HasSuffix(out, c.want)):
			t.Errorf("%s, users %s: %s, %v", c.user, c.mapped, out, err)
		case refused && (err == nil || !strings.Contains(out, c.want) || !strings.Contains(out, `server "ml1"`)):
			t.Errorf("%s, users %s: %s, %v", c.user, c.mapped, out, err)
		}
	}
}
