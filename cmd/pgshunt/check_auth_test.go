package main

import (
	"fmt"
	"testing"

	"pgshunt/internal/pgtest"
)

// A query that works, one whose role may not see what it asks for, and one that
// knows nothing of the role.
func TestCheckAsksAuthQuery(t *testing.T) {
	server := guarded(t, pgtest.Primary)
	r, _ := checkJSON(t, passing(server, ""))
	r.expect(t, "primary", "auth.query", levelOK, "knows gate")
	config := `
primary: {url: "postgres://gate@127.0.0.1:%d/postgres?sslmode=disable", password: secret-gate}
auth: {query: "%s"}
`
	r, _ = checkJSON(t, fmt.Sprintf(config, server.Port, shadowQuery))
	r.expect(t, "primary", "auth.query", levelProblem, "permission denied for view pg_shadow")
	r, _ = checkJSON(t, fmt.Sprintf(config, server.Port, "SELECT name, verifier FROM pgshunt.login($1 || 'x') WHERE name IS NOT NULL"))
	r.expect(t, "primary", "auth.query", levelOK, "has no password of gate")
}
