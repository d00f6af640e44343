package main

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"pgshunt/configs"
	"pgshunt/internal/pghosts"
	"pgshunt/router"
	"pgshunt/router/fleet"
)

// reloadLook bounds the wait for the first look at the servers of a new configuration. The
// old one is in force meanwhile.
const reloadLook = 15 * time.Second

// reloadFile reads the configuration again and puts it in force. One that is wrong changes
// nothing, and the log says why.
func (s *serving) reloadFile(ctx context.Context, file string) {
	cfg, err := configs.Load(file)
	if err == nil {
		for _, w := range cfg.Warnings {
			s.log.Warn("configuration warning", "error", w)
		}
		err = s.reload(ctx, cfg)
	}
	if err != nil {
		s.log.Error("configuration not reloaded; the old one stays in force", "error", err)
	}
}

// reload puts in force what can be of a configuration, in one step once the servers have
// been looked at: where statements go, the servers, and how clients are let in. It warns of all else
// that has changed, with the reason.
func (s *serving) reload(ctx context.Context, read *configs.Config) error {
	next := *s.cfg
	next.Zone, next.Replicas, next.Routing = read.Zone, read.Replicas, read.Routing
	next.Primary, next.Databases, next.Shutdown = read.Primary, read.Databases, read.Shutdown
	next.TLS, next.Auth, next.Limits, next.Warnings = read.TLS, read.Auth, read.Limits, read.Warnings
	policy, err := router.NewPolicy(routerConfig(&next))
	if err != nil {
		return fmt.Errorf("routing: %w", err)
	}
	changes, err := newOrderer(&next, s.log)
	if err != nil {
		return err
	}
	tlsConfig, err := next.TLS.ServerConfig()
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	who, err := s.who.newKnown(&next, tlsConfig, s.log)
	if err != nil {
		return err
	}
	watch := s.watch
	if s.cfg.Primary != next.Primary || !reflect.DeepEqual(s.cfg.Replicas, next.Replicas) {
		if watch, err = s.newWatcher(&next); err != nil {
			who.close(s.who.known.Load())
			return err
		}
		if watch != nil {
			for _, database := range s.server.Databases() {
				watch.Want(database)
			}
			begin(ctx, watch, reloadLook)
			if ctx.Err() != nil {
				watch.Close()
				who.close(s.who.known.Load())
				return context.Cause(ctx)
			}
		}
	}
	c := changeOf(s.cfg, &next)
	last := s.who.known.Load()
	s.turnTo(&next, policy, watch, changes, c, who)
	s.finishBy(changes)
	s.schedules.set(&next)
	s.server.Readmit(admissionOf(&next, tlsConfig, who))
	last.close(who)
	s.grace = time.Duration(next.Shutdown)
	for _, key := range unapplied(reflect.ValueOf(next), reflect.ValueOf(*read)) {
		s.log.Warn("a change of the configuration needs a restart", "key", key, "reason", needsRestart(key))
	}
	s.log.Info("configuration reloaded", "replicas", len(next.Replicas), "added", c.added, "removed", c.removed, "changed", c.changed)
	return nil
}

// turnTo has everything go by another configuration. Backends of servers that are as they
// were stay; others end when what they run is over.
func (s *serving) turnTo(next *configs.Config, policy *router.Policy, watch *fleet.Watcher, changes *orderer, c change, who *known) {
	for _, name := range c.added {
		s.pools.Add(s.who.target(name))
	}
	for _, name := range c.removed {
		s.pools.Remove(name)
	}
	s.who.known.Store(who)
	for _, name := range c.changed {
		s.pools.Evict(name)
	}
	known := fleetOf(next)
	s.mu.Lock()
	if watch != nil {
		known = watch.Snapshot()
	}
	last := s.watch
	moved := !slices.Equal(primaryHosts(next, last), primaryHosts(next, watch))
	s.cfg, s.watch = next, watch
	s.who.watch.Store(watch)
	s.server.Reroute(routesBy(next, policy, watch, changes), known)
	switch {
	case c.primary:
		s.server.PrimaryChanged()
	case moved:
		s.server.PrimaryMoved()
	}
	s.mu.Unlock()
	if last != nil && last != watch {
		last.Close() // without mu, which it may wait for
	}
}

// primaryHosts are the hosts that logins to the primary lead to.
func primaryHosts(cfg *configs.Config, watch *fleet.Watcher) []string {
	login, err := cfg.Login(configs.ToPrimary, "", "")
	if err != nil {
		return nil
	}
	if watch != nil {
		watch.AtPrimary(login)
	}
	return pghosts.Of(login)
}

// change names the replicas that differ between two configurations: changed are those whose
// backends cannot be used any more; primary tells that of the primary's.
type change struct {
	added, removed, changed []string
	primary                 bool
}

func changeOf(now, next *configs.Config) (c change) {
	c.primary = now.Primary != next.Primary
	for i := range next.Replicas {
		r := &next.Replicas[i]
		switch was := now.Replica(r.Name); {
		case was == nil:
			c.added = append(c.added, r.Name)
		case was.URL != r.URL || was.Password != r.Password || was.Database != r.Database || !maps.Equal(was.Users, r.Users):
			c.changed = append(c.changed, r.Name)
		}
	}
	for i := range now.Replicas {
		if name := now.Replicas[i].Name; next.Replica(name) == nil {
			c.removed = append(c.removed, name)
		}
	}
	return c
}

// needsRestart is why a reload leaves a key as it was.
func needsRestart(key string) string {
	switch name, _, _ := strings.Cut(key, "."); name {
	case "listen", "admin":
		return "the address is being listened on"
	case "pool":
		return "connections and sessions were made by it"
	case "instance", "peers":
		return "the cancel keys of sessions name instances"
	case "log":
		return "every session has its logger"
	}
	return "it is read when pgshunt starts"
}

// unapplied lists the keys, such as pool.mode, whose values differ between two structs of the
// configuration.
func unapplied(now, read reflect.Value) (keys []string) {
	for i := range now.NumField() {
		name, _, _ := strings.Cut(now.Type().Field(i).Tag.Get("yaml"), ",")
		a, b := now.Field(i), read.Field(i)
		switch {
		case name == "-" || reflect.DeepEqual(a.Interface(), b.Interface()):
		case a.Kind() == reflect.Struct:
			for _, key := range unapplied(a, b) {
				keys = append(keys, name+"."+key)
			}
		default:
			keys = append(keys, name)
		}
	}
	return keys
}
