package fdw

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// A hot copy that finds no room is one error that says so; the last one stays, and so do the
// foreign tables.
func TestAFullDiskLeavesTheLastHotCopy(t *testing.T) {
	b := newBedOn(t, pgtest.Replica(t), func(r *configs.Replica) { r.FDW.Materialize = configs.Patterns{"public.hot"} })
	b.onPrimary(t, `CREATE TABLE hot (id int PRIMARY KEY, t text); INSERT INTO hot SELECT i, repeat('x', 1500) FROM generate_series(1, 100) i;
		CREATE TABLE cold (id int PRIMARY KEY); INSERT INTO cold VALUES (1); GRANT SELECT ON hot, cold TO reader`)
	b.apply(t)
	b.onPrimary(t, "INSERT INTO hot SELECT i, repeat('x', 1500) FROM generate_series(101, 4000) i; INSERT INTO cold VALUES (2)")
	b.replica.FillDisk(t)
	err := Refresh(t.Context(), b.run(t))
	if err == nil || !strings.HasPrefix(err.Error(), "ml1: copy public.hot: could not extend file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	primary, replica := b.conn(t, b.primary), b.conn(t, b.replica)
	if got := texts(t, replica, "SELECT (SELECT count(*) FROM hot) || ' ' || (SELECT count(*) FROM cold)"); got[0] != "100 2" {
		t.Errorf("the replica has %s rows", got)
	}
	if left := texts(t, replica, "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^pgshunt_'"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	b.replica.FreeDisk(t)
	if err := Refresh(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
	replica = b.conn(t, b.replica) // the other's disk is still full
	tables := tablesOf(t, primary)
	if diff := cmp.Diff(contents(t, primary, tables), contents(t, replica, tables)); diff != "" {
		t.Error(diff)
	}
}
