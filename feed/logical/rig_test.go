package logical

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig is a primary and a replica of one test, and what was told of the feed between them.
type rig struct {
	primary, replica *pgtest.Server
	cfg              *configs.Config

	mu     sync.Mutex
	events []feed.Event
	// heard is called with each event, if it is set.
	heard func(feed.Event)
}

// soon has workers that failed come back at once.
var soon = map[string]string{"wal_retrieve_retry_interval": "100ms"}

func newRig(t *testing.T, change func(*configs.Replica)) *rig {
	t.Helper()
	return newRigOn(t, pgtest.Primary(t), pgtest.Replica(t, pgtest.Options{Settings: soon}), change)
}

func newRigOn(t *testing.T, primary, replica *pgtest.Server, change func(*configs.Replica)) *rig {
	t.Helper()
	r := &rig{primary: primary, replica: replica}
	r.cfg = configs.Default()
	r.cfg.Primary.URL = configs.URL(primary.URL("postgres", "postgres"))
	one := configs.Replica{Name: "ml1", Feed: configs.FeedLogical}
	one.URL = configs.URL(replica.URL("postgres", "postgres"))
	if change != nil {
		change(&one)
	}
	r.cfg.Replicas = []configs.Replica{one}
	r.valid(t)
	return r
}

// valid checks the configuration after a change of it.
func (r *rig) valid(t *testing.T) {
	t.Helper()
	if err := r.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
}

// run is a new run of the feed, as each command makes one.
func (r *rig) run(t *testing.T) *feed.Run {
	t.Helper()
	run, err := feed.Open(r.cfg, r.cfg.Replicas[0].Name, feed.Options{Sink: func(e feed.Event) {
		r.mu.Lock()
		r.events = append(r.events, e)
		heard := r.heard
		r.mu.Unlock()
		if heard != nil {
			heard(e)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// told returns the events since the last call.
func (r *rig) told() []feed.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// did lists the steps with a status, each once.
func did(events []feed.Event, status feed.Status) (steps []string) {
	seen := make(map[string]bool)
	for _, e := range events {
		if e.Status == status && !seen[e.Step] {
			seen[e.Step] = true
			steps = append(steps, e.Step)
		}
	}
	return steps
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*pgtest.Patience)
	t.Cleanup(cancel)
	return ctx
}

func (r *rig) apply(t *testing.T) {
	t.Helper()
	if err := Apply(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) state(t *testing.T) feed.State {
	t.Helper()
	state, err := State(limited(t), r.run(t))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// conns are connections of tests, by the URL. Tests do not run in parallel.
var conns = make(map[string]*pgx.Conn)

// ask reads one text from a server. It connects again after a restart.
func ask(t *testing.T, s *pgtest.Server, sql string, args ...any) string {
	t.Helper()
	ctx := limited(t)
	url := s.SocketURL(s.Superuser(), "postgres")
	conn := conns[url]
	if conn != nil && conn.Ping(ctx) != nil {
		_ = conn.Close(ctx)
		conn = nil
	}
	if conn == nil {
		var err error
		if conn, err = pgx.Connect(ctx, url); err != nil {
			t.Fatal(err)
		}
		conns[url] = conn
		t.Cleanup(func() {
			_ = conn.Close(context.Background())
			delete(conns, url)
		})
	}
	var text *string
	if err := conn.QueryRow(ctx, sql, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v\n%s", s.Name, err, sql)
	}
	if text == nil {
		return ""
	}
	return *text
}

// equal waits until the fed tables of both servers have the same rows, and fails with the
// tables that do not.
func (r *rig) equal(t *testing.T) {
	t.Helper()
	var differ []string
	ok := pgtest.Eventually(func() bool {
		differ = r.differences(t)
		return len(differ) == 0
	})
	if !ok {
		t.Errorf("not equal: %s", strings.Join(differ, "\n"))
	}
}

// differences lists the fed tables whose rows differ now.
func (r *rig) differences(t *testing.T) (differ []string) {
	t.Helper()
	ctx := limited(t)
	s, err := open(ctx, r.run(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	all, err := s.tables(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range leaves(all) {
		columns := "*"
		if one.columns != nil {
			columns = names(one.columns)
		}
		sql := fmt.Sprintf(`SELECT count(*) || ' ' || coalesce(md5(string_agg(r, E'\n' ORDER BY r COLLATE "C")), '') FROM (SELECT x::text AS r FROM (SELECT %s FROM ONLY %s`, columns, one.Qualified())
		where := ""
		if one.where != "" {
			where = " WHERE " + one.where
		}
		theirs, ours := ask(t, r.primary, sql+where+") x) y"), ask(t, r.replica, sql+") x) y")
		if theirs != ours {
			differ = append(differ, fmt.Sprintf("%s: %s on the primary, %s on the replica", one.Plain(), theirs, ours))
		}
	}
	return differ
}

// nothingLeft fails where there is something of a feed on the servers.
func (r *rig) nothingLeft(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		server *pgtest.Server
		sql    string
	}{
		{r.primary, "SELECT string_agg(slot_name, ', ') FROM pg_replication_slots"},
		{r.primary, "SELECT string_agg(pubname, ', ') FROM pg_publication"},
		{r.replica, "SELECT string_agg(subname, ', ') FROM pg_subscription"},
		{r.replica, "SELECT string_agg(roname, ', ') FROM pg_replication_origin"},
		{r.replica, "SELECT string_agg(name, ', ') FROM pgshunt.feeds"},
	} {
		if left := ask(t, c.server, c.sql); left != "" {
			t.Errorf("%s: left behind: %s", c.server.Name, left)
		}
	}
}
