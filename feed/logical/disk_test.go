package logical

import (
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// A first copy that finds no room ends in one error that says so; when there is room the next
// apply goes on. Once a replica that follows has no room, status says so, and it goes on by
// itself when there is some.
func TestAFullDiskIsToldAndNotTheEnd(t *testing.T) {
	// The collector is there for its log to be readable through SQL. A worker that failed comes
	// back as late as usual, so that status can see that there is none.
	replica := pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"logging_collector": "on"}})
	r := newRigOn(t, pgtest.Primary(t), replica, func(c *configs.Replica) { c.Tables = configs.Patterns{"t", "u"} })
	const more = "INSERT INTO t SELECT i, repeat('x', 1500) FROM generate_series(%) i"
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1); "+strings.Replace(more, "%", "1, 4000", 1))
	r.replica.FillDisk(t)
	err := Apply(limited(t), r.run(t))
	if err == nil || !strings.Contains(err.Error(), "could not extend file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	// A connection goes on to have the disk that it began with.
	var rows int
	if err := r.replica.Super(t, "postgres").QueryRow(limited(t), "SELECT count(*) FROM t").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows of half a copy, %v", rows, err)
	}
	r.replica.FreeDisk(t)
	r.apply(t)
	r.equal(t)

	// The worker has to be one that is started afterwards.
	name := r.run(t).Name
	r.replica.Exec(t, "ALTER SUBSCRIPTION "+name+" DISABLE")
	if !pgtest.Eventually(func() bool {
		return ask(t, r.replica, "SELECT count(*)::text FROM pg_stat_activity WHERE backend_type = 'logical replication worker'") == "0"
	}) {
		t.Fatal("the worker goes on")
	}
	r.replica.FillDisk(t)
	r.replica.Exec(t, "ALTER SUBSCRIPTION "+name+" ENABLE")
	r.primary.Exec(t, strings.Replace(more, "%", "4001, 8000", 1))
	told := func() bool {
		state := r.state(t)
		return state.State == "broken" && strings.Contains(state.Problems[len(state.Problems)-1].What, "could not extend file")
	}
	if !pgtest.Eventually(told) {
		t.Errorf("%+v", r.state(t))
	}
	r.replica.FreeDisk(t)
	r.equal(t)
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
}
