package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// own is pgshunt's own role in these tests: it may log in, and nothing else.
const own = "own"

// primaryServer starts a primary that knows pgshunt's own role.
func primaryServer(t *testing.T) *pgtest.Server {
	t.Helper()
	s := pgtest.Primary(t)
	s.Exec(t, "CREATE ROLE "+own+" LOGIN")
	return s
}

// replicaServer is a replica with pgshunt's own role, who may read pgml's tables.
func replicaServer(t *testing.T) *pgtest.Server {
	t.Helper()
	s := pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"wal_retrieve_retry_interval": "100ms"}})
	s.Exec(t, "CREATE ROLE "+own+" LOGIN; GRANT USAGE ON SCHEMA pgml TO "+own+"; GRANT SELECT ON ALL TABLES IN SCHEMA pgml TO "+own)
	return s
}

// sharedServers are a primary and a replica for tests that leave them as they are.
func sharedServers(t *testing.T) (primary, replica *pgtest.Server) {
	t.Helper()
	primary, replica = pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, "DO $$ BEGIN CREATE ROLE "+own+" LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	}
	return primary, replica
}

// subscribe feeds the replica's table t from the primary's.
func subscribe(t *testing.T, primary, replica *pgtest.Server) {
	t.Helper()
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, "CREATE TABLE t (id bigserial PRIMARY KEY, v int)")
	}
	primary.Exec(t, "CREATE PUBLICATION feed FOR TABLE t")
	replica.Exec(t, "CREATE SUBSCRIPTION feed CONNECTION '"+primary.URL(primary.Superuser(), "postgres")+"' PUBLICATION feed")
	t.Cleanup(func() {
		if running(replica) {
			replica.Exec(t, "ALTER SUBSCRIPTION feed DISABLE")
			replica.Exec(t, "ALTER SUBSCRIPTION feed SET (slot_name = NONE)")
			replica.Exec(t, "DROP SUBSCRIPTION feed")
		}
	})
	conn := replica.Super(t, "postgres")
	if !pgtest.Eventually(func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'") == 1
	}) {
		t.Fatal("the table is not synchronised")
	}
}

func running(s *pgtest.Server) bool {
	select {
	case <-s.Done():
		return false
	default:
		return true
	}
}

func number(t *testing.T, conn *pgx.Conn, sql string, args ...any) (n int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// login is how the own role gets to servers: to the first, with the others as further hosts.
func login(servers ...*pgtest.Server) func(string) (*pgconn.Config, error) {
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", s.Port))
	}
	return func(database string) (*pgconn.Config, error) {
		if database == "" {
			database = "postgres"
		}
		return pgconn.ParseConfig("postgres://" + own + "@" + strings.Join(hosts, ",") + "/" + database)
	}
}

// watching is a watcher under test, with what it has said.
type watching struct {
	*Watcher
	t *testing.T

	mu        sync.Mutex
	published []*router.Fleet
	primaries []uint16 // the ports
	log       strings.Builder
}

// watch starts a watcher.
func watch(t *testing.T, cfg Config) *watching {
	t.Helper()
	w := &watching{t: t}
	if cfg.Interval == 0 {
		cfg.Interval = 50 * time.Millisecond
	}
	cfg.Database = "postgres"
	cfg.Log = slog.New(slog.NewTextHandler(w, nil))
	cfg.Publish = func(f *router.Fleet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.published = append(w.published, f)
	}
	cfg.Primary = func(c *pgconn.Config) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.primaries = append(w.primaries, c.Port)
	}
	w.Watcher = New(cfg)
	t.Cleanup(func() {
		w.Close()
		if t.Failed() {
			t.Log(w.logged())
		}
	})
	w.Start(patient(t))
	return w
}

// Write takes the log.
func (w *watching) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *watching) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// patient is a context that ends after what no test should need.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	t.Cleanup(cancel)
	return ctx
}

func (w *watching) target(name string) router.Target {
	w.t.Helper()
	for _, target := range w.Snapshot().Targets {
		if target.Name == name {
			return target
		}
	}
	w.t.Fatalf("no target %q", name)
	return router.Target{}
}

// until waits until a target is as it should be.
func (w *watching) until(name string, is func(router.Target) bool) router.Target {
	w.t.Helper()
	if !pgtest.Eventually(func() bool { return is(w.target(name)) }) {
		w.t.Fatalf("%s stays %+v", name, w.target(name))
	}
	return w.target(name)
}

func healthy(t router.Target) bool { return t.Healthy && t.Trouble == "" }

func troubled(phrase string) func(router.Target) bool {
	return func(t router.Target) bool { return !t.Healthy && t.Trouble == phrase }
}

// pair is the usual fleet: a primary and one replica ml1 that does everything.
func pair(primary, replica *pgtest.Server, feed router.Feed) Config {
	return Config{Servers: []Server{
		{Name: "primary", Login: login(primary)},
		{Name: "ml1", Replica: true, Training: true, Inference: true, Reads: true, Feed: feed, Login: login(replica)},
	}}
}
