package dump

import (
	"context"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

// A copy that finds no room is one error that says so, and the last one stays as it was.
func TestAFullDiskLeavesTheLastCopy(t *testing.T) {
	replica := pgtest.Replica(t)
	b := bedOn(t, pgtest.SharedPrimary(t), replica, nil)
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY, t text); INSERT INTO a SELECT i, repeat('x', 1500) FROM generate_series(1, 100) i; CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1)")
	b.refresh(t)
	old := strings.Join(contents(t, b.replica), "\n")
	exec(t, b.primary, "INSERT INTO a SELECT i, repeat('x', 1500) FROM generate_series(101, 4000) i; INSERT INTO b VALUES (2)")
	replica.FillDisk(t)
	err := Refresh(context.Background(), b.Run)
	if err == nil || !strings.HasPrefix(err.Error(), "ml1: copy public.a: could not extend file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if now := strings.Join(contents(t, b.replica), "\n"); now != old {
		t.Errorf("the replica has\n%s\nand had\n%s", now, old)
	}
	b.tidy(t)
	replica.FreeDisk(t)
	b.refresh(t)
	b.equal(t)
}
