package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/cluster"
	"pgshunt/testdata/pgml"
)

// The demo's application: who it connects as, and to what; and who pgshunt itself is, which
// has the rights that a feed needs.
const (
	demoUser     = "app"
	demoDatabase = "clinic"
	demoFeeder   = "feeder"
)

// demoServer is one PostgreSQL server of the demo.
type demoServer struct {
	*cluster.Cluster
	what string // for a newcomer
	read int    // how much of its log has been looked at
}

// demoFleet is a primary and two PostgresML stand-ins, each a cluster of its own.
type demoFleet struct {
	primary  *demoServer
	replicas []*demoServer
	file     string // the configuration of the proxy in front of them
}

func (f *demoFleet) all() []*demoServer { return append([]*demoServer{f.primary}, f.replicas...) }

// startDemoFleet starts the servers side by side, below dir. On an error none is
// left running.
func startDemoFleet(ctx context.Context, dir string) (*demoFleet, error) {
	f := &demoFleet{primary: &demoServer{what: "the production server: plain PostgreSQL, without pgml"}}
	for range 2 {
		f.replicas = append(f.replicas, &demoServer{what: "a PostgresML server (a stand-in with small real models, not PostgresML)"})
	}
	names := []string{"primary", "ml1", "ml2"}
	errs := make([]error, len(names))
	var work sync.WaitGroup
	for i, s := range f.all() {
		work.Go(func() { errs[i] = s.start(ctx, names[i], dir) })
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// demoVersions says what the servers will be, and has the programs that fit them found first.
func demoVersions(ctx context.Context) (string, error) {
	primary, err := cluster.Find(ctx, cluster.PrimarySide)
	if err != nil {
		return "", err
	}
	replica, err := cluster.Find(ctx, cluster.ReplicaSide)
	if err != nil {
		return "", err
	}
	if err := cluster.PreferPrograms(ctx); err != nil {
		return "", err
	}
	if primary.Version == replica.Version {
		return "each " + primary.Version, nil
	}
	return "the primary " + primary.Version + ", the others " + replica.Version, nil
}

// start starts the server and makes the application's user and database; on a
// PostgresML server with the extension in it.
func (s *demoServer) start(ctx context.Context, name, dir string) error {
	cfg := cluster.Config{
		Name: name, Side: cluster.PrimarySide, Dir: filepath.Join(dir, name),
		// Every statement with its time: the demo reads from these logs where things ran.
		Settings: map[string]string{"log_statement": "all", "log_min_duration_statement": "0"},
	}
	setup := []string{"GRANT " + demoUser + " TO " + demoFeeder}
	feeder := "REPLICATION"
	if name != "primary" {
		cfg.Side, cfg.Extensions = cluster.ReplicaSide, pgml.Files()
		feeder = "SUPERUSER" // to subscribe, before PostgreSQL 16
		setup = []string{
			"CREATE EXTENSION pgml",
			"GRANT USAGE, CREATE ON SCHEMA pgml TO " + demoUser,
			"GRANT ALL ON ALL TABLES IN SCHEMA pgml TO " + demoUser,
			"GRANT ALL ON ALL SEQUENCES IN SCHEMA pgml TO " + demoUser,
		}
	}
	var err error
	if s.Cluster, err = cluster.Start(ctx, cfg); err != nil {
		return err
	}
	if err := s.exec(ctx, "postgres", "CREATE ROLE "+demoUser+" LOGIN", "CREATE ROLE "+demoFeeder+" LOGIN "+feeder, "CREATE DATABASE "+demoDatabase+" OWNER "+demoUser); err != nil {
		return err
	}
	return s.exec(ctx, demoDatabase, setup...)
}

// connect opens a connection of the demo's own, past the proxy, as superuser.
func (s *demoServer) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, s.SocketURL(s.Superuser(), database))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	return conn, nil
}

func (s *demoServer) exec(ctx context.Context, database string, statements ...string) error {
	conn, err := s.connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %s: %w", s.Name, sql, err)
		}
	}
	return nil
}

func (s *demoServer) gone() error {
	return fmt.Errorf("server %s has ended by itself; start the demo again", s.Name)
}

// config is the configuration file for a proxy in front of the fleet.
func (f *demoFleet) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: 127.0.0.1:0        # 0: any free port\n")
	fmt.Fprintf(&b, "primary:\n  url: %s\n", f.primary.URL(demoFeeder, demoDatabase))
	fmt.Fprintf(&b, "replicas:\n")
	for _, r := range f.replicas {
		fmt.Fprintf(&b, "  - name: %s\n    url: %s\n    feed: logical\n", r.Name, r.URL(demoFeeder, demoDatabase))
	}
	fmt.Fprintf(&b, "auth:\n  method: trust            # a demo on one machine; use scram-sha-256\n")
	fmt.Fprintf(&b, "log:\n  level: debug             # one line for each decision\n")
	return b.String()
}

// close stops the servers, the receivers of the feed before its source, which
// would otherwise wait for them.
func (f *demoFleet) close() error {
	errs := make([]error, len(f.replicas)+1)
	var work sync.WaitGroup
	for i, r := range f.replicas {
		if r.Cluster != nil {
			work.Go(func() { errs[i] = r.Close() })
		}
	}
	work.Wait()
	if f.primary.Cluster != nil {
		errs = append(errs, f.primary.Close())
	}
	return errors.Join(errs...)
}
