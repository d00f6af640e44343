package proxy_test

import (
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
		Servers: servers, Database: "postgres", Interval: 100 * time.Millisecond, CatalogInterval: 200 * time.Millisecond,
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
