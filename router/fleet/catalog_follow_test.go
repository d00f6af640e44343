package fleet

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

func TestCatalogsFollowChanges(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	pgtest.NoLeaks(t)
	cfg := pair(primary, replica, router.FeedNone)
	cfg.CatalogInterval = time.Hour
	w := watch(t, cfg)
	if c := w.Snapshot().Catalogs; c["postgres"] == nil || len(c) != 1 {
		t.Fatalf("after Start there is %v", c)
	}
	before := w.size("postgres")
	primary.Exec(t, "CREATE TABLE new (v int)")
	w.Look("primary")
	if !pgtest.Eventually(func() bool { return w.size("postgres") == before+1 }) {
		t.Fatal("a new table is not seen")
	}
	replica.Exec(t, "CREATE TABLE new (v int)")
	w.Look("primary")
	if !pgtest.Eventually(func() bool { return w.size("postgres") == before }) {
		t.Fatal("a table that is everywhere is kept")
	}

	// Databases are looked at when they are used: one that only the primary has, and none.
	database := primary.NewDatabase(t)
	primary.ExecIn(t, database, "CREATE TABLE a (v int); CREATE VIEW v AS SELECT * FROM a")
	w.Want(database)
	w.Want("nobody_has_it")
	if !pgtest.Eventually(func() bool { return w.size(database) == 1 }) { // the replica has few: the view alone is kept
		t.Fatalf("of the other database %d relations are kept", w.size(database))
	}
	if _, ok := w.Snapshot().Catalogs["nobody_has_it"]; ok {
		t.Error("a catalog of nothing")
	}
	primary.Exec(t, "DROP DATABASE "+database+" WITH (FORCE)")
	w.Look("primary")
	if !pgtest.Eventually(func() bool { _, ok := w.Snapshot().Catalogs[database]; return !ok }) {
		t.Error("a catalog of a database that is no more")
	}
	w.Close()
}

// Whoever changes a schema past pgshunt is noticed by the statistics of the catalogs.
func TestCatalogsFollowChangesThatNobodyReports(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	cfg := pair(primary, replica, router.FeedNone)
	cfg.CatalogInterval = 50 * time.Millisecond
	w := watch(t, cfg)
	before := w.size("postgres")
	mark := primary.Mark(t)
	for range 3 {
		primary.WaitStatement(t, mark, "pg_stat_get_tuples_inserted")
		mark = primary.Mark(t)
	}
	primary.Exec(t, "CREATE TABLE new (v int)")
	if !pgtest.Eventually(func() bool { return w.size("postgres") == before+1 }) {
		t.Fatal("a new table is not seen")
	}
	if n := strings.Count(w.logged(), "catalog compared"); n != 2 {
		t.Errorf("%d changes", n)
	}
}

func TestAReplicaThatCannotBeComparedIsLeftOut(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	replica.Exec(t, "CREATE DATABASE home")
	replica.Exec(t, "REVOKE CONNECT ON DATABASE postgres FROM public; GRANT CONNECT ON DATABASE home TO own")
	cfg := pair(primary, replica, router.FeedNone)
	there := cfg.Servers[1].Login
	cfg.Servers[1].Login = func(database string) (*pgconn.Config, error) {
		if database == "" {
			database = "home"
		}
		return there(database)
	}
	w := watch(t, cfg)
	if got := w.target("ml1"); !healthy(got) {
		t.Fatalf("got %+v", got)
	}
	if w.Snapshot().Catalogs["postgres"] == nil {
		t.Fatal("no catalog, for one replica that cannot be asked")
	}
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	sources, err := w.sources(ctx, "postgres")
	for _, s := range sources {
		s.close()
	}
	if err != nil || len(sources) != 1 {
		t.Errorf("%d sources, %v", len(sources), err)
	}
}
