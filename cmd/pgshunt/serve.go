package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/configs"
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/proxy"
	"pgshunt/router"
	"pgshunt/router/fleet"
)

func serveCommand() *cobra.Command {
	var file, profile string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve clients until SIGTERM; SIGHUP reloads the configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := configs.Load(file)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			hangUps := make(chan os.Signal, 1)
			signal.Notify(hangUps, syscall.SIGHUP)
			defer signal.Stop(hangUps)
			log := newLogger(cmd.ErrOrStderr(), cfg.Log)
			for _, w := range cfg.Warnings {
				log.Warn("configuration warning", "error", w)
			}
			endProfile, err := startProfile(profile)
			if err != nil {
				return err
			}
			srv, err := startServing(cfg, log)
			if err == nil {
				err = srv.wait(ctx, hangUps, file)
			}
			return errors.Join(err, endProfile())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "pgshunt.yaml", "configuration file")
	const profileFlag = "cpuprofile"
	cmd.Flags().StringVar(&profile, profileFlag, "", "write a CPU profile to this file")
	_ = cmd.Flags().MarkHidden(profileFlag) // for developers; fails only for a flag that does not exist
	return cmd
}

// serving is a running proxy. Its methods are for one goroutine.
type serving struct {
	addr   net.Addr
	log    *slog.Logger
	cfg    *configs.Config // what is in force
	server *proxy.Server
	pools  *pool.Pools
	mu     sync.Mutex     // for what watchers find, and a change of watch
	watch  *fleet.Watcher // nil where there is nothing to watch
	loops  *wire.Loops
	who    *identity
	// unfinished ends the work on schema changes that are left open.
	unfinished context.CancelFunc
	// schedules renews copies.
	schedules schedules
	grace     time.Duration
	done      chan error
}

// connectTimeout bounds a login to a server.
const connectTimeout = 10 * time.Second

// startServing builds a proxy from its configuration and has it listen.
func startServing(cfg *configs.Config, log *slog.Logger) (*serving, error) {
	policy, err := router.NewPolicy(routerConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("routing: %w", err)
	}
	tlsConfig, err := cfg.TLS.ServerConfig()
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	who, err := newIdentity(cfg, tlsConfig, log)
	if err != nil {
		return nil, err
	}
	peers, err := peersOf(cfg)
	if err != nil {
		return nil, err
	}
	changes, err := newOrderer(cfg, log)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	loops, err := startLoops()
	if err != nil {
		return nil, err
	}
	s := &serving{
		addr: l.Addr(), log: log, cfg: cfg, loops: loops, who: who,
		grace: time.Duration(cfg.Shutdown), done: make(chan error, 1),
	}
	known := fleetOf(cfg)
	if s.watch, err = s.newWatcher(cfg); err != nil {
		return nil, err
	}
	who.watch.Store(s.watch)
	if s.watch != nil {
		known = s.watch.Snapshot()
	}
	s.pools = pool.New(pool.Config{
		Size: cfg.Pool.Size, Wait: time.Duration(cfg.Pool.Wait), ConnectTimeout: connectTimeout,
		Idle: time.Duration(cfg.Pool.Idle), Lifetime: time.Duration(cfg.Pool.Lifetime),
		Prepared: cfg.Pool.Prepared, PreparedBytes: int(cfg.Pool.PreparedSize),
		NoReuse: !cfg.Pool.Reuse, Log: log, Loops: loops,
		Trouble: func(target string) { s.server.Look(target) },
	}, who.targets())
	serves := admissionOf(cfg, tlsConfig, who.known.Load())
	serves.Log, serves.Pools, serves.Parser, serves.Loops = log, s.pools, parser.New(parser.Options{}), loops
	serves.Routing, serves.Random = routesBy(cfg, policy, s.watch, changes), rand.Uint64
	serves.SessionMode = cfg.Pool.Mode == configs.PoolSession
	serves.Instance, serves.Peers = uint8(cfg.Instance), peers
	s.server = proxy.New(serves, known)
	if s.watch != nil {
		begin(context.Background(), s.watch, firstLook)
	}
	s.finishBy(changes)
	s.schedules.log = log
	s.schedules.set(cfg)
	go func() { s.done <- s.server.Serve(l) }()
	log.Info("listening", "address", l.Addr().String(), "replicas", len(cfg.Replicas), "mode", string(cfg.Pool.Mode))
	return s, nil
}

// finishBy has schema changes that are left open be finished by changes from now on, by nobody where
// that is nil.
func (s *serving) finishBy(changes *orderer) {
	if s.unfinished != nil {
		s.unfinished()
	}
	ctx, cancel := context.WithCancel(context.Background())
	if s.unfinished = cancel; changes != nil {
		go changes.finish(ctx)
	}
}

// startLoops starts the loops that serve plain connections: one for every two
// processors, so that there is always one left for all else (logins, TLS, parsing,
// garbage collection); a loop keeps its own busy while there is traffic.
func startLoops() (*wire.Loops, error) {
	processors := max(runtime.GOMAXPROCS(0), 2)
	runtime.GOMAXPROCS(processors)
	return wire.NewLoops(processors / 2)
}

// wait serves until ctx ends, then drains. At each of hangUps it reads file again.
func (s *serving) wait(ctx context.Context, hangUps <-chan os.Signal, file string) error {
	for {
		select {
		case err := <-s.done:
			s.close(0)
			return err
		case <-hangUps:
			s.reloadFile(ctx, file)
		case <-ctx.Done():
			s.log.Info("draining", "grace", s.grace)
			s.close(s.grace)
			return nil
		}
	}
}

// close ends all sessions, giving those in a transaction some time.
func (s *serving) close(grace time.Duration) {
	s.unfinished()
	s.schedules.stop()
	defer s.schedules.wait()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.log.Warn("sessions cut off", "error", err)
	}
	if s.watch != nil {
		s.watch.Close()
	}
	s.pools.Close()
	s.loops.Close()
	s.who.close()
	s.log.Info("stopped")
}

// admissionOf is the part of a proxy's configuration by which it lets clients in.
func admissionOf(cfg *configs.Config, tlsConfig *tls.Config, who *known) proxy.Config {
	return proxy.Config{
		Auth: who.clients, TLS: tlsConfig, RequireTLS: cfg.TLS.Mode == configs.TLSRequire || cfg.TLS.Mode == configs.TLSVerifyFull,
		Databases: cfg.Databases, Limits: limitsOf(cfg.Limits), StartupTimeout: time.Duration(cfg.Limits.Startup),
	}
}

// routesBy is a policy for package proxy; watch and changes may be nil.
func routesBy(cfg *configs.Config, policy *router.Policy, watch *fleet.Watcher, changes *orderer) proxy.Routing {
	r := proxy.Routing{Policy: policy, Zone: cfg.Zone, FinishTraining: cfg.Routing.Training.OnDisconnect == configs.DisconnectFinish}
	if changes != nil {
		r.Orderer = changes
	}
	if watch != nil {
		r.Watcher = watch
	}
	return r
}

// fleetOf is the fleet as configured, everything taken to be healthy and fresh.
func fleetOf(cfg *configs.Config) *router.Fleet {
	f := &router.Fleet{Targets: []router.Target{{Name: configs.ToPrimary, Healthy: true}}}
	for i := range cfg.Replicas {
		r := &cfg.Replicas[i]
		f.Targets = append(f.Targets, router.Target{
			Name: r.Name, Replica: true, Healthy: true, LagKnown: true,
			Training: r.Does(configs.ServeTraining), Inference: r.Does(configs.ServeInference), Reads: r.Does(configs.ServeReads),
			Feed: router.Feed(r.Feed), Weight: r.Weight, Zone: r.Zone,
		})
	}
	return f
}

func limitsOf(l configs.Limits) proxy.Limits {
	return proxy.Limits{
		Clients: l.Clients, PerUser: l.PerUser, PerAddress: l.PerAddress, Startups: l.StartupClients, Message: int(l.Message),
		Prepared: int(l.Prepared),
	}
}

// peersOf are the other instances, for cancel requests that come to the wrong one.
func peersOf(cfg *configs.Config) ([]proxy.Peer, error) {
	var out []proxy.Peer
	for i := range cfg.Peers {
		p := &cfg.Peers[i]
		tlsConfig, err := p.ClientConfig(&cfg.TLS)
		if err != nil {
			return nil, fmt.Errorf("peers[%d]: %w", i, err)
		}
		out = append(out, proxy.Peer{Instance: uint8(p.Instance), Address: p.Address, TLS: tlsConfig})
	}
	return out, nil
}

func newLogger(w io.Writer, c configs.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic("BUG: " + err.Error()) // the configuration has been validated
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == configs.LogJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
