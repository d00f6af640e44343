package plan

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/dump"
	"pgshunt/feed/logical"
	"pgshunt/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// awkward runs the fixture on a database of the server.
func awkward(t *testing.T, s *pgtest.Server, database string) {
	t.Helper()
	script, err := os.ReadFile("../../testdata/feeds/awkward.sql")
	if err != nil {
		t.Fatal(err)
	}
	s.ExecIn(t, database, string(script))
}

func config(t *testing.T, primary, replica string, change func(*configs.Replica)) *configs.Config {
	t.Helper()
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(primary)
	r := configs.Replica{Name: "ml1", Server: configs.Server{URL: configs.URL(replica)}, Serves: []configs.Service{configs.ServeTraining}}
	r.FDW.FetchSize = 1000
	if change != nil {
		change(&r)
	}
	cfg.Replicas = []configs.Replica{r}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// expect looks for a problem by server, check and whether it blocks whose remedy contains what.
func (w *Way) expect(t *testing.T, server, check string, blocks bool, what string) {
	t.Helper()
	for _, p := range w.Problems {
		if p.Server == server && p.Check == check && p.Blocks == blocks && strings.Contains(p.What+" -> "+p.Remedy, what) {
			return
		}
	}
	t.Errorf("no problem %s/%s (blocks: %v) with %q in %+v", server, check, blocks, what, w.Problems)
}

// A server as Amazon runs it: nobody is superuser, the master user is a member of
// rds_superuser and owns the tables, and wal_level is replica.
func TestPlanForAServerWithoutSuperuser(t *testing.T) {
	primary, replica := pgtest.Primary(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}}), pgtest.Replica(t)
	primary.Exec(t, `CREATE ROLE rds_superuser; CREATE ROLE rds_replication; CREATE ROLE master LOGIN CREATEDB CREATEROLE;
		CREATE ROLE reader LOGIN`)
	primary.Exec(t, `CREATE DATABASE shop OWNER master`)
	primary.ExecIn(t, "shop", "CREATE EXTENSION hstore")
	awkward(t, primary, "shop")
	primary.ExecIn(t, "shop", `CREATE TABLE shop.kept (id int, h hstore); ANALYZE`)
	replica.Exec(t, `CREATE ROLE ml LOGIN`)
	replica.Exec(t, `CREATE DATABASE shop`)
	replica.ExecIn(t, "shop", `CREATE SCHEMA shop; CREATE TYPE shop.mood AS ENUM ('glad', 'new')`)

	cfg := config(t, primary.URL("reader", "shop"), replica.URL("ml", "shop"), func(r *configs.Replica) { r.Feed = configs.FeedLogical })
	report, err := Run(t.Context(), cfg, []string{"ml1"}, Options{
		Watch: 10 * time.Millisecond, Checks: map[configs.Feed]Check{configs.FeedLogical: logical.Check, configs.FeedDump: dump.Check},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, r := &report.Primary, &report.Replicas[0]
	if p.Service != feed.RDS || p.Superuser || p.Replicates || p.WALLevel != "replica" || p.Database != "shop" || r.Pgml == "" || r.Error != "" {
		t.Fatalf("%+v %+v", p, r)
	}
	if r.Recommended != configs.FeedDump || len(r.Ways) != 2 {
		t.Fatalf("%+v", r)
	}
	for i := range r.Ways {
		w := &r.Ways[i]
		w.expect(t, "primary", "schema_usage", true, `GRANT USAGE ON SCHEMA "Mixed Case", "shop" TO "reader";`)
		w.expect(t, "primary", "select", true, `"shop"."orders"`)
		w.expect(t, "primary", "row_security", true, `ALTER ROLE "reader" BYPASSRLS;`)
		w.expect(t, "ml1", "create", true, `GRANT CREATE ON DATABASE "shop" TO "ml";`)
		w.expect(t, "ml1", "schema", true, `GRANT USAGE, CREATE ON SCHEMA "shop" TO "ml";`)
		w.expect(t, "ml1", "enum", true, `ALTER TYPE "shop"."mood" ADD VALUE 'sad' BEFORE 'glad';`)
		w.expect(t, "ml1", "enum", true, `ALTER TYPE "shop"."mood" ADD VALUE 'so so' AFTER 'sad';`)
		w.expect(t, "ml1", "type", false, `"shop"."point3"`)
	}
	subscribe := `GRANT pg_create_subscription TO "ml"`
	if r.Major() < 16 { // which had no such role
		subscribe = `ALTER ROLE "ml" SUPERUSER`
	}
	for _, want := range []struct{ server, check, what string }{
		{"primary", "wal_level", "ParameterName=rds.logical_replication,ParameterValue=1"},
		{"primary", "replication", `GRANT rds_replication TO "reader";`},
		{"primary", "create", `GRANT CREATE ON DATABASE "shop" TO "reader"`},
		{"primary", "owner", `GRANT "postgres" TO "reader"`},
		{"primary", "replica_identity", `ALTER TABLE "shop"."events" REPLICA IDENTITY FULL`},
		{"primary", "unlogged", `"shop"."scratch"`},
		{"ml1", "subscribe", subscribe},
	} {
		r.Ways[1].expect(t, want.server, want.check, true, want.what)
	}
	grants := 0
	for _, p := range r.Ways[1].Problems {
		if strings.HasPrefix(p.Remedy, "GRANT SELECT") || strings.HasPrefix(p.Remedy, "GRANT USAGE ON") {
			grants++
		}
	}
	if grants != 2 {
		t.Errorf("%d statements say who may read", grants)
	}
	// hstore is trusted, but the role may not make anything in the database.
	for _, problem := range r.Ways[0].Problems {
		if problem.Check == "extension" {
			t.Errorf("%+v", problem)
		}
	}
}

func TestPlanMeasuresAServerOfOnesOwn(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	from, to := primary.NewDatabase(t), replica.NewDatabase(t)
	primary.ExecIn(t, from, `CREATE COLLATION german (provider = icu, locale = 'de');
		CREATE TABLE big (id int PRIMARY KEY, v text COLLATE german, w text); ALTER TABLE big ALTER w SET STORAGE EXTERNAL;
		INSERT INTO big SELECT i, repeat(md5(i::text), 10), repeat(md5(i::text), 100) FROM generate_series(1, 5000) i;
		CREATE TABLE keyless (v int); INSERT INTO keyless SELECT generate_series(1, 100); UPDATE keyless SET v = v + 1;
		CREATE TABLE out (v int); ANALYZE`)
	cfg := config(t, primary.URL(primary.Superuser(), from), replica.URL(replica.Superuser(), to), func(r *configs.Replica) {
		r.Feed, r.Tables = configs.FeedDump, configs.Patterns{"*.*", "!public.out"}
	})
	report, err := Run(t.Context(), cfg, []string{"ml1"}, Options{Watch: time.Millisecond, Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	r := &report.Replicas[0]
	if r.Error != "" || len(r.Tables) != 2 || r.Recommended != r.Configured || len(r.Ways) != 1 || r.Ways[0].Blocked() {
		t.Fatalf("%+v", r)
	}
	big, keyless := r.Tables[0], r.Tables[1]
	if big.Rows != 5000 || big.Toast < 5000*3200 || big.Heap < 5000*320 || big.Indexes == 0 || big.Identity != "primary key" || keyless.Identity != "" {
		t.Errorf("%+v", r.Tables)
	}
	if e := r.Ways[0].Estimate; e.Disk != big.Bytes()+keyless.Bytes() || e.Peak != 2*e.Disk || !strings.Contains(e.Assumes[0], "measured just now") {
		t.Errorf("%+v", e)
	}
	r.Ways[0].expect(t, "ml1", "collation", false, "german")
	nothing := config(t, primary.URL(primary.Superuser(), from), replica.URL(replica.Superuser(), to), func(r *configs.Replica) {
		r.Feed, r.Tables = configs.FeedDump, configs.Patterns{"nowhere.*"}
	})
	if report, err = Run(t.Context(), nothing, []string{"ml1"}, Options{Watch: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	report.Replicas[0].Ways[0].expect(t, "primary", "tables", true, "no table matches")
}

func TestWhatAReplicaCannotHave(t *testing.T) {
	replica := pgtest.SharedReplica(t)
	conn := replica.Super(t, "postgres")
	facts, err := look(t.Context(), conn, "ml1")
	if err != nil {
		t.Fatal(err)
	}
	primary := facts
	primary.Encoding, primary.VersionNum = "SQL_ASCII", 990000
	problems, err := fit(t.Context(), conn, &facts, &primary, surroundings{
		types:      []usedType{{Schema: "pg_catalog", Name: "int4", Kind: "b"}, {Schema: "pg_catalog", Name: "of_tomorrow", Kind: "b"}},
		extensions: []usedExtension{{"plpgsql", "1.0"}, {"of_nobody", "1.0"}, {"hstore", "1.0"}},
		collations: []usedCollation{{"pg_catalog", "C", "c", "C", ""}, {"pg_catalog", "xx_YY", "c", "xx_YY.utf8", "1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := Way{Problems: problems}
	w.expect(t, "ml1", "type", true, "no type of_tomorrow")
	w.expect(t, "ml1", "extension", true, "of_nobody")
	w.expect(t, "ml1", "collation", true, "pg_import_system_collations")
	w.expect(t, "ml1", "encoding", true, "CREATE DATABASE")
	w.expect(t, "ml1", "version", false, "older")
	if len(problems) != 5 {
		t.Errorf("%+v", problems)
	}
}

func TestRatesAreThoseBetweenTwoLooks(t *testing.T) {
	began := time.Now()
	first := &counts{at: began, wal: 1 << 20, tables: map[uint32][3]int64{1: {10, 10, 10}, 2: {5, 5, 5}}}
	second := &counts{at: began.Add(10 * time.Second), wal: 11 << 20, tables: map[uint32][3]int64{1: {20, 110, 10}, 2: {0, 5, 5}}}
	c, perDay := churn(first, second)
	if c.WAL != 1<<20 || !c.Watched || perDay(1) != [3]float64{86400, 864000, 0} || perDay(2) != [3]float64{} || perDay(3) != [3]float64{} {
		t.Errorf("%+v %v %v", c, perDay(1), perDay(2))
	}
	first.since = began.Add(-24 * time.Hour)
	if c, perDay = churn(first, nil); c.WAL != -1 || c.Watched || perDay(2) != [3]float64{5, 5, 5} {
		t.Errorf("%+v %v", c, perDay(2))
	}
}

func TestRecommendations(t *testing.T) {
	const gb = 1 << 30
	for _, c := range []struct {
		m    measures
		want configs.Feed
		why  string
	}{
		{measures{bytes: 2 * gb, rows: 1000, changes: 1}, configs.FeedDump, "2.0 GB is less than 10 GB, and about 0.1% of 1,000 rows"},
		{measures{bytes: 2 * gb, rows: 1000, changes: 500}, configs.FeedFDW, "about 50% of 1,000 rows change in a day: a copy would soon"},
		{measures{bytes: 2 * gb, rows: 1000, fresh: true}, configs.FeedFDW, "asks for fresh data"},
		{measures{bytes: 50 * gb, rows: 1000, changes: 5}, configs.FeedDump, "a copy, made anew by a schedule"},
		{measures{bytes: 50 * gb, rows: 1000, changes: 100, readers: 3}, configs.FeedFDW, "3 reads of the primary"},
		{measures{bytes: 500 * gb, rows: 1000, changes: 1}, configs.FeedLogical, "500 GB is more than a training should read"},
		{measures{bytes: 20 * 1024 * gb, rows: 2e9, changes: 1}, configs.FeedNative, "preloaded"},
		{measures{bytes: 20 * 1024 * gb, rows: 2e9, changes: 1, service: feed.RDS}, configs.FeedLogical, "Amazon RDS installs no such extension"},
	} {
		way, why := recommend(c.m)
		if way != c.want || !strings.Contains(strings.Join(why, " "), c.why) {
			t.Errorf("%+v: %s, because %s", c.m, way, strings.Join(why, " "))
		}
	}
}

func TestEstimates(t *testing.T) {
	tables := []Table{{Heap: 300 << 20, Toast: 100 << 20, Indexes: 40 << 20}, {Heap: 100 << 20}}
	for _, c := range []struct {
		way  configs.Feed
		want string
	}{
		{configs.FeedDump, "26 26 540 1080 -1"},  // 500 MB by two connections of 10 MB/s, and an index of 40 MB
		{configs.FeedLogical, "42 0 540 540 84"}, // the largest table lasts as long
		{configs.FeedFDW, "0 0 0 0 -1"},          // nothing is copied
		{configs.FeedNative, "0 0 0 0 -1"},
	} {
		e := estimate(c.way, workload{tables: tables, speed: 10 << 20, jobs: 2, syncs: 2, wal: 2 << 20})
		got := fmt.Sprintf("%.0f %.0f %d %d %d", e.Apply, e.Refresh, e.Disk>>20, e.Peak>>20, e.WAL>>20)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.way, got, c.want)
		}
	}
}
