package logical

import (
	"context"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// mishap is what somebody does to a feed by hand, what status tells of it, and what mends it.
type mishap struct {
	name string
	do   func(t *testing.T, r *rig)
	// check and what are of the problem that is told.
	check, what string
	// mend does what the problem says.
	mend func(t *testing.T, r *rig, p feed.Problem)
}

const its = "pgshunt_postgres_ml1" // name

func (r *rig) restart(t *testing.T, s *pgtest.Server) {
	t.Helper()
	if err := s.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
}

// cut ends the sender of the feed's slot, so that the worker connects anew.
func (r *rig) cut(t *testing.T) {
	t.Helper()
	r.primary.Exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL")
}

// by has a command mend what the problem tells to be mended by it.
func by(name string, command func(context.Context, *feed.Run) error) func(*testing.T, *rig, feed.Problem) {
	return func(t *testing.T, r *rig, p feed.Problem) {
		t.Helper()
		if !strings.Contains(p.Remedy+" "+p.Note, "pgshunt feed "+name+" --replica ml1") {
			t.Errorf("%s is not told: %+v", name, p)
		}
		if err := command(limited(t), r.run(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func there(t *testing.T, r *rig, p feed.Problem) { t.Helper(); r.replica.Exec(t, p.Remedy) }

var mishaps = []mishap{
	{"disabled, and there have been errors", func(t *testing.T, r *rig) {
		r.replica.Exec(t, "INSERT INTO t VALUES (200)")
		r.primary.Exec(t, "INSERT INTO t VALUES (200)")
		if version(t, r.replica) >= v15 && !pgtest.Eventually(func() bool {
			return ask(t, r.replica, "SELECT apply_error_count::text FROM pg_stat_subscription_stats") != "0"
		}) {
			t.Fatal("no error is counted")
		}
		r.replica.Exec(t, "DELETE FROM t WHERE id = 200")
		r.equal(t)
		r.replica.Exec(t, "ALTER SUBSCRIPTION "+its+" DISABLE")
	}, "disabled", "is disabled", there},
	{"its publication is dropped", func(t *testing.T, r *rig) {
		r.primary.Exec(t, "DROP PUBLICATION "+its)
		r.primary.Exec(t, "INSERT INTO t VALUES (201)")
	}, "slot_lost", "has no publication", by("refresh", Refresh)},
	{"its publication is dropped and made again", func(t *testing.T, r *rig) {
		r.primary.Exec(t, "DROP PUBLICATION "+its)
		r.primary.Exec(t, "INSERT INTO t VALUES (202)")
		r.primary.Exec(t, "CREATE PUBLICATION "+its+" FOR TABLE ONLY t")
	}, "slot_lost", "made again by somebody", by("refresh", Refresh)},
	{"a table is dropped on the replica", func(t *testing.T, r *rig) {
		r.replica.Exec(t, "DROP TABLE t")
		r.primary.Exec(t, "INSERT INTO t VALUES (203)")
	}, "conflict", "the replica has no public.t", by("apply", Apply)},
	{"its subscription is dropped", func(t *testing.T, r *rig) {
		r.replica.Exec(t, "DROP SUBSCRIPTION "+its)
		r.primary.Exec(t, "INSERT INTO t VALUES (204)")
	}, "subscription", "was dropped", by("refresh", Refresh)},
	{"its role may not replicate any more", func(t *testing.T, r *rig) {
		r.primary.Exec(t, "ALTER ROLE source NOREPLICATION")
		r.cut(t)
		r.primary.Exec(t, "INSERT INTO t VALUES (205)")
	}, "replication", "source, as which ml1 connects, may not replicate", func(t *testing.T, r *rig, p feed.Problem) { t.Helper(); r.primary.Exec(t, p.Remedy) }},
	{"its role may not log in any more", func(t *testing.T, r *rig) {
		r.primary.Exec(t, "ALTER ROLE source NOLOGIN")
		r.cut(t)
		r.primary.Exec(t, "INSERT INTO t VALUES (206)")
	}, "source", "is not permitted to log in", func(t *testing.T, r *rig, _ feed.Problem) { t.Helper(); r.primary.Exec(t, "ALTER ROLE source LOGIN") }},
	{"the replica has another row of a unique value", func(t *testing.T, r *rig) {
		r.replica.Exec(t, "INSERT INTO t VALUES (900, 'same')")
		r.primary.Exec(t, "INSERT INTO t VALUES (207, 'same')")
	}, "conflict", `has the row already where "v" = 'same'`, there},
	{"a row comes to have a unique value of another one", func(t *testing.T, r *rig) {
		r.replica.Exec(t, "INSERT INTO t VALUES (901, 'other')")
		r.primary.Exec(t, "UPDATE t SET id = 208, v = 'other' WHERE id = 207")
	}, "conflict", `has the row already where "v" = 'other'`, there},
	{"the replica has no workers", func(t *testing.T, r *rig) {
		r.replica.Exec(t, "ALTER SYSTEM SET max_logical_replication_workers = 0")
		r.restart(t, r.replica)
		r.primary.Exec(t, "INSERT INTO t VALUES (209)")
	}, "max_logical_replication_workers", "the subscription has none", func(t *testing.T, r *rig, p feed.Problem) { t.Helper(); there(t, r, p); r.restart(t, r.replica) }},
	{"the primary writes no logical WAL any more", func(t *testing.T, r *rig) {
		r.replica.Exec(t, "ALTER SUBSCRIPTION "+its+" DISABLE")
		r.freeSlot(t)
		r.primary.Exec(t, "SELECT pg_drop_replication_slot('"+its+"')") // with it the server would not start
		r.primary.Exec(t, "ALTER SYSTEM SET wal_level = replica")
		r.restart(t, r.primary)
	}, "slot_lost", "has no slot", func(t *testing.T, r *rig, p feed.Problem) {
		t.Helper()
		if err := Refresh(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "ALTER SYSTEM SET wal_level = 'logical'") {
			t.Errorf("%v", err)
		}
		r.primary.Exec(t, "ALTER SYSTEM SET wal_level = 'logical'")
		r.restart(t, r.primary)
		by("refresh", Refresh)(t, r, p)
	}},
}

// Whatever somebody does to a feed, status tells of it with what mends it, and that does.
func TestMishapsAreToldAndMended(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE); INSERT INTO t SELECT generate_series(1, 100)")
	r.primary.Exec(t, "CREATE ROLE source LOGIN REPLICATION; GRANT SELECT ON t TO source")
	r.cfg.Replicas[0].Source.URL = configs.URL(r.primary.URL("source", "postgres"))
	r.valid(t)
	r.apply(t)
	for _, m := range mishaps {
		t.Run(m.name, func(t *testing.T) {
			m.do(t, r)
			var state feed.State
			var told feed.Problem
			if !pgtest.Eventually(func() bool {
				state = r.state(t)
				for _, p := range state.Problems {
					if p.Check == m.check && strings.Contains(p.What, m.what) {
						told = p
					}
				}
				return told.Check != ""
			}) {
				t.Fatalf("not told: %+v", state)
			}
			if !told.Blocks || state.State != "broken" && state.State != "stopped" {
				t.Errorf("%+v", state)
			}
			m.mend(t, r, told)
			r.equal(t)
			if !pgtest.Eventually(func() bool { state = r.state(t); return state.State == "ready" }) {
				t.Errorf("afterwards: %+v", state)
			}
			for _, p := range state.Problems {
				if p.Blocks {
					t.Errorf("left: %+v", p)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}
