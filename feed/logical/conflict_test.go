package logical

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// problem returns the state's problem of a kind.
func problem(t *testing.T, state feed.State, check string) feed.Problem {
	t.Helper()
	for _, p := range state.Problems {
		if p.Check == check {
			return p
		}
	}
	t.Fatalf("no problem %q in %+v", check, state)
	return feed.Problem{}
}

// doubled tells whether an error of a worker is that a row is there already; the second wording
// is since PostgreSQL 18.
func doubled(text string) bool {
	return strings.Contains(text, "duplicate key value") || strings.Contains(text, "conflict=insert_exists")
}

func TestAConflictIsShownWithTheRowAndTheWayOut(t *testing.T) {
	for _, logged := range []bool{false, true} {
		settings := map[string]string{"wal_retrieve_retry_interval": "100ms"}
		if logged { // then the server can read its own log
			settings["logging_collector"], settings["log_line_prefix"] = "on", "%m [%p] "
		}
		r := newRigOn(t, pgtest.Primary(t), pgtest.Replica(t, pgtest.Options{Settings: settings}), func(c *configs.Replica) { c.Tables = configs.Patterns{"t", "u"} })
		r.primary.Exec(t, "CREATE TABLE t (id int, k text, v text, PRIMARY KEY (id, k)); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t VALUES (1, 'a', 'first')")
		r.apply(t)
		r.replica.Exec(t, "INSERT INTO t VALUES (2, 'it''s', 'somebody else''s')")
		r.primary.Exec(t, "INSERT INTO u VALUES (1); INSERT INTO t VALUES (2, 'it''s', 'right'), (3, 'c', 'more')")
		var state feed.State
		if !pgtest.Eventually(func() bool {
			state = r.state(t)
			return state.State == "broken" && strings.Contains(problem(t, state, "conflict").What, "has the row")
		}) {
			t.Fatalf("%+v", state)
		}
		p := problem(t, state, "conflict")
		const remedy = `DELETE FROM "public"."t" WHERE "id" = '2'::integer AND "k" = 'it''s'::text`
		if p.Remedy != remedy {
			t.Errorf("remedy %q", p.Remedy)
		}
		if !strings.Contains(p.What, "1 inserts in public.u, 2 inserts in public.t") || !strings.Contains(p.Note, "to leave the whole transaction out") {
			t.Errorf("%+v", p)
		}
		if logged != doubled(p.What) {
			t.Errorf("log read: %v: %s", logged, p.What)
		}
		if logged { // one way out
			r.replica.Exec(t, p.Remedy)
			r.equal(t)
		} else { // the other
			r.leaveOut(t, p.Note)
			r.primary.Exec(t, "INSERT INTO u VALUES (2)")
			if !pgtest.Eventually(func() bool { return ask(t, r.replica, "SELECT string_agg(id::text, ',') FROM u") == "2" }) {
				t.Error("it does not go on after the transaction was left out")
			}
		}
		if !pgtest.Eventually(func() bool { return r.state(t).State == "ready" }) {
			t.Errorf("%+v", r.state(t))
		}
	}
}

// leaveOut follows the note of a conflict to go on behind the transaction.
func (r *rig) leaveOut(t *testing.T, note string) {
	t.Helper()
	const name = `ALTER SUBSCRIPTION "pgshunt_postgres_ml1" `
	if version(t, r.replica) >= v15 {
		_, skip, _ := strings.Cut(note, name)
		r.replica.Exec(t, name+skip[:strings.Index(skip, ")")+1])
		return
	}
	_, advance, told := strings.Cut(note, name+"DISABLE; then, once its worker has ended, ")
	if !told {
		t.Fatalf("no way is told: %s", note)
	}
	advance, _, _ = strings.Cut(advance, ";")
	r.replica.Exec(t, name+"DISABLE")
	if !pgtest.Eventually(func() bool {
		return ask(t, r.replica, "SELECT count(*)::text FROM pg_stat_subscription WHERE pid IS NOT NULL") == "0"
	}) {
		t.Fatal("the worker goes on")
	}
	r.replica.Exec(t, advance)
	r.replica.Exec(t, name+"ENABLE")
}

// A change that finds no row is no error for PostgreSQL.
func TestRowsThatAreMissingAreToldOf(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
	r.apply(t)
	r.replica.Exec(t, "DELETE FROM t WHERE id < 3")
	r.primary.Exec(t, "UPDATE t SET v = 'x'; DELETE FROM t WHERE id = 2")
	if !pgtest.Eventually(func() bool { return ask(t, r.replica, "SELECT v FROM t WHERE id = 3") == "x" }) {
		t.Fatal("it does not follow")
	}
	if version(t, r.replica) < v18 { // nobody counts them
		if state := r.state(t); state.State != "ready" {
			t.Errorf("%+v", state)
		}
		return
	}
	told := func() (p feed.Problem) {
		pgtest.Eventually(func() bool { // a worker tells what it has counted now and then
			for _, p = range r.state(t).Problems {
				if p.Check == "missing" && strings.HasPrefix(p.What, "3 rows") {
					return true
				}
			}
			p = feed.Problem{}
			return false
		})
		return p
	}
	p := told()
	if p.Remedy == "" || p.Blocks {
		t.Fatalf("%+v", r.state(t))
	}
	r.replica.Exec(t, p.Remedy)
	if state := r.state(t); strings.Contains(fmt.Sprint(state), "were not here") || state.State != "ready" {
		t.Errorf("%+v", state)
	}
}

// A worker that begins again at once after each error is connected at nearly any moment.
func TestASubscriptionThatFailsAgainAndAgainIsNotReady(t *testing.T) {
	r := newRigOn(t, pgtest.Primary(t), pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"wal_retrieve_retry_interval": "1ms"}}),
		func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	r.apply(t)
	r.replica.Exec(t, "INSERT INTO t VALUES (1)")
	r.primary.Exec(t, "INSERT INTO t VALUES (1)")
	if !pgtest.Eventually(func() bool {
		return slices.ContainsFunc(r.replica.LogLines(t, 0), func(l pgtest.Line) bool { return l.Level == "ERROR" && doubled(l.Text) })
	}) {
		t.Fatal("there is no error")
	}
	for range 5 {
		if state := r.state(t); state.State != "broken" || problem(t, state, "conflict").What == "" {
			t.Fatalf("%+v", state)
		}
	}
	r.replica.Exec(t, "DELETE FROM t")
	r.equal(t)
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
}

func TestASlotThatHasLostItsWALIsMadeAnew(t *testing.T) {
	r := newRigOn(t, pgtest.Primary(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "4MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}}),
		pgtest.Replica(t, pgtest.Options{Settings: soon}), func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i; CREATE TABLE noise (v text)")
	r.apply(t)
	r.replica.Exec(t, "ALTER SUBSCRIPTION pgshunt_postgres_ml1 DISABLE")
	if state := r.state(t); state.State != "stopped" || problem(t, state, "disabled").Remedy == "" {
		t.Errorf("%+v", state)
	}
	r.freeSlot(t)
	for range 5 {
		r.primary.Exec(t, "INSERT INTO noise SELECT md5(i::text) FROM generate_series(1, 60000) i")
		r.primary.Exec(t, "SELECT pg_switch_wal()")
		r.primary.Exec(t, "CHECKPOINT")
	}
	state := r.state(t)
	if state.State != "broken" || !strings.Contains(problem(t, state, "slot_lost").Note, "feed refresh --replica ml1") {
		t.Fatalf("%+v", state)
	}
	if err := Apply(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "has lost WAL") {
		t.Errorf("apply of a lost slot: %v", err)
	}
	if err := Refresh(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
}
