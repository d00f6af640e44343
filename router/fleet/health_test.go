package fleet

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

func TestHealthFollowsAServer(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	pgtest.NoLeaks(t)
	w := watch(t, pair(primary, replica, router.FeedFDW))
	if got := w.target("ml1"); !healthy(got) || got.Pgml == "" || got.Models == nil || got.Standby || !got.Training {
		t.Fatalf("after Start: %+v", got)
	}
	if got := w.target("primary"); !healthy(got) {
		t.Fatalf("after Start: %+v", got)
	}
	replica.Kill()
	w.Look("ml1")
	w.until("ml1", troubled(troubleRefused))
	if !healthy(w.target("primary")) {
		t.Error("the primary's health is not its own")
	}
	if err := replica.Restart(patient(t)); err != nil {
		t.Fatal(err)
	}
	w.until("ml1", healthy)
	primary.Kill()
	w.until("primary", troubled(troubleRefused))
	if !healthy(w.target("ml1")) {
		t.Error("the replica's health is not its own")
	}
	if err := primary.Restart(patient(t)); err != nil {
		t.Fatal(err)
	}
	w.until("primary", healthy)

	w.mu.Lock()
	published := w.published
	w.mu.Unlock()
	for i, f := range published[1:] {
		if same(published[i], f) {
			t.Errorf("published twice: %+v", f)
		}
	}
	for _, line := range []string{`target=ml1 reason="does not accept connections"`, `target=primary reason="does not accept connections"`} {
		if n := strings.Count(w.logged(), line); n != 1 {
			t.Errorf("%d log lines with %s", n, line)
		}
	}
	w.Close() // so that NoLeaks counts what it leaves
}

// A lost connection is no trouble: the next question goes out on a new one.
func TestALostConnectionIsNoTrouble(t *testing.T) {
	primary, replica := sharedServers(t)
	w := watch(t, pair(primary, replica, router.FeedFDW))
	mark := replica.Mark(t)
	replica.Terminate(t, "usename = '"+own+"'")
	replica.WaitStatement(t, mark, "pg_is_in_recovery")
	w.Look("ml1")
	w.position()
	w.settled(patient(t))
	if strings.Contains(w.logged(), "unhealthy") {
		t.Error("it was unhealthy")
	}
}

// silent accepts connections and never says anything.
func silent(t *testing.T) func(string) (*pgconn.Config, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return func(string) (*pgconn.Config, error) {
		return pgconn.ParseConfig("postgres://own@" + l.Addr().String() + "/postgres?sslmode=disable")
	}
}

func TestAServerThatHangsDelaysNobody(t *testing.T) {
	primary, replica := sharedServers(t)
	cfg := pair(primary, replica, router.FeedFDW)
	cfg.Timeout = pgtest.Patience / 2
	cfg.Servers = append(cfg.Servers, Server{Name: "ml2", Replica: true, Reads: true, Feed: router.FeedNative, Login: silent(t)})
	w := &watching{t: t, Watcher: New(cfg)}
	started := make(chan struct{})
	go func() {
		w.Start(t.Context())
		close(started)
	}()
	w.until("ml1", healthy)
	w.until("primary", healthy)
	select {
	case <-started:
		t.Error("Start has not waited for all")
	default:
	}
	w.Close()
	if got := w.target("ml2"); got.Healthy || got.Trouble != troubleUnseen {
		t.Errorf("got %+v", got)
	}

	cfg.Timeout = 100 * time.Millisecond
	w = watch(t, cfg)
	if got := w.target("ml2"); got.Trouble != troubleTimeout {
		t.Errorf("got %+v", got)
	}
}

func TestAServerThatIsNotWhatItShouldBe(t *testing.T) {
	primary := primaryServer(t)
	standby := pgtest.Standby(t, primary)
	refuses := pgtest.Primary(t, pgtest.Options{HBA: "host all all 127.0.0.1/32 scram-sha-256\n"})
	refuses.Exec(t, "CREATE ROLE "+own+" LOGIN PASSWORD 'another'")
	w := watch(t, Config{Servers: []Server{
		{Name: "primary", Login: login(standby)},
		{Name: "reads", Replica: true, Reads: true, Inference: true, Login: login(primary)},
		{Name: "infers", Replica: true, Inference: true, Login: login(primary)},
		{Name: "logical", Replica: true, Reads: true, Feed: router.FeedLogical, Login: login(standby)},
		{Name: "native", Replica: true, Reads: true, Feed: router.FeedNative, Login: login(primary)},
		{Name: "refuses", Replica: true, Reads: true, Login: func(string) (*pgconn.Config, error) {
			return pgconn.ParseConfig(strings.Replace(refuses.URL(own, "postgres"), own, own+":secret", 1))
		}},
		{Name: "broken", Replica: true, Reads: true, Login: func(string) (*pgconn.Config, error) {
			return pgconn.ParseConfig("postgres://own:secret@:nonsense/")
		}},
	}})
	for name, want := range map[string]router.Target{
		"primary": {Trouble: troubleStandby, Standby: true},
		"reads":   {Trouble: troubleNoPgml, Healthy: true},
		"infers":  {Trouble: troubleNoPgml},
		"logical": {Trouble: troubleStandby, Standby: true},
		"native":  {Trouble: troubleNoStandby},
		"refuses": {Trouble: troubleLogin + " (SQLSTATE 28P01)"},
		"broken":  {Trouble: troubleConfig},
	} {
		if got := w.target(name); got.Trouble != want.Trouble || got.Healthy != want.Healthy || got.Standby != want.Standby {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	if _, err := w.Position(patient(t)); err == nil {
		t.Error("a position without a primary")
	}
	if strings.Contains(w.logged(), "secret") {
		t.Error("a password in the log")
	}
}

// A server without a connection to spare is alive.
func TestAFullServerStaysHealthy(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	w := watch(t, pair(primary, replica, router.FeedFDW))
	replica.Exec(t, "ALTER ROLE "+own+" CONNECTION LIMIT 0")
	mark := replica.Mark(t)
	replica.Terminate(t, "usename = '"+own+"'")
	for range 2 {
		w.Look("ml1")
		replica.WaitLog(t, mark, "too many connections")
		mark = replica.Mark(t)
	}
	if got := w.target("ml1"); !healthy(got) {
		t.Errorf("got %+v", got)
	}
	if again := watch(t, pair(primary, replica, router.FeedFDW)).target("ml1"); !troubled(troubleFull)(again) {
		t.Errorf("a watcher that has never seen it: %+v", again)
	}
}

func TestModelsOfAReplica(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	w := watch(t, pair(primary, replica, router.FeedFDW))
	replica.Exec(t, `CREATE TABLE points AS SELECT x::real AS x, (2*x)::real AS y FROM generate_series(1, 20) x;
		SELECT pgml.train('line', 'regression', 'public.points', 'y');
		SELECT pgml.train('undeployed', 'regression', 'public.points', 'y', automatic_deploy => false)`)
	w.Look("ml1")
	w.until("ml1", func(t router.Target) bool { return t.Models["line"] && len(t.Models) == 1 })
	replica.Exec(t, "DELETE FROM pgml.files")
	w.Look("ml1")
	w.until("ml1", func(t router.Target) bool { return t.Models != nil && len(t.Models) == 0 })
	replica.Exec(t, "REVOKE USAGE ON SCHEMA pgml FROM "+own)
	w.until("ml1", func(t router.Target) bool { return t.Models == nil })
	if got := w.target("ml1"); !healthy(got) {
		t.Errorf("got %+v", got)
	}
}

// A table that somebody has locked is no trouble of the server's, and takes up no more of
// its processes with each look.
func TestALockedTableIsNoTrouble(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	w := watch(t, pair(primary, replica, router.FeedFDW))
	holder := replica.Super(t, "postgres")
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE pgml.deployments IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mark := replica.Mark(t)
		replica.WaitLog(t, mark, "canceling statement due to lock timeout")
	}
	w.settled(patient(t))
	if got := w.target("ml1"); !healthy(got) || got.Models == nil {
		t.Errorf("got %+v", got)
	}
	if n := number(t, holder, "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+own+"'"); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAnUnknownTargetIsNothingToLookAt(t *testing.T) {
	w := New(Config{})
	defer w.Close()
	w.Look("nobody")
	w.Start(t.Context())
	if _, err := w.Position(t.Context()); err == nil {
		t.Error("a position of nothing")
	}
}
