package logical

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

func TestDropDoesWhatItCanWhileAServerIsAway(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	r.apply(t)
	if err := r.replica.Stop(); err != nil {
		t.Fatal(err)
	}
	err := Drop(limited(t), r.run(t))
	if err == nil || !strings.Contains(err.Error(), `SET (slot_name = NONE); DROP SUBSCRIPTION "pgshunt_postgres_ml1"`) {
		t.Errorf("without the replica: %v", err)
	}
	if got := ask(t, r.primary, "SELECT (SELECT count(*) FROM pg_publication) || ' ' || (SELECT count(*) FROM pg_replication_slots)"); got != "0 0" {
		t.Errorf("left on the primary: %s", got)
	}
	if state := r.state(t); state.State != "broken" || problem(t, state, "connect").Server != "ml1" {
		t.Errorf("%+v", state)
	}
	if err := r.replica.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := Drop(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.nothingLeft(t)

	r.apply(t)
	if err := r.primary.Stop(); err != nil {
		t.Fatal(err)
	}
	err = Drop(limited(t), r.run(t))
	if err == nil || !strings.Contains(err.Error(), `SELECT pg_drop_replication_slot('pgshunt_postgres_ml1'); DROP PUBLICATION IF EXISTS "pgshunt_postgres_ml1"`) {
		t.Errorf("without the primary: %v", err)
	}
	if err := r.primary.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := Drop(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.nothingLeft(t)
}

// A copy that fails leaves slots of its own on the primary; they go with the feed.
func TestACopyThatCannotEndIsToldAndLeavesNothing(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t", "u"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x'), (2, NULL); CREATE TABLE u (id int PRIMARY KEY)")
	r.replica.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)")
	err := Apply(limited(t), r.run(t))
	if err == nil || !strings.Contains(err.Error(), "fails again and again") {
		t.Fatal(err)
	}
	if state := r.state(t); state.State != "broken" {
		t.Errorf("%+v", state)
	}
	r.replica.Exec(t, "ALTER TABLE t ALTER v DROP NOT NULL")
	r.apply(t)
	r.equal(t)
	if err := Drop(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.replica.Exec(t, "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)")
	if err := Apply(limited(t), r.run(t)); err == nil {
		t.Fatal("it ended")
	}
	if err := Drop(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.nothingLeft(t)
}

func TestTwoReplicasSideBySideUnderPgbench(t *testing.T) {
	length := 3 * time.Second
	if d, err := time.ParseDuration(os.Getenv("PGSHUNT_SOAK")); err == nil {
		length = d
	}
	primary := pgtest.Primary(t)
	bench := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(primary.Binaries.Dir, "pgbench"), append(args, "-h", primary.SocketDir(), "-p", ask(t, primary, "SHOW port"), "-U", "postgres", "postgres")...)
		cmd.Env = append(os.Environ(), "PGAPPNAME=bench")
		return cmd
	}
	if out, err := bench("-i", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// It has no key, and rows that are the same.
	primary.Exec(t, "ALTER TABLE pgbench_history REPLICA IDENTITY FULL")
	var rigs []*rig
	for _, name := range []string{"ml1", "ml2"} {
		rigs = append(rigs, newRigOn(t, primary, pgtest.Replica(t, pgtest.Options{Settings: soon}), func(c *configs.Replica) {
			c.Name, c.Tables = name, configs.Patterns{"pgbench_*"}
		}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), length+pgtest.Patience)
	defer cancel()
	load := bench("-c", "2", "-n", "-T", strings.TrimSuffix(length.String(), "s"))
	if length >= time.Minute {
		load = bench("-c", "2", "-n", "-T", "60")
	}
	done := make(chan error, 1)
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { done <- load.Wait() }()
	for _, r := range rigs {
		if err := Apply(ctx, r.run(t)); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("pgbench: %v", err)
	}
	for _, r := range rigs {
		r.equal(t)
		if state := r.state(t); state.State != "ready" || state.LagBytes < 0 {
			t.Errorf("%+v", state)
		}
	}
	// One goes, and the other stays.
	if err := Drop(ctx, rigs[0].run(t)); err != nil {
		t.Fatal(err)
	}
	primary.Exec(t, "UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 1")
	rigs[1].equal(t)
}

// primary.url may have what only libpq of PostgreSQL 17 knows.
func TestAReplicaIsGivenNoParameterThatItDoesNotKnow(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.cfg.Primary.URL += "&sslnegotiation=postgres"
	r.valid(t)
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	r.apply(t)
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
	r.told()
	r.apply(t)
	if done := did(r.told(), feed.StatusDone); len(done) > 0 {
		t.Errorf("done again: %q", done)
	}
}

func TestPrintingChangesNothing(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	print := func(command func(context.Context, *feed.Run) error) []feed.Event {
		t.Helper()
		run := r.run(t)
		run.Print = true
		r.told()
		if err := command(limited(t), run); err != nil {
			t.Fatal(err)
		}
		return r.told()
	}
	events := print(Apply)
	var sql []string
	for _, e := range events {
		sql = append(sql, e.SQL)
	}
	all := []string{"CREATE PUBLICATION", "pg_create_logical_replication_slot", "CREATE SUBSCRIPTION"}
	if version(t, r.replica) >= v15 {
		all = append(all, "disable_on_error = true")
	}
	for _, want := range all {
		if !strings.Contains(strings.Join(sql, "\n"), want) {
			t.Errorf("%q is not printed", want)
		}
	}
	r.nothingMade(t)
	r.apply(t)
	for _, command := range []func(context.Context, *feed.Run) error{Drop, resyncAll, Refresh, Apply} {
		if done := did(print(command), feed.StatusDone); len(done) > 0 {
			t.Errorf("it did %q", done)
		}
	}
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
}

// A transaction that is open on the primary holds the slot up, for longer than anything else
// waits for a lock; whose it is is told.
func TestTheSlotWaitsForOpenTransactions(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	conn := r.primary.Super(t, "postgres")
	if _, err := conn.Exec(limited(t), "BEGIN; INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	told := false
	r.heard = func(e feed.Event) {
		if e.Status != feed.StatusNote || !strings.Contains(e.Step, "process") {
			return
		}
		told = true
		pgtest.Eventually(func() bool {
			return ask(t, r.primary, `SELECT coalesce(bool_and(clock_timestamp() - query_start > '5.3s'), true)::text FROM pg_stat_activity
				WHERE query LIKE 'SELECT pg_create_logical_replication_slot%' AND state = 'active'`) == "true"
		})
		if _, err := conn.Exec(context.Background(), "COMMIT"); err != nil {
			t.Error(err)
		}
	}
	r.apply(t)
	if !told {
		t.Error("it was not told what the slot waited for")
	}
	r.equal(t)
}
