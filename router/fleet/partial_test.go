package fleet

import (
	"fmt"
	"regexp"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// A table of which a publication leaves something out is not the primary's.
func TestWhatIsPublishedInPart(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	const tables = `CREATE TABLE whole (id int PRIMARY KEY, v int); CREATE TABLE filtered (id int PRIMARY KEY, v int);
		CREATE TABLE narrow (id int PRIMARY KEY, v int); CREATE TABLE appended (id int PRIMARY KEY);
		CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
		CREATE TABLE part2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
		CREATE TABLE roots (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE root1 PARTITION OF roots FOR VALUES FROM (0) TO (10);
		CREATE VIEW seen AS SELECT id FROM filtered`
	primary.Exec(t, tables)
	replica.Exec(t, tables)
	publications := `CREATE PUBLICATION feed FOR TABLE whole, filtered WHERE (id > 0), narrow (id), part1, part2 WHERE (id > 11);
		CREATE PUBLICATION inserts FOR TABLE appended WITH (publish = 'insert');
		CREATE PUBLICATION root FOR TABLE roots WHERE (id > 0) WITH (publish_via_partition_root);
		CREATE PUBLICATION stranger FOR TABLE whole WHERE (id > 0)`
	limited := inPart
	if primary.Binaries.Major() < 15 { // which has no filters and lists
		publications, limited = regexp.MustCompile(` WHERE \(.*?\)| \(id\)`).ReplaceAllString(publications, ""), ""
	}
	primary.Exec(t, publications)
	replica.Exec(t, fmt.Sprintf("CREATE SUBSCRIPTION feed CONNECTION '%s' PUBLICATION feed, inserts, root", primary.URL(primary.Superuser(), "postgres")))
	defer replica.Exec(t, "DROP SUBSCRIPTION feed")
	conn := replica.Super(t, "postgres")
	if !pgtest.Eventually(func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'") == 7
	}) {
		t.Fatal("the tables are not synchronised")
	}
	w := watch(t, pair(primary, replica, router.FeedLogical))
	relations, _ := w.facts("ml1")
	for name, want := range map[string]string{
		"whole": "", "filtered": limited, "narrow": limited, "appended": inPart, "part1": "", "part2": limited, "parts": limited,
		"roots": limited, "root1": limited, "seen": "",
	} {
		if got := relations["public."+name].Absent; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What one replica does not tell is no reason to believe old catalogs of the others.
func TestAReplicaThatFailsWhileItIsComparedIsLeftOut(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	const tables = "CREATE TABLE a (v int); CREATE VIEW seen AS SELECT v FROM a"
	primary.Exec(t, tables)
	replica.Exec(t, tables)
	w := watch(t, pair(primary, replica, router.FeedNone))
	if !w.Snapshot().Catalogs["postgres"].Knows(1) {
		t.Fatal("the replica is not compared")
	}
	holder := replica.Super(t, "postgres")
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE a"); err != nil {
		t.Fatal(err)
	}
	primary.Exec(t, "ALTER TABLE a ENABLE ROW LEVEL SECURITY")
	w.Look("primary")
	if !pgtest.Eventually(func() bool { return !w.Snapshot().Catalogs["postgres"].Knows(1) }) {
		t.Fatal("the catalog stays as it was")
	}
	if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	w.Look("ml1")
	if !pgtest.Eventually(func() bool { w.Look("primary"); return w.Snapshot().Catalogs["postgres"].Knows(1) }) {
		t.Fatal("the replica stays left out")
	}
}
