package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgshunt/internal/pgtest"
	"pgshunt/parser"
	"pgshunt/router"
)

// facts reads what the comparison sees of one server, by schema and name.
func (w *watching) facts(name string) (map[string]router.RelationFacts, map[string]router.FunctionFacts) {
	w.t.Helper()
	ctx := patient(w.t)
	sources, err := w.sources(ctx, "postgres")
	if err != nil {
		w.t.Fatal(err)
	}
	relations, functions := make(map[string]router.RelationFacts), make(map[string]router.FunctionFacts)
	for _, s := range sources {
		defer s.close()
		if err := s.prepare(ctx, sources[0]); err != nil {
			w.t.Fatal(err)
		}
		if s.server.Name != name {
			continue
		}
		facts := s.facts(ctx, sources[0], new(bodies))
		for f, err := range facts.Relations {
			if err != nil {
				w.t.Fatal(err)
			}
			relations[f.Schema+"."+f.Name] = f
		}
		for f, err := range facts.Functions {
			if err != nil {
				w.t.Fatal(err)
			}
			functions[f.Schema+"."+f.Name] = f
		}
	}
	return relations, functions
}

// known leaves out of readers who are not there before PostgreSQL 14: pg_read_all_data and its members.
func known(s *pgtest.Server, readers string) string {
	if s.Binaries.Major() >= 14 {
		return readers
	}
	names := slices.DeleteFunc(strings.Split(readers, ","), func(name string) bool { return name == "auditor" || name == "pg_read_all_data" })
	return strings.Join(names, ",")
}

func TestFactsOfRelations(t *testing.T) {
	primary := primaryServer(t)
	if primary.Binaries.Major() >= 14 {
		primary.Exec(t, "CREATE ROLE auditor IN ROLE pg_read_all_data")
	}
	primary.Exec(t, `CREATE ROLE app LOGIN; CREATE ROLE team; CREATE ROLE member LOGIN IN ROLE team; CREATE ROLE "odd,one";
		CREATE SCHEMA "Closed"; GRANT USAGE ON SCHEMA "Closed" TO app;
		CREATE TABLE plain (id int PRIMARY KEY, "Odd name" varchar(10), amount numeric(8, 2)[]);
		ALTER TABLE plain OWNER TO app;
		CREATE TABLE granted (a int, b int); GRANT SELECT ON granted TO team, "odd,one"; GRANT SELECT (a) ON granted TO app;
		CREATE TABLE open (a int); GRANT SELECT ON open TO public;
		CREATE TABLE "Closed".open (a int); GRANT SELECT ON "Closed".open TO public;
		CREATE TABLE guarded (owner text); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON guarded FOR SELECT TO app USING (owner = current_user);
		CREATE TABLE members (team int, member name); CREATE TABLE shared (team int); ALTER TABLE shared ENABLE ROW LEVEL SECURITY;
		CREATE POLICY team ON shared USING (team IN (SELECT m.team FROM members m WHERE member = current_user));
		CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE);
		CREATE TABLE ruled (a int); CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO open VALUES (1);
		CREATE TABLE triggered (a int);
		CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM count(*) FROM public.open; RETURN NEW; END';
		CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION noop();
		CREATE VIEW seen AS SELECT a, (SELECT max(id) FROM parent) FROM open;
		CREATE TEMP TABLE temporary (a int);
		CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'`)
	w := watch(t, Config{Servers: []Server{{Name: "primary", Login: login(primary)}}})
	relations, functions := w.facts("primary")

	for name, want := range map[string]router.RelationFacts{
		"public.plain":     {Columns: "\"Odd name\" character varying(10)\namount numeric(8,2)[]\nid integer", Readers: "app,auditor,pg_read_all_data"},
		"public.granted":   {Columns: "a integer\nb integer", Readers: `"odd,one",app(a),auditor,member,pg_read_all_data,team`},
		"public.open":      {Columns: "a integer", Readers: "public"},
		"Closed.open":      {Columns: "a integer", Readers: "app,auditor,pg_read_all_data"},
		"public.guarded":   {Columns: "owner text", Readers: "auditor,pg_read_all_data", Security: "f\nown t r app using (owner = CURRENT_USER) check"},
		"public.parent":    {Columns: "id integer", Readers: "auditor,pg_read_all_data", Touches: true},
		"public.child":     {Columns: "id integer", Readers: "auditor,pg_read_all_data"},
		"public.ruled":     {Columns: "a integer", Readers: "auditor,pg_read_all_data", Touches: true},
		"public.triggered": {Columns: "a integer", Readers: "auditor,pg_read_all_data", Touches: true},
	} {
		got := relations[name]
		want.Schema, want.Name, _ = strings.Cut(name, ".")
		want.Readers = known(primary, want.Readers)
		if got != want {
			t.Errorf("%s: got\n%+v, want\n%+v", name, got, want)
		}
	}
	if p := relations["public.shared"].Policies; p == nil || len(p.Reads) != 1 || p.Reads[0].Name != "members" {
		t.Errorf("the policies of a table that look into another: %+v", p)
	}
	seen := relations["public.seen"].View
	if seen == nil || len(seen.Reads) != 2 || seen.Reads[0].Schema != "public" || seen.Opaque {
		t.Errorf("the view: %+v", seen)
	}
	if len(relations) != 12 {
		t.Errorf("got %v", slices.Sorted(maps.Keys(relations)))
	}
	if f := functions["public.twice"]; f.Volatility != 'i' || f.Language != "sql" || f.Body == nil {
		t.Errorf("got %+v", f)
	}
	if f := functions["public.noop"]; f.Volatility != 'v' || f.Body == nil || len(f.Body.Reads) != 1 {
		t.Errorf("got %+v", f)
	}
}

// A user whom the replica lets see more is a reader there, or exempt from row-level
// security, under the name that clients have.
func TestReadersOfAReplica(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	const tables = "CREATE TABLE data (a int); GRANT SELECT ON data TO reads; CREATE TABLE rows (a int); ALTER TABLE rows ENABLE ROW LEVEL SECURITY"
	primary.Exec(t, "CREATE ROLE app; CREATE ROLE reads; CREATE ROLE boss SUPERUSER; CREATE ROLE free BYPASSRLS;"+tables)
	replica.Exec(t, "CREATE ROLE app; CREATE ROLE boss; CREATE ROLE free BYPASSRLS; CREATE ROLE ml_reads; CREATE ROLE reads; CREATE ROLE stranger;"+
		"CREATE TABLE data (a int); GRANT SELECT ON data TO ml_reads, stranger, boss; CREATE TABLE rows (a int); ALTER TABLE rows ENABLE ROW LEVEL SECURITY")
	cfg := pair(primary, replica, router.FeedNone)
	cfg.Servers[1].Users = map[string]string{"reads": "ml_reads"}
	w := watch(t, cfg)
	expect := func(readers, security string) {
		t.Helper()
		relations, _ := w.facts("ml1")
		if got := relations["public.data"].Readers; got != known(replica, readers) {
			t.Errorf("readers %q, want %q", got, readers)
		}
		if got := relations["public.rows"].Security; got != security {
			t.Errorf("security %q, want %q", got, security)
		}
	}
	expect("pg_read_all_data,reads", "f")
	replica.Exec(t, "ALTER ROLE app SUPERUSER; ALTER ROLE ml_reads BYPASSRLS")
	expect("app,pg_read_all_data,reads", "f\nnot for app,reads")
}

// Who may not use a schema on a replica finds its names in the next one of search_path.
func TestSchemasThatMayNotBeUsed(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, `CREATE ROLE team; CREATE ROLE app LOGIN IN ROLE team; CREATE ROLE boss LOGIN; CREATE SCHEMA a; CREATE SCHEMA b;
			CREATE TABLE a.data (v int); CREATE TABLE b.data (v int); GRANT SELECT ON a.data, b.data TO app; GRANT USAGE ON SCHEMA a, b TO team`)
	}
	primary.Exec(t, "CREATE ROLE elsewhere; GRANT USAGE ON SCHEMA a TO elsewhere")
	w := watch(t, pair(primary, replica, router.FeedNone))
	expect := func(a, b bool) {
		t.Helper()
		relations, _ := w.facts("ml1")
		if got := [2]bool{relations["a.data"].Barred, relations["b.data"].Barred}; got != [2]bool{a, b} {
			t.Errorf("barred: %v, want %v, %v", got, a, b)
		}
	}
	expect(false, false)
	replica.Exec(t, "REVOKE USAGE ON SCHEMA a FROM team")
	expect(true, false)
	replica.Exec(t, "GRANT USAGE ON SCHEMA a TO public")
	expect(false, false)
	primary.Exec(t, "ALTER ROLE boss SUPERUSER")
	expect(false, true)
	primary.Exec(t, "ALTER ROLE boss NOSUPERUSER; GRANT USAGE ON SCHEMA b TO public")
	expect(false, true)
}

// Functions are told apart by what they are, and views where both servers write them alike.
func TestDefinitionsOfAReplica(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	const same = `CREATE TABLE data (a int); CREATE FUNCTION same(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
		CREATE FUNCTION body(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE FUNCTION standard(a int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT a';
		CREATE VIEW seen AS SELECT a FROM data WHERE a > 0; CREATE VIEW other AS SELECT a FROM data WHERE a > 0`
	primary.Exec(t, same)
	replica.Exec(t, same+`; CREATE OR REPLACE FUNCTION body(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
		CREATE OR REPLACE FUNCTION standard(a int DEFAULT 2) RETURNS int LANGUAGE sql AS 'SELECT a'; CREATE OR REPLACE VIEW other AS SELECT a FROM data`)
	w := watch(t, pair(primary, replica, router.FeedNone))
	relations, functions := w.facts("primary")
	thereToo, calledThere := w.facts("ml1")
	for name, want := range map[string]bool{"same": true, "body": false, "standard": false} {
		ours, theirs := functions["public."+name].Definition, calledThere["public."+name].Definition
		if ours == "" || (ours == theirs) != want {
			t.Errorf("%s: %q, %q", name, ours, theirs)
		}
	}
	for name, want := range map[string]bool{"seen": true, "other": false} {
		ours, theirs := relations["public."+name].Definition, thereToo["public."+name].Definition
		if ours == "" || theirs != "" && (ours == theirs) != want {
			t.Errorf("%s: %q, %q", name, ours, theirs)
		}
	}
}

// partitioned makes a partitioned table and one whose children inherit.
const partitioned = `CREATE TABLE byleaf (id int PRIMARY KEY) PARTITION BY RANGE (id);
	CREATE TABLE byleaf1 PARTITION OF byleaf FOR VALUES FROM (0) TO (10);
	CREATE TABLE byroot (id int PRIMARY KEY) PARTITION BY RANGE (id);
	CREATE TABLE byroot1 PARTITION OF byroot FOR VALUES FROM (0) TO (10);
	CREATE TABLE elder (id int PRIMARY KEY); CREATE TABLE younger (PRIMARY KEY (id)) INHERITS (elder);
	CREATE TABLE alone (id serial PRIMARY KEY); CREATE TABLE unfed (id int);
	CREATE VIEW seen AS SELECT * FROM alone; CREATE MATERIALIZED VIEW kept AS SELECT * FROM alone`

func TestWhatALogicalFeedBrings(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	primary.Exec(t, partitioned)
	replica.Exec(t, partitioned)
	primary.Exec(t, "CREATE PUBLICATION feed FOR TABLE byleaf, elder, alone; CREATE PUBLICATION roots FOR TABLE byroot WITH (publish_via_partition_root)")
	for _, name := range []string{"feed", "roots"} {
		replica.Exec(t, fmt.Sprintf("CREATE SUBSCRIPTION %s CONNECTION '%s' PUBLICATION %[1]s", name, primary.URL(primary.Superuser(), "postgres")))
		defer replica.Exec(t, "DROP SUBSCRIPTION "+name)
	}
	conn := replica.Super(t, "postgres")
	pgtest.Eventually(func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'") == 5
	})
	w := watch(t, pair(primary, replica, router.FeedLogical))
	expect := func(want map[string]string) {
		t.Helper()
		relations, _ := w.facts("ml1")
		for name, absent := range want {
			if got, ok := relations["public."+name]; !ok || got.Absent != absent {
				t.Errorf("%s: %q, want %q", name, got.Absent, absent)
			}
		}
	}
	expect(map[string]string{
		"byleaf": "", "byleaf1": "", "byroot": "", "byroot1": "", "elder": "", "younger": "", "alone": "", "seen": "",
		"unfed": "is not subscribed", "kept": "is not subscribed", "alone_id_seq": "is not subscribed",
	})

	// Partitions and children that the replica lacks, or that nobody has subscribed.
	primary.Exec(t, `CREATE TABLE byleaf2 PARTITION OF byleaf FOR VALUES FROM (10) TO (20);
		CREATE TABLE byroot2 PARTITION OF byroot FOR VALUES FROM (10) TO (20); CREATE TABLE youngest () INHERITS (elder)`)
	expect(map[string]string{"byleaf": "has other partitions there", "byleaf1": "", "byroot": "", "byroot1": "", "elder": "has other partitions there"})
	replica.Exec(t, `CREATE TABLE byleaf2 PARTITION OF byleaf FOR VALUES FROM (10) TO (20); CREATE TABLE youngest () INHERITS (elder)`)
	expect(map[string]string{"byleaf": "is not subscribed", "byleaf1": "", "byleaf2": "is not subscribed", "byroot": "", "elder": "is not subscribed", "younger": ""})
	replica.Exec(t, "ALTER SUBSCRIPTION feed DISABLE")
	expect(map[string]string{"alone": "its subscription is disabled", "byleaf1": "its subscription is disabled", "byroot": "", "byroot1": ""})
	primary.Exec(t, "ALTER PUBLICATION feed ADD TABLE unfed")
	// The copy waits for this. A lock on the primary would hold up REFRESH too, since version 16.
	holder := replica.Super(t, "postgres")
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE unfed IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	replica.Exec(t, "ALTER SUBSCRIPTION feed ENABLE")
	replica.Exec(t, "ALTER SUBSCRIPTION feed REFRESH PUBLICATION")
	expect(map[string]string{"unfed": "is still being copied", "alone": ""})
	if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'") == 0
	})
	expect(map[string]string{"unfed": ""})
}

// A subscription that is disabled or enabled is noticed by the look at its server: nobody
// has to wait for the next question about catalogs.
func TestASubscriptionInterruptedIsNoticedByALook(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, "CREATE TABLE fed (v int PRIMARY KEY)")
	}
	primary.Exec(t, "CREATE PUBLICATION feed FOR TABLE fed")
	replica.Exec(t, fmt.Sprintf("CREATE SUBSCRIPTION feed CONNECTION '%s' PUBLICATION feed", primary.URL(primary.Superuser(), "postgres")))
	defer replica.Exec(t, "DROP SUBSCRIPTION feed")
	cfg := pair(primary, replica, router.FeedLogical)
	cfg.CatalogInterval = time.Hour
	w := watch(t, cfg)
	policy, err := router.NewPolicy(router.Config{Reads: "replica"})
	if err != nil {
		t.Fatal(err)
	}
	read, session := parser.Parse("SELECT v FROM fed"), &router.View{Database: "postgres", SearchPath: []string{"public"}}
	present := func() bool { return policy.Decide(read, session, w.Snapshot()).Place == router.Replica }
	for _, step := range []struct {
		sql     string
		present bool
	}{{"", true}, {"ALTER SUBSCRIPTION feed DISABLE", false}, {"ALTER SUBSCRIPTION feed ENABLE", true}} {
		if step.sql != "" {
			replica.Exec(t, step.sql)
		}
		if !pgtest.Eventually(func() bool { return present() == step.present }) {
			t.Errorf("after %q the table is there: %v", step.sql, !step.present)
		}
	}
}

func TestWhatOtherFeedsBring(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	primary.Exec(t, "CREATE TABLE a (v int); CREATE TABLE b (v int)")
	replica.Exec(t, `CREATE TABLE a (v int); CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE b (v int) SERVER s`)
	absent := func(feed router.Feed) string {
		relations, _ := watch(t, pair(primary, replica, feed)).facts("ml1")
		return relations["public.a"].Absent + "|" + relations["public.b"].Absent
	}
	for feed, want := range map[router.Feed]string{
		router.FeedFDW: "is no foreign table|", router.FeedLogical: "is not subscribed|", router.FeedDump: "|", router.FeedNone: "|", "": "|",
	} {
		if got := absent(feed); got != want {
			t.Errorf("feed %q: %q, want %q", feed, got, want)
		}
	}
	replica.Exec(t, `CREATE SCHEMA pgshunt; CREATE TABLE pgshunt.copies (relation text, copied_at timestamptz);
		GRANT USAGE ON SCHEMA pgshunt TO own; GRANT SELECT ON pgshunt.copies TO own`)
	if got := absent(router.FeedDump); got != "has not been copied|" {
		t.Errorf("got %q", got)
	}
	replica.Exec(t, "INSERT INTO pgshunt.copies VALUES ('public.a', now())")
	if got := absent(router.FeedDump); got != "|" {
		t.Errorf("got %q", got)
	}
	replica.Exec(t, "ALTER TABLE pgshunt.copies ADD partial boolean NOT NULL DEFAULT false")
	if got := absent(router.FeedDump); got != "|" {
		t.Errorf("got %q", got)
	}
	replica.Exec(t, "UPDATE pgshunt.copies SET partial = true")
	if got := absent(router.FeedDump); got != copiedInPart+"|" {
		t.Errorf("got %q", got)
	}
	replica.Exec(t, "UPDATE pgshunt.copies SET partial = false, copied_at = now() - interval '10 minutes'")
	w := watch(t, pair(primary, replica, router.FeedFDW))
	if relations, _ := w.facts("ml1"); relations["public.a"].Absent != "" || !relations["public.a"].Copied || relations["public.b"].Copied {
		t.Errorf("beside foreign tables: %+v", relations)
	}
	for _, within := range []time.Duration{time.Minute, time.Hour} {
		var behind *Behind
		if err := w.WaitLag(t.Context(), "ml1", within); errors.As(err, &behind) != (within == time.Minute) {
			t.Errorf("a copy of ten minutes, within %v: %v", within, err)
		}
	}
	var unknown *NotMeasured
	if err := w.WaitApplied(t.Context(), "ml1", 1); !errors.As(err, &unknown) {
		t.Errorf("of a copy it is not known what it has: %v", err)
	}
	if ml1 := w.Snapshot().Targets[1]; !ml1.LagKnown || ml1.Lag < 10*time.Minute {
		t.Errorf("the copy's age is not shown: %+v", ml1)
	}
}

func (w *watching) size(database string) int {
	relations, _ := w.Snapshot().Catalogs[database].Size()
	return relations
}
