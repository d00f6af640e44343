package pgtest

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/cluster"
	"pgshunt/testdata/pgml"
)

// Patience bounds every wait of this package: starts, log lines, leaks.
const Patience = 30 * time.Second

// Options say how a server differs from the usual one.
type Options struct {
	Name       string
	Settings   map[string]string // postgresql.conf entries
	HBA        string            // pg_hba.conf; default: trust
	Extensions map[string][]byte // beside the installed ones
}

// Server is a running server and what tests want of it.
type Server struct {
	*cluster.Cluster
}

// Primary starts a plain PostgreSQL server for this test and stops it at the
// test's end. At most one Options may be given.
func Primary(tb testing.TB, opts ...Options) *Server {
	tb.Helper()
	return start(tb, "primary", primaryConfig(one(tb, opts)), nil)
}

// Replica starts a server that has the PostgresML stand-in, created in
// database postgres and in every database made later ([Server.NewDatabase],
// CREATE DATABASE without TEMPLATE template0).
func Replica(tb testing.TB, opts ...Options) *Server {
	tb.Helper()
	return start(tb, "replica", replicaConfig(one(tb, opts)), installPgml)
}

// Standby starts a hot standby of a server, with the source's settings under
// those given. It shares the source's databases, and its log is its own.
func Standby(tb testing.TB, source *Server, opts ...Options) *Server {
	tb.Helper()
	cfg := primaryConfig(one(tb, opts))
	cfg.StandbyOf = source.Cluster
	return start(tb, "standby", cfg, nil)
}

func one(tb testing.TB, opts []Options) Options {
	tb.Helper()
	switch len(opts) {
	case 0:
		return Options{}
	case 1:
		return opts[0]
	}
	tb.Fatal("BUG: more than one pgtest.Options")
	return Options{}
}

func primaryConfig(o Options) cluster.Config {
	cfg := cluster.Config{
		Name:       o.Name,
		Side:       cluster.PrimarySide,
		HBA:        o.HBA,
		Extensions: o.Extensions,
		Settings: map[string]string{
			"log_statement":              "all",
			"log_min_duration_statement": "-1",
			"log_error_verbosity":        "default",
		},
	}
	maps.Copy(cfg.Settings, o.Settings)
	return cfg
}

func replicaConfig(o Options) cluster.Config {
	cfg := primaryConfig(o)
	cfg.Side, cfg.Extensions = cluster.ReplicaSide, pgml.Files()
	maps.Copy(cfg.Extensions, o.Extensions)
	return cfg
}

func installPgml(ctx context.Context, c *cluster.Cluster) error {
	for _, database := range []string{"postgres", "template1"} {
		conn, err := pgx.Connect(ctx, c.SocketURL(c.Superuser(), database))
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE EXTENSION pgml")
		if cerr := conn.Close(ctx); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("pgml stand-in in %s: %w", database, err)
		}
	}
	return nil
}

func start(tb testing.TB, name string, cfg cluster.Config, prepare func(context.Context, *cluster.Cluster) error) *Server {
	tb.Helper()
	s, err := newServer(name, cfg, prepare)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		s.logOnFailure(tb, 0)
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// preferPrograms has pg_dump and psql of a version that fits the servers found first.
var preferPrograms = sync.OnceValue(func() error { return cluster.PreferPrograms(context.Background()) })

func newServer(name string, cfg cluster.Config, prepare func(context.Context, *cluster.Cluster) error) (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	if err := preferPrograms(); err != nil {
		return nil, err
	}
	if cfg.Name == "" {
		cfg.Name = name
	}
	c, err := cluster.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if prepare != nil {
		if err := prepare(ctx, c); err != nil {
			_ = c.Close() // the first error is the one that explains
			return nil, err
		}
	}
	return &Server{Cluster: c}, nil
}

// Conn connects as an application would, over TCP; the connection is closed at
// the test's end.
func (s *Server) Conn(tb testing.TB, user, database string) *pgx.Conn {
	tb.Helper()
	return Connect(tb, s.URL(user, database))
}

// Super connects as the superuser, over the Unix socket.
func (s *Server) Super(tb testing.TB, database string) *pgx.Conn {
	tb.Helper()
	return Connect(tb, s.SocketURL(s.Superuser(), database))
}

// Connect opens a connection for the length of the test.
func Connect(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		_ = conn.Close(ctx) // the server may be gone already; that is the test's business
	})
	return conn
}

// Exec runs SQL in database postgres as the superuser. Without args it may hold
// several statements, which then are one transaction.
func (s *Server) Exec(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	s.ExecIn(tb, "postgres", sql, args...)
}

// ExecIn is Exec in another database.
func (s *Server) ExecIn(tb testing.TB, database, sql string, args ...any) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SocketURL(s.Superuser(), database))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		tb.Fatalf("%s: %v\n%s", s.Name, err, sql)
	}
}

// Terminate ends the sessions of pg_stat_activity that a condition names, and returns when they have ended.
func (s *Server) Terminate(tb testing.TB, where string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn := s.Super(tb, "postgres")
	var pids []int32
	// With a time to wait for, the function is of PostgreSQL 14.
	err := conn.QueryRow(ctx, "SELECT array_agg(pid) FROM (SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ("+where+") OFFSET 0) t").Scan(&pids)
	if err != nil {
		tb.Fatal(err)
	}
	ended := false
	if !Eventually(func() bool {
		err := conn.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY ($1))", pids).Scan(&ended)
		return ended || err != nil
	}) || !ended {
		tb.Fatalf("%s: sessions %v have not ended", s.Name, pids)
	}
}

var databases atomic.Int64

// NewDatabase creates a database for this test and drops it, sessions and all,
// at the test's end.
func (s *Server) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	s.Exec(tb, "CREATE DATABASE "+name)
	tb.Cleanup(func() {
		if s.running() {
			s.Exec(tb, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		}
	})
	return name
}

func (s *Server) running() bool {
	select {
	case <-s.Done():
		return false
	default:
		return true
	}
}

// logOnFailure prints what the server logged after mark, shortened, if the test
// has failed.
func (s *Server) logOnFailure(tb testing.TB, mark int) {
	if !tb.Failed() {
		return
	}
	log, err := s.Log()
	if err != nil {
		tb.Log(err)
		return
	}
	const most = 8000
	log = log[min(mark, len(log)):]
	if len(log) > most {
		log = "..." + log[len(log)-most:]
	}
	tb.Logf("log of %s:\n%s", s.Name, strings.TrimSpace(log))
}
