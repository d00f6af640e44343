package logical

import (
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// found is the problem of a check that Check finds on a server, nil without one.
func (r *rig) found(t *testing.T, server, check string) *feed.Problem {
	t.Helper()
	all, err := Check(limited(t), r.run(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if all[i].Server == server && all[i].Check == check {
			return &all[i]
		}
	}
	return nil
}

// What bounds a replica's origins is a setting of its own from PostgreSQL 18 on.
func TestTheSettingThatBoundsOriginsIsNamed(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	setting := "max_replication_slots"
	if version(t, r.replica) >= v18 {
		setting = "max_active_replication_origins"
	}
	r.replica.Exec(t, "ALTER SYSTEM SET "+setting+" = 0")
	if err := r.replica.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
	p := r.found(t, "ml1", "max_replication_slots")
	if p == nil || !p.Blocks || !strings.Contains(p.Remedy, setting) {
		t.Fatalf("%+v", p)
	}
	r.replica.Exec(t, p.Remedy)
	if err := r.replica.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
	if p := r.found(t, "ml1", "max_replication_slots"); p != nil {
		t.Errorf("%+v", p)
	}
	r.apply(t)
}

// From PostgreSQL 18 on a slot that nobody reads from may be given up after a time.
func TestASlotThatIsGivenUpWhenItIsIdleIsToldOf(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	if version(t, r.primary) < v18 {
		if p := r.found(t, "primary", "idle_slot"); p != nil {
			t.Errorf("%+v", p)
		}
		return
	}
	r.primary.Exec(t, "ALTER SYSTEM SET idle_replication_slot_timeout = '1s'")
	r.primary.Exec(t, "SELECT pg_reload_conf()")
	if !pgtest.Eventually(func() bool { return r.found(t, "primary", "idle_slot") != nil }) {
		t.Fatal("it is not told of")
	}
	r.apply(t)
	r.replica.Exec(t, "ALTER SUBSCRIPTION "+r.run(t).Name+" DISABLE")
	if !pgtest.Eventually(func() bool {
		r.primary.Exec(t, "CHECKPOINT")
		return ask(t, r.primary, "SELECT coalesce(invalidation_reason, '') FROM pg_replication_slots") == "idle_timeout"
	}) {
		t.Fatal("the slot is not given up")
	}
	if p := problem(t, r.state(t), "slot_lost"); !strings.Contains(p.What, "idle_replication_slot_timeout") {
		t.Errorf("%+v", p)
	}
}
