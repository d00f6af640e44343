package logical

import (
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// The slot of a replica that goes back in time, by a backup or by a standby of its own that takes
// its place, does not go back with it: the rows of between are missing, and only the replica's
// timeline tells.
func TestAReplicaThatWasRestoredIsToldOf(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
	r.apply(t)
	// Stopped, a standby is a backup of that time.
	backup := pgtest.Standby(t, r.replica, pgtest.Options{Settings: soon})
	if !pgtest.Eventually(func() bool { return ask(t, backup, "SELECT count(*)::text FROM t") == "1" }) {
		t.Fatal("the standby does not follow")
	}
	if err := backup.Stop(); err != nil {
		t.Fatal(err)
	}
	r.primary.Exec(t, "INSERT INTO t VALUES (2)")
	r.equal(t)
	if !pgtest.Eventually(func() bool {
		return ask(t, r.primary, "SELECT (confirmed_flush_lsn >= pg_current_wal_lsn())::text FROM pg_replication_slots") == "true"
	}) {
		t.Fatal("it is not confirmed")
	}
	r.replica.Kill()
	r.restart(t, backup)
	backup.Exec(t, "SELECT pg_promote()")
	r.replica = backup
	r.cfg.Replicas[0].URL = configs.URL(backup.URL("postgres", "postgres"))
	r.primary.Exec(t, "INSERT INTO t VALUES (3)")
	if !pgtest.Eventually(func() bool { return ask(t, backup, "SELECT max(id)::text FROM t") == "3" }) {
		t.Fatal("it does not go on")
	}
	if got := ask(t, backup, "SELECT string_agg(id::text, ',' ORDER BY id) FROM t"); got != "1,3" {
		t.Fatalf("the replica has %s", got)
	}
	if p := problem(t, r.state(t), "restored"); !p.Blocks || p.Remedy != "pgshunt feed verify --replica ml1 --repair" || !strings.Contains(p.What, "(its timeline 1, now 2)") {
		t.Errorf("%+v", p)
	}
	if err := Resync(limited(t), r.run(t), func(string, string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
	if state := r.state(t); state.State != "ready" || slices.ContainsFunc(state.Problems, func(p feed.Problem) bool { return p.Blocks }) {
		t.Errorf("%+v", state)
	}
}
