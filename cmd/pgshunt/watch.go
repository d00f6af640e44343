package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/internal/pghosts"
	"pgshunt/router"
	"pgshunt/router/fleet"
)

// firstLook bounds the wait for the first look at every server. Those that have not
// answered by then are unhealthy until they do, and clients are served without them.
const firstLook = 3 * time.Second

// watched tells whether there is anything to watch: not for a plain pooler in front of
// one server, which needs no login of pgshunt's own.
func watched(cfg *configs.Config) (bool, error) {
	login, err := cfg.Login(configs.ToPrimary, "", "")
	if err != nil {
		return false, err
	}
	return len(cfg.Replicas) > 0 || len(pghosts.Of(login)) > 1, nil
}

// watchConfig is what package fleet is to watch.
func watchConfig(cfg *configs.Config, log *slog.Logger) (fleet.Config, error) {
	login, err := cfg.Login(configs.ToPrimary, "", "")
	if err != nil {
		return fleet.Config{}, err
	}
	out := fleet.Config{Database: login.Database, Log: log}
	for i, t := range fleetOf(cfg).Targets {
		s := fleet.Server{
			Name: t.Name, Replica: t.Replica, Training: t.Training, Inference: t.Inference, Reads: t.Reads,
			Feed: t.Feed, Weight: t.Weight, Zone: t.Zone,
			Login: func(database string) (*pgconn.Config, error) { return cfg.Login(t.Name, "", database) },
		}
		if i == 0 {
			s.Feed = ""
		} else {
			s.Users = cfg.Replicas[i-1].Users
		}
		out.Servers = append(out.Servers, s)
	}
	return out, nil
}

// newWatcher makes what watches the servers for s, which hears of what it finds from the
// moment when it is s.watch. It is nil where there is nothing to watch.
func (s *serving) newWatcher(cfg *configs.Config) (*fleet.Watcher, error) {
	if needed, err := watched(cfg); err != nil || !needed {
		return nil, err
	}
	c, err := watchConfig(cfg, s.log)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	var w *fleet.Watcher
	tell := func(what func()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watch == w {
			what()
		}
	}
	c.Publish = func(f *router.Fleet) { tell(func() { s.server.SetFleet(f) }) }
	c.Primary = func(*pgconn.Config) { tell(s.server.PrimaryMoved) }
	w = fleet.New(c)
	return w, nil
}

// begin starts to watch and waits for the first look at each server, for at most patience.
func begin(ctx context.Context, w *fleet.Watcher, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w.Start(ctx)
}
