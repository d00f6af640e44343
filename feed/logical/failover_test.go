package logical

import (
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// follower is a hot standby of the rig's primary that has the primary's slots that fail over.
func (r *rig) follower(t *testing.T) *pgtest.Server {
	t.Helper()
	r.primary.Exec(t, "SELECT pg_create_physical_replication_slot('standby')")
	standby := pgtest.Standby(t, r.primary, pgtest.Options{Settings: map[string]string{
		"sync_replication_slots": "on", "hot_standby_feedback": "on", "primary_slot_name": "standby",
	}})
	// What the standby does not have yet is not sent to the replica either.
	r.primary.Exec(t, "ALTER SYSTEM SET synchronized_standby_slots = 'standby'")
	r.primary.Exec(t, "SELECT pg_reload_conf()")
	return standby
}

// followed waits until the standby could go on in the primary's place.
func (r *rig) followed(t *testing.T, standby *pgtest.Server) {
	t.Helper()
	if !pgtest.Eventually(func() bool {
		r.primary.Exec(t, "SELECT pg_log_standby_snapshot()") // a slot can begin there
		return ask(t, standby, "SELECT count(*)::text FROM pg_replication_slots WHERE synced AND NOT temporary") == "1"
	}) {
		t.Fatalf("the slot is not on the standby: %s", ask(t, standby, "SELECT string_agg(l::text, E'\n') FROM pg_replication_slots l"))
	}
}

// promoted makes a standby the primary of the configuration, after the primary has crashed.
func (r *rig) promoted(t *testing.T, standby *pgtest.Server) {
	t.Helper()
	r.primary.Kill()
	standby.Exec(t, "SELECT pg_promote()")
	r.primary = standby
	r.cfg.Primary.URL = configs.URL(standby.URL("postgres", "postgres"))
}

// fedAnew has a feed that cannot go on, which status and apply say, made anew by a refresh.
func (r *rig) fedAnew(t *testing.T, why string) {
	t.Helper()
	if p := problem(t, r.state(t), "slot_lost"); !strings.Contains(p.What, why) {
		t.Errorf("%+v", p)
	}
	if err := Apply(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "feed refresh --replica ml1") {
		t.Errorf("%v", err)
	}
	if err := Refresh(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
}

// No slot fails over before PostgreSQL 17, and there is one case then.
func TestFailover(t *testing.T) {
	cases := map[string]func(*testing.T, *rig){"without its slot": withoutItsSlot}
	if newRig(t, nil).primary.Binaries.Major() >= 17 {
		cases["with its slot"] = withItsSlot
		cases["to a standby that the replica is ahead of"] = isAhead
		cases["to a standby that the replica was ahead of"] = wasAhead
	}
	for name, failover := range cases {
		t.Run(name, func(t *testing.T) {
			failover(t, newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} }))
		})
	}
}

// From PostgreSQL 17 on the slot is on the standby too: once that has been promoted the next
// apply goes on there, with all that was written meanwhile and without a copy.
func withItsSlot(t *testing.T, r *rig) {
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
	r.apply(t)
	standby := r.follower(t)
	r.followed(t, standby)
	r.primary.Exec(t, "INSERT INTO t VALUES (1000)")
	if !pgtest.Eventually(func() bool { return ask(t, standby, "SELECT count(*)::text FROM t") == "101" }) {
		t.Fatal("the standby does not follow")
	}
	r.promoted(t, standby)
	standby.Exec(t, "INSERT INTO t VALUES (1001)")
	if p := problem(t, r.state(t), "source"); !strings.Contains(p.Note, "feed apply --replica ml1") {
		t.Errorf("%+v", p)
	}
	r.told()
	r.apply(t)
	events := r.told()
	if done := did(events, feed.StatusDone); !slices.Equal(done, []string{"tell the subscription how to reach the primary"}) {
		t.Errorf("apply did %q", done)
	}
	r.equal(t)
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
	if err := Drop(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	if left := ask(t, r.primary, "SELECT string_agg(slot_name, ', ') FROM pg_replication_slots WHERE slot_type = 'logical'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func withoutItsSlot(t *testing.T, r *rig) {
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
	r.apply(t)
	standby := pgtest.Standby(t, r.primary)
	r.primary.Exec(t, "INSERT INTO t VALUES (1000)")
	if !pgtest.Eventually(func() bool { return ask(t, standby, "SELECT count(*)::text FROM t") == "101" }) {
		t.Fatal("the standby does not follow")
	}
	r.promoted(t, standby)
	standby.Exec(t, "INSERT INTO t VALUES (1001)")
	r.fedAnew(t, "has no slot")
}

// outrun promotes a standby that has not received all that the replica has.
func (r *rig) outrun(t *testing.T, standby *pgtest.Server) {
	t.Helper()
	standby.Kill()
	r.primary.Exec(t, "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(101, 300) i")
	r.equal(t)
	r.primary.Kill()
	if err := standby.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
	r.promoted(t, standby)
}

// A standby that had not received all that the replica has would give its new rows positions
// that the replica has passed already, and they would be missing without a word.
func isAhead(t *testing.T, r *rig) {
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT generate_series(1, 100)")
	r.apply(t)
	standby := r.follower(t)
	r.followed(t, standby)
	if !pgtest.Eventually(func() bool { return ask(t, standby, "SELECT count(*)::text FROM t") == "100" }) {
		t.Fatal("the standby does not follow")
	}
	r.primary.Exec(t, "ALTER SYSTEM RESET synchronized_standby_slots")
	r.primary.Exec(t, "SELECT pg_reload_conf()")
	if p := problem(t, r.state(t), "failover"); p.Blocks || !strings.Contains(p.Remedy, "synchronized_standby_slots = 'standby'") {
		t.Errorf("%+v", p)
	}
	r.outrun(t, standby)
	standby.Exec(t, "INSERT INTO t VALUES (1001)")
	r.fedAnew(t, "has applied what this primary never had")
}

// The position of a primary that is written to passes that of the replica soon, and does not tell
// what it never had; where the standby parted from the lost primary does.
func wasAhead(t *testing.T, r *rig) {
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT generate_series(1, 100)")
	r.apply(t)
	standby := r.follower(t)
	r.followed(t, standby)
	r.primary.Exec(t, "ALTER SYSTEM RESET synchronized_standby_slots")
	r.primary.Exec(t, "SELECT pg_reload_conf()")
	r.outrun(t, standby)
	standby.Exec(t, "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1001, 2000) i")
	// A restart takes along what the server remembers of its recovery.
	if err := standby.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
	r.fedAnew(t, "has applied what this primary never had")
	r.cfg.Primary.URL += "&connect_timeout=9" // another address, of the same primary
	r.apply(t)
}
