package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/hba"
	"pgshunt/internal/pgtest"
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/proxy"
	"pgshunt/router"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// fixture is a running proxy and the servers behind it.
type fixture struct {
	addr     string
	server   *proxy.Server
	pools    *pool.Pools
	log      *logBuffer
	stop     func()
	primary  *pgtest.Server
	replicas []*pgtest.Server
}

// setup says how a proxy differs from the usual one: a pooler in transaction mode
// in front of the shared primary, trusting its clients.
type setup struct {
	proxy    proxy.Config
	pool     pool.Config
	policy   router.Config
	primary  *pgtest.Server
	replicas []*pgtest.Server // ml1, ml2 ...
	trainers int              // how many of them train; 0 is all
	first    bool             // ml1 is chosen wherever it may be
	auth     *proxy.Auth      // nil trusts everybody
	// listener is what the proxy accepts from; nil takes a free port.
	listener net.Listener
	// moves says how to log in to a primary that may move, which sessions then wait for; nil
	// where it stays.
	moves func(user, database string) (*pgconn.Config, error)
	// catalogs is how often a watcher asks for changes of catalogs; 0 is five times a second.
	catalogs time.Duration
	// replicaDatabase maps the client's database to the one on replicas, if it differs.
	replicaDatabase string
}

// start runs a proxy for the length of the test.
func start(t *testing.T, c setup) *fixture {
	t.Helper()
	if c.primary == nil {
		c.primary = pgtest.SharedPrimary(t)
	}
	f := &fixture{primary: c.primary, replicas: c.replicas, log: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	fleet := &router.Fleet{Targets: []router.Target{{Name: "primary", Healthy: true}}}
	targets := []*pool.Target{{Name: "primary", Login: login(c.primary, "")}}
	if c.moves != nil {
		targets[0].Login, targets[0].Awaited = c.moves, func() bool { return true }
	}
	for i, r := range c.replicas {
		name := fmt.Sprintf("ml%d", i+1)
		fleet.Targets = append(fleet.Targets, router.Target{
			Name: name, Replica: true, Healthy: true, Training: c.trainers == 0 || i < c.trainers, Inference: true, Reads: true,
		})
		if c.first && i == 0 {
			fleet.Targets[1].Weight = 1 << 30
		}
		targets = append(targets, &pool.Target{Name: name, Login: login(r, c.replicaDatabase)})
	}
	loops := newLoops(t)
	c.pool.Loops, c.proxy.Loops = loops, loops
	f.pools = pool.New(withPoolDefaults(c.pool, log), targets)
	policy, err := router.NewPolicy(c.policy)
	if err != nil {
		t.Fatal(err)
	}
	c.proxy.Auth = proxy.Auth{Method: hba.Trust}
	if c.auth != nil {
		c.proxy.Auth = *c.auth
	}
	f.server = proxy.New(withProxyDefaults(c.proxy, f.pools, policy, log), fleet)
	l := c.listener
	if l == nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	f.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(l) }()
	f.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := f.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		f.pools.Close()
		loops.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		f.stop()
		if t.Failed() {
			t.Logf("log of pgshunt:\n%s", f.log.tail())
		}
	})
	return f
}

// newLoops starts what serves the fixture's connections. Every one of them may keep
// a processor busy, and tests run many at once.
func newLoops(t *testing.T) *wire.Loops {
	t.Helper()
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 16))
	loops, err := wire.NewLoops(1)
	if err != nil {
		t.Fatal(err)
	}
	return loops
}

func withPoolDefaults(c pool.Config, log *slog.Logger) pool.Config {
	if c.Size == 0 {
		c.Size = 10
	}
	if c.Wait == 0 {
		c.Wait = 10 * time.Second
	}
	if c.Prepared == 0 {
		c.Prepared = 200
	}
	if c.PreparedBytes == 0 {
		c.PreparedBytes = 4 << 20
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	c.Log = log
	return c
}

func withProxyDefaults(c proxy.Config, pools *pool.Pools, policy *router.Policy, log *slog.Logger) proxy.Config {
	c.Log, c.Pools, c.Policy, c.Parser = log, pools, policy, parser.New(parser.Options{})
	if c.Limits.Clients == 0 {
		c.Limits.Clients = 1000
	}
	if c.Limits.Prepared == 0 {
		c.Limits.Prepared = 64 << 20
	}
	if c.StartupTimeout == 0 {
		c.StartupTimeout = 10 * time.Second
	}
	return c
}

func login(s *pgtest.Server, database string) func(user, db string) (*pgconn.Config, error) {
	return func(user, db string) (*pgconn.Config, error) {
		if database != "" {
			db = database
		}
		return pgconn.ParseConfig(s.URL(user, db))
	}
}

// url is a connection string to the proxy.
func (f *fixture) url(user, database string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", user, f.addr, database)
}

// logBuffer keeps the log of a proxy.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) tail() string {
	lines := strings.Split(b.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}
