package logical

import (
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// A connection that is lost is an error of the worker, which would disable a subscription that has
// disable_on_error: a feed that was applied goes on by itself, whenever that happens.
func TestALostConnectionStopsNoFeed(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
	r.apply(t)
	cut := func() {
		t.Helper()
		r.primary.Exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
	}
	for _, one := range []struct {
		name string
		lose func()
	}{
		{"right after apply", cut},
		{"later", cut},
		{"by a restart of the primary", func() {
			if err := r.primary.Restart(limited(t)); err != nil {
				t.Fatal(err)
			}
		}},
		{"by a crash of the primary", func() {
			r.primary.Kill()
			if err := r.primary.Restart(limited(t)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		one.lose()
		r.primary.Exec(t, "INSERT INTO t SELECT max(id) + 1 FROM t")
		r.equal(t)
		if state := r.state(t); state.State != "ready" {
			t.Errorf("%s: %+v", one.name, state)
		}
		if !pgtest.Eventually(func() bool {
			return ask(t, r.primary, "SELECT bool_and(active)::text FROM pg_replication_slots") == "true"
		}) {
			t.Fatalf("%s: nobody reads from the slot", one.name)
		}
	}
}

// A command that was killed before its end leaves the option on, as somebody may who likes it.
func TestStatusTellsOfAnOptionThatWouldStopTheFeed(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	if version(t, r.replica) < v15 {
		return // there is no such option
	}
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	r.apply(t)
	r.replica.Exec(t, "ALTER SUBSCRIPTION pgshunt_postgres_ml1 SET (disable_on_error = true)")
	if p := problem(t, r.state(t), "disable_on_error"); p.Blocks || !strings.Contains(p.Note, "pgshunt feed apply --replica ml1") {
		t.Errorf("%+v", p)
	}
	r.apply(t)
	if state := r.state(t); state.State != "ready" || slices.ContainsFunc(state.Problems, func(p feed.Problem) bool { return p.Check == "disable_on_error" }) {
		t.Errorf("%+v", state)
	}
}
