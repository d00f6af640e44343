package logical

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
)

// victims are what is killed at some moment of a command.
var victims = []string{"pgshunt", "replica", "primary"}

// killBed has tables enough for every step to be there.
const killBed = `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT i, repeat('x', 100) FROM generate_series(1, 2000) i;
	CREATE TABLE b (id bigserial PRIMARY KEY, a int REFERENCES a); INSERT INTO b (a) SELECT i FROM generate_series(1, 100) i;
	CREATE TABLE p (id int, day int, PRIMARY KEY (id, day)) PARTITION BY LIST (day); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
	INSERT INTO p SELECT i, 1 + i % 2 FROM generate_series(1, 100) i`

// TestKilledAnywhere kills pgshunt, the replica and the primary at steps of each command.
// Run again, the command ends as if nothing had been. PGSHUNT_SOAK=1 kills each at every step.
func TestKilledAnywhere(t *testing.T) {
	all := os.Getenv("PGSHUNT_SOAK") != ""
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"public.*"} })
	r.primary.Exec(t, killBed)
	for turn, c := range []struct {
		name    string
		prepare func(t *testing.T)
		command func(context.Context, *feed.Run) error
		after   func(t *testing.T)
	}{
		{"apply", func(*testing.T) {}, Apply, r.equal},
		{"refresh", func(t *testing.T) {
			r.apply(t)
			// The subscription is left without its slot, as after a failover.
			r.replica.Exec(t, "ALTER SUBSCRIPTION pgshunt_postgres_ml1 DISABLE")
			r.freeSlot(t)
			r.primary.Exec(t, "SELECT pg_drop_replication_slot('pgshunt_postgres_ml1')")
		}, Refresh, r.equal},
		{"resync", r.apply, resyncAll, r.equal},
		{"drop", r.apply, Drop, r.nothingLeft},
	} {
		r.clean(t)
		c.prepare(t)
		r.told()
		if err := c.command(limited(t), r.run(t)); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		steps := 0
		for _, e := range r.told() {
			if e.Status != feed.StatusProgress {
				steps++
			}
		}
		for step := range steps {
			for _, victim := range victims {
				if !all && (step != steps/2 || victim != victims[turn%len(victims)]) {
					continue // one step of each command, and one victim
				}
				t.Run(fmt.Sprintf("%s/%d/%s", c.name, step, victim), func(t *testing.T) {
					r.clean(t)
					c.prepare(t)
					r.killAt(t, c.command, step, victim)
					if err := c.command(limited(t), r.run(t)); err != nil {
						t.Fatalf("run again: %v", err)
					}
					c.after(t)
					if state := r.state(t); c.name != "drop" && state.State != "ready" {
						t.Errorf("%+v", state)
					}
				})
			}
		}
	}
}

func resyncAll(ctx context.Context, run *feed.Run) error {
	return Resync(ctx, run, func(string, string) bool { return true })
}

// killAt runs a command and kills a victim at its n-th step.
func (r *rig) killAt(t *testing.T, command func(context.Context, *feed.Run) error, n int, victim string) {
	t.Helper()
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	var count atomic.Int64
	killed := false
	r.heard = func(e feed.Event) {
		if e.Status == feed.StatusProgress || count.Add(1) != int64(n)+1 {
			return
		}
		killed = true
		switch victim {
		case "pgshunt":
			cancel()
		case "replica":
			r.replica.Kill()
		case "primary":
			r.primary.Kill()
		}
	}
	err := command(ctx, r.run(t))
	r.heard = nil
	if killed && err == nil && victim == "pgshunt" && n == 0 {
		t.Error("it did not notice that it was killed")
	}
	r.revive(t)
	r.told()
}

// revive starts what was killed.
func (r *rig) revive(t *testing.T) {
	t.Helper()
	select {
	case <-r.primary.Done():
		if err := r.primary.Restart(limited(t)); err != nil {
			t.Fatal(err)
		}
	case <-r.replica.Done():
		if err := r.replica.Restart(limited(t)); err != nil {
			t.Fatal(err)
		}
	default:
	}
}

// clean removes the feed and the tables of the replica.
func (r *rig) clean(t *testing.T) {
	t.Helper()
	if err := Drop(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.replica.Exec(t, "DROP TABLE IF EXISTS a, b, p CASCADE")
}

// freeSlot waits until nobody uses the feed's slot.
func (r *rig) freeSlot(t *testing.T) {
	t.Helper()
	until := time.Now().Add(10 * time.Second)
	for ask(t, r.primary, "SELECT count(*)::text FROM pg_replication_slots WHERE active") != "0" {
		if time.Now().After(until) {
			t.Fatal("the slot is still in use")
		}
	}
}
