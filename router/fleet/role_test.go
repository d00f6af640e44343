package fleet

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

func promote(t *testing.T, standby *pgtest.Server) {
	t.Helper()
	standby.Exec(t, "SELECT pg_promote(true, 30)")
}

// port is where a role other than pgshunt's own would log in.
func (w *watching) port(t *testing.T, hosts func(string) (*pgconn.Config, error)) uint16 {
	t.Helper()
	cfg, err := hosts("")
	if err != nil {
		t.Fatal(err)
	}
	w.AtPrimary(cfg)
	for _, f := range cfg.Fallbacks {
		if f.Port != cfg.Port {
			t.Errorf("%d and %d are both the primary", cfg.Port, f.Port)
		}
	}
	return cfg.Port
}

func TestThePrimaryIsFollowedThroughAFailover(t *testing.T) {
	old := primaryServer(t)
	next := pgtest.Standby(t, old)
	hosts := login(next, old) // the standby first: order does not make a primary
	pgtest.NoLeaks(t)
	w := watch(t, Config{Servers: []Server{{Name: "primary", Login: hosts}}})
	if got := w.port(t, hosts); got != uint16(old.Port) {
		t.Fatalf("the primary is at %d", got)
	}
	before := w.position()

	old.Kill()
	w.until("primary", troubled(troubleRefused))
	if got := w.port(t, hosts); got != uint16(old.Port) {
		t.Errorf("without a primary logins go to %d", got)
	}
	promote(t, next)
	w.until("primary", healthy)
	if got := w.port(t, hosts); got != uint16(next.Port) {
		t.Fatalf("the primary is at %d", got)
	}
	if after := w.position(); after < before {
		t.Errorf("position %d after %d", after, before)
	}

	// The old primary comes back and believes that it is one still.
	if err := old.Restart(patient(t)); err != nil {
		t.Fatal(err)
	}
	mark := old.Mark(t)
	w.Look("primary")
	old.WaitStatement(t, mark, "pg_control_system")
	w.settled(patient(t))
	if got := w.port(t, hosts); got != uint16(next.Port) {
		t.Errorf("the old primary is followed, at %d", got)
	}
	// Even when nobody else answers: what it has is the past.
	next.Kill()
	w.until("primary", troubled(troubleRefused))
	if got := w.port(t, hosts); got != uint16(next.Port) {
		t.Errorf("the old primary is followed, at %d", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := []uint16{uint16(old.Port), uint16(next.Port)}; !slices.Equal(w.primaries, want) {
		t.Errorf("Primary was called with %v, want %v", w.primaries, want)
	}
}

// A watcher that begins between two servers that are not in recovery takes the one that
// was promoted.
func TestOfTwoPrimariesThePromotedOneIsRight(t *testing.T) {
	old := primaryServer(t)
	next := pgtest.Standby(t, old)
	promote(t, next)
	other := primaryServer(t) // of another cluster, as a wrong url may name it
	for _, hosts := range []func(string) (*pgconn.Config, error){login(old, next), login(next, old), login(next, other), login(old, next, other)} {
		w := watch(t, Config{Servers: []Server{{Name: "primary", Login: hosts}}})
		if got := w.port(t, hosts); got != uint16(next.Port) {
			t.Errorf("the primary is at %d", got)
		}
	}
}

func TestAStandbyAsReplica(t *testing.T) {
	primary := primaryServer(t)
	primary.Exec(t, "CREATE TABLE t (v int)")
	standby := pgtest.Standby(t, primary)
	w := watch(t, Config{Servers: []Server{
		{Name: "primary", Login: login(primary)},
		{Name: "ml1", Replica: true, Reads: true, Feed: router.FeedNative, Login: login(standby)},
	}})
	w.until("ml1", func(t router.Target) bool { return healthy(t) && t.Standby && t.LagKnown })
	from, to := primary.Super(t, "postgres"), standby.Super(t, "postgres")
	for i := range 50 {
		if _, err := from.Exec(t.Context(), "INSERT INTO t VALUES ($1)", i); err != nil {
			t.Fatal(err)
		}
		w.applied(w.position())
		if number(t, to, "SELECT count(*) FROM t WHERE v = $1", i) != 1 {
			t.Fatalf("row %d is said to be applied, and is not there", i)
		}
	}
	standby.Exec(t, "SELECT pg_wal_replay_pause()")
	primary.Exec(t, "INSERT INTO t VALUES (100)")
	position := w.position()
	if err := w.WaitApplied(soon(t), "ml1", position); err == nil {
		t.Fatal("replay is paused, and the position applied")
	}
	w.until("ml1", func(t router.Target) bool { return t.LagKnown && t.Lag > 0 })
	standby.Exec(t, "SELECT pg_wal_replay_resume()")
	w.applied(position)
	w.until("ml1", func(t router.Target) bool { return t.LagKnown && t.Lag == 0 })

	// A standby that has been promoted is nobody's copy.
	promote(t, standby)
	w.until("ml1", troubled(troubleNoStandby))
	w.until("ml1", func(t router.Target) bool { return !t.LagKnown })
}

func TestLagGrowsWhileTheApplyStandsStill(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	subscribe(t, primary, replica)
	w := watch(t, pair(primary, replica, router.FeedLogical))
	w.until("ml1", func(t router.Target) bool { return t.LagKnown && t.Lag == 0 })
	replica.Exec(t, "ALTER SUBSCRIPTION feed DISABLE")
	primary.Exec(t, "INSERT INTO t (v) VALUES (1)")
	w.until("ml1", func(t router.Target) bool { return t.LagKnown && t.Lag >= 2e9 })
	if err := w.WaitLag(soon(t), "ml1", 1e9); err == nil {
		t.Error("within a second, and it is not")
	}
	if err := w.WaitLag(patient(t), "ml1", 3600e9); err != nil {
		t.Error(err)
	}
	replica.Exec(t, "ALTER SUBSCRIPTION feed ENABLE")
	if err := w.WaitLag(patient(t), "ml1", 1e9); err != nil {
		t.Error(err)
	}
	w.until("ml1", func(t router.Target) bool { return t.LagKnown && t.Lag == 0 })
	primary.Kill()
	w.until("ml1", func(t router.Target) bool { return !t.LagKnown })
}

func TestAgeOfADump(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	w := watch(t, pair(primary, replica, router.FeedDump))
	replica.Exec(t, `CREATE SCHEMA pgshunt; CREATE TABLE pgshunt.copies (relation text, copied_at timestamptz);
		GRANT USAGE ON SCHEMA pgshunt TO own; GRANT SELECT ON pgshunt.copies TO own;
		INSERT INTO pgshunt.copies VALUES ('public.a', now()), ('public.b', now() - interval '90 minutes')`)
	w.until("ml1", func(t router.Target) bool { return t.LagKnown && t.Lag.Minutes() >= 90 && t.Lag.Hours() <= 2 })
	if err := w.WaitLag(patient(t), "ml1", 24*time.Hour); err != nil {
		t.Errorf("a copy that is young enough: %v", err)
	}
	var behind *Behind
	if err := w.WaitLag(patient(t), "ml1", time.Hour); !errors.As(err, &behind) || !behind.LagKnown || behind.Lag < 90*time.Minute {
		t.Errorf("a copy that is too old: %v", err)
	}
	replica.Exec(t, "DELETE FROM pgshunt.copies")
	w.until("ml1", func(t router.Target) bool { return !t.LagKnown })
	if err := w.WaitLag(patient(t), "ml1", 24*time.Hour); !errors.As(err, new(*NotMeasured)) {
		t.Errorf("a copy of no known age: %v", err)
	}
}

func TestReadIsOneLook(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	subscribe(t, primary, replica)
	pgtest.NoLeaks(t)
	f, err := Read(patient(t), pair(primary, replica, router.FeedLogical), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Targets[1]; !healthy(got) || !got.LagKnown {
		t.Errorf("got %+v", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ended, pair(primary, replica, router.FeedLogical), "postgres"); err == nil {
		t.Error("a snapshot without a look")
	}
}
