package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pgshunt/internal/cluster"
)

const (
	// poolSize is the number of server connections each proxy may have.
	poolSize = 40
	// scale is pgbench's: 1,000,000 accounts.
	scale = 10

	database  = "bench"
	superuser = "postgres"
	// sessionDatabase is the name under which PgBouncer offers the database in
	// session mode.
	sessionDatabase = "bench_session"
)

// The names of the endpoints that others are compared with.
const (
	directName  = "direct"
	bouncerName = "pgbouncer"
	shuntName   = "pgshunt"
)

// rig is everything that runs during a measurement.
type rig struct {
	dir           string
	server        *cluster.Cluster
	pgbench, psql string
	bouncer       bouncer
	// haproxy and pgpool are empty where the other peers are not wanted.
	haproxy, pgpool program
	shunt           string   // pgshunt's binary
	shuntFlags      []string // for serve, beside those it needs

	// endpoints are what is compared, direct first and pgshunt last.
	endpoints []*endpoint
}

// endpoint is somewhere a client can connect to.
type endpoint struct {
	name string
	port int
	proc *process // nil for the server itself
}

// newRig starts the server and fills it, and starts the proxies that o asks for.
func newRig(ctx context.Context, o options) (_ *rig, err error) {
	r := &rig{shunt: o.pgshunt}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if _, err := os.Stat(r.shunt); err != nil {
		return nil, fmt.Errorf("%w; `make build` makes it", err)
	}
	var starts []func(context.Context) (*endpoint, error)
	if o.profile.protocol != "" {
		r.shuntFlags = []string{"--cpuprofile", o.out}
	} else if starts, err = r.findPeers(ctx, o.peers); err != nil {
		return nil, err
	}
	if r.dir, err = os.MkdirTemp("", "pgshunt-bench-"); err != nil {
		return nil, err
	}
	// Peers run as another user when this is run by root.
	if err := os.Chmod(r.dir, 0o755); err != nil {
		return nil, err
	}
	if err := r.startServer(ctx); err != nil {
		return nil, err
	}
	r.endpoints = append(r.endpoints, &endpoint{name: directName, port: r.server.Port})
	for _, start := range append(starts, r.startShunt) {
		e, err := start(ctx)
		if err != nil {
			return nil, err
		}
		r.endpoints = append(r.endpoints, e)
	}
	return r, nil
}

// findPeers looks for the programs of the peers, all or PgBouncer alone, and returns
// what starts them.
func (r *rig) findPeers(ctx context.Context, all bool) (starts []func(context.Context) (*endpoint, error), err error) {
	if r.bouncer, err = findBouncer(ctx); err != nil {
		return nil, err
	}
	if !all {
		return append(starts, r.startBouncer), nil
	}
	if r.haproxy, err = findProgram(ctx, "haproxy", "haproxy", "-v", haproxyVersion); err != nil {
		return nil, fmt.Errorf("%w; -peers=false does without", err)
	}
	if r.pgpool, err = findProgram(ctx, "pgpool", "pgpool2", "--version", pgpoolVersion); err != nil {
		return nil, fmt.Errorf("%w; -peers=false does without", err)
	}
	return append(starts, r.startHaproxy, r.startPgpool, r.startBouncer), nil
}

// named returns endpoints by their names; those that do not run are left out.
func (r *rig) named(names ...string) []*endpoint {
	var out []*endpoint
	for _, e := range r.endpoints {
		if slices.Contains(names, e.name) {
			out = append(out, e)
		}
	}
	return out
}

// startServer starts PostgreSQL and has pgbench fill a database.
func (r *rig) startServer(ctx context.Context) (err error) {
	progress("starting PostgreSQL and filling it (pgbench -i, scale %d)", scale)
	r.server, err = cluster.Start(ctx, cluster.Config{Name: "bench", Superuser: superuser, Settings: map[string]string{
		"shared_buffers": "512MB", "max_connections": "400",
	}})
	if err != nil {
		return err
	}
	if r.pgbench, err = clientProgram(r.server.Binaries, "pgbench"); err != nil {
		return err
	}
	if r.psql, err = clientProgram(r.server.Binaries, "psql"); err != nil {
		return err
	}
	direct := &endpoint{name: directName, port: r.server.Port}
	if _, err := r.client(ctx, r.psql, direct, superuser, "-qXc", "CREATE DATABASE "+database); err != nil {
		return err
	}
	_, err = r.client(ctx, r.pgbench, direct, database, "-iq", "-s", fmt.Sprint(scale))
	return err
}

// clientProgram finds a client program, first beside the server's.
func clientProgram(b *cluster.Binaries, name string) (string, error) {
	path := filepath.Join(b.Dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w; `scripts/install-postgresql postgresql-contrib` installs it on Debian", err)
	}
	return path, nil
}

// client runs a client program against an endpoint and returns what it printed
// on stdout. The error holds the end of what it printed on stderr.
func (r *rig) client(ctx context.Context, program string, e *endpoint, db string, args ...string) (string, error) {
	cmd := r.command(ctx, program, e, db, args...)
	out, err := cmd.Output()
	return string(out), explain(err)
}

// command prepares a client program, which gets nothing from the environment
// that could send it elsewhere.
func (r *rig) command(ctx context.Context, program string, e *endpoint, db string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "PGHOST=127.0.0.1", fmt.Sprint("PGPORT=", e.port),
		"PGUSER=" + superuser, "PGDATABASE=" + db, "PGSSLMODE=disable", "PGGSSENCMODE=disable",
		"PGPASSFILE=" + filepath.Join(r.dir, "none"), "PGCONNECT_TIMEOUT=10",
	}
	cmd.SysProcAttr = helperAttr()
	return cmd
}

// explain adds to the error of an ended program what it said last.
func explain(err error) error {
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) {
		return err
	}
	said := strings.TrimSpace(string(exit.Stderr))
	if at := strings.LastIndexByte(said[:max(0, len(said)-300)], '\n'); at >= 0 {
		said = said[at+1:]
	}
	return fmt.Errorf("%w: %s", err, said)
}

// close ends everything and removes what it wrote.
func (r *rig) close() error {
	var errs []error
	for _, e := range r.endpoints {
		e.proc.stop()
	}
	if r.server != nil {
		errs = append(errs, r.server.Close())
	}
	if r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}
