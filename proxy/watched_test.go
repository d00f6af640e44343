package proxy_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
	"pgshunt/router"
	"pgshunt/router/fleet"
)

// watched starts a proxy whose servers are looked at. hosts are the primary and the standbys
// that may take its place; replicas have that feed, and the databases of the primary's names.
func watched(t *testing.T, c setup, feed router.Feed, hosts ...*pgtest.Server) *fixture {
	t.Helper()
	c.primary = hosts[0]
	primary := func(user, database string) (*pgconn.Config, error) {
		var at []string
		for _, h := range hosts {
			at = append(at, fmt.Sprintf("127.0.0.1:%d", h.Port))
		}
		return pgconn.ParseConfig("postgres://" + user + "@" + strings.Join(at, ",") + "/" + database)
	}
	as := func(login func(user, database string) (*pgconn.Config, error)) func(string) (*pgconn.Config, error) {
		return func(database string) (*pgconn.Config, error) {
			if database == "" {
				database = "postgres"
			}
			return login("postgres", database)
		}
	}
	servers := []fleet.Server{{Name: "primary", Login: as(primary)}}
	for i, r := range c.replicas {
		servers = append(servers, fleet.Server{
			Name: fmt.Sprintf("ml%d", i+1), Replica: true, Feed: feed, Training: c.trainers == 0 || i < c.trainers, Inference: true, Reads: true,
			Login: as(login(r, c.replicaDatabase)),
		})
	}
	var server atomic.Pointer[proxy.Server]
	log := &logBuffer{}
	w := fleet.New(fleet.Config{
		Servers: servers, Database: "postgres", Interval: 100 * time.Millisecond, CatalogInterval: cmp.Or(c.catalogs, 200*time.Millisecond),
		Log: slog.New(slog.NewTextHandler(log, nil)),
		Publish: func(f *router.Fleet) {
			if s := server.Load(); s != nil {
				s.SetFleet(f)
			}
		},
		Primary: func(*pgconn.Config) {
			if s := server.Load(); s != nil {
				s.PrimaryMoved()
			}
		},
	})
	c.moves = func(user, database string) (*pgconn.Config, error) {
		cfg, err := primary(user, database)
		if err == nil {
			w.AtPrimary(cfg)
		}
		return cfg, err
	}
	c.proxy.Watcher, c.pool.Trouble = w, w.Look
	f := start(t, c)
	server.Store(f.server)
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	w.Start(ctx)
	f.server.SetFleet(w.Snapshot())
	t.Cleanup(func() {
		f.stop() // before the watcher, which the sessions ask
		w.Close()
		if t.Failed() {
			t.Logf("log of the watcher:\n%s", log.tail())
		}
	})
	return f
}

// What was missing on a replica and has been brought there past pgshunt is found by the
// next statement that needs it, however seldom catalogs are compared.
func TestARefusalLooksOnceMore(t *testing.T) {
	primary, replica := pgtest.Primary(t), pgtest.Replica(t)
	const tables = "CREATE TABLE late (v text); CREATE TABLE houses AS SELECT n::real AS rooms, 3 * n::real AS price FROM generate_series(1, 20) n"
	primary.Exec(t, tables)
	pgtest.NoLeaks(t)
	f := watched(t, setup{replicas: []*pgtest.Server{replica}, catalogs: time.Hour}, router.FeedNone, primary)
	conn := pgtest.Connect(t, f.url("postgres", "postgres"))
	const read = "SELECT count(pgml.embed('m', v)) FROM late"
	train := func() error { // what is missing comes with Bind
		const sql = "SELECT project FROM pgml.train($1, 'regression', $2, 'price')"
		return conn.PgConn().ExecParams(t.Context(), sql, [][]byte{[]byte("late"), []byte("public.houses")}, nil, nil, nil).Read().Err
	}
	if _, err := conn.Exec(t.Context(), read); code(err) != "55000" {
		t.Fatalf("without the table: %v", err)
	}
	if err := train(); code(err) != "55000" {
		t.Fatalf("training without the table: %v", err)
	}
	replica.Exec(t, tables)
	if err := train(); err != nil {
		t.Errorf("training with the table: %v", err)
	}
	if _, err := conn.Exec(t.Context(), read); err != nil {
		t.Errorf("with the table: %v", err)
	}
}
