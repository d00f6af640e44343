package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// maxClients is what PgBouncer and pgshunt allow.
const maxClients = 12_000

// startShunt starts pgshunt in front of the server, with a replica and a rule, so
// that every statement is parsed and routed: without a replica all go to the primary
// unasked. Nothing here is for a replica, whose place the same server takes.
func (r *rig) startShunt(ctx context.Context) (*endpoint, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(r.dir, "pgshunt-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "pgshunt.yaml")
	text := fmt.Sprintf(`listen: 127.0.0.1:%d
primary: {url: "%s"}
replicas:
  - {name: ml1, url: "%[2]s"}
routing:
  rules:
    - {match: {relation: "reports.*", kind: read}, to: ml1}
auth: {method: trust}
pool: {mode: transaction, size: %[3]d}
limits: {clients: %d}
shutdown: 1s
log: {level: warn}
`, port, fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", superuser, r.server.Port, database), poolSize, maxClients)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	proc, err := startProcess(filepath.Join(dir, "pgshunt.log"), nil, r.shunt, append([]string{"serve", "-c", config}, r.shuntFlags...)...)
	if err != nil {
		return nil, err
	}
	e := &endpoint{name: shuntName, port: port, proc: proc}
	return e, e.awaitReady(ctx)
}
