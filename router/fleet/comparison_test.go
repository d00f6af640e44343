package fleet

import (
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// A Comparison sees each change, and gives its connections back.
func TestAComparisonIsAsked(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	c, err := NewComparison(patient(t), pair(primary, replica, router.FeedNone), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	kept := func() int {
		f, err := c.Fleet(patient(t))
		if err != nil {
			t.Fatal(err)
		}
		relations, _ := f.Catalogs["postgres"].Size()
		return relations
	}
	before := kept()
	primary.Exec(t, "CREATE TABLE only_there (v int)")
	if after := kept(); after != before+1 {
		t.Errorf("%d relations are kept, and %d after one more", before, after)
	}
	c.Close()
	conn := primary.Super(t, "postgres")
	if !pgtest.Eventually(func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+own+"'") == 0
	}) {
		t.Error("it is still connected")
	}
	replica.Kill()
	if _, err := NewComparison(patient(t), pair(primary, replica, router.FeedNone), "postgres"); err == nil {
		t.Error("it compares with a server that is gone")
	}
}
