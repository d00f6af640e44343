package fdw

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
)

func TestForeignTablesFollowThePrimary(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.*", "!public.unfed"} })
	b.onPrimary(t, `CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE a (id int PRIMARY KEY, gone text, was int, grows int NOT NULL, m mood, c text); CREATE TABLE dropped (x int);
		CREATE TABLE unfed (x int); CREATE TABLE leaves (x int); INSERT INTO a VALUES (1, 'g', 2, 3, 'sad', 'c'); ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader`)
	b.apply(t)
	b.onReplica(t, "CREATE VIEW over AS SELECT id, was FROM a")
	b.onPrimary(t, `ALTER TABLE a RENAME COLUMN was TO "Is"; ALTER TABLE a ALTER grows TYPE bigint; ALTER TABLE a ALTER grows DROP NOT NULL;
		ALTER TYPE mood ADD VALUE 'so so' BEFORE 'glad'; ALTER TABLE a ALTER c TYPE text COLLATE "C"; DROP TABLE dropped; CREATE TABLE new (n int); INSERT INTO new VALUES (5);
		ALTER TABLE a ADD COLUMN added int NOT NULL DEFAULT 4`)
	b.onPrimary(t, "INSERT INTO a VALUES (2, NULL, NULL, NULL, 'so so', 'd', 9)")
	b.cfg.Replicas[0].Tables = configs.Patterns{"public.*", "!public.unfed", "!public.leaves"}

	state, err := State(t.Context(), b.run(t))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, one := range state.Tables {
		got[one.Name] = one.State + " " + strings.Join(one.Drift, "; ")
	}
	for name, parts := range map[string][]string{"a": {`"Is"`, "bigint", "added", "enum labels", `"C"`}, "new": {"missing"}} {
		for _, part := range parts {
			if !strings.Contains(got[name], part) {
				t.Errorf("%s: %q is not told: %s", name, part, got[name])
			}
		}
	}
	b.apply(t)
	primary, replica := b.conn(t, b.primary), b.conn(t, b.replica)
	tables := []string{"public.a", "public.new"}
	if diff := cmp.Diff(contents(t, primary, tables), contents(t, replica, tables)); diff != "" {
		t.Error(diff)
	}
	if left := texts(t, replica, "SELECT relname FROM pg_class WHERE relkind = 'f' ORDER BY 1"); !slices.Equal(left, []string{"a", "new"}) {
		t.Errorf("foreign tables are %q", left)
	}
	if got := texts(t, replica, "SELECT was::text FROM over WHERE id = 1"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("the view has %q", got)
	}
	b.apply(t)
	if steps := b.done(); len(steps) > 1 {
		t.Errorf("done again: %q", steps)
	}
	if state, err = State(t.Context(), b.run(t)); err != nil || state.State != "ready" || slices.ContainsFunc(state.Tables, func(s feed.TableState) bool { return s.Drift != nil }) {
		t.Errorf("%+v, %v", state, err)
	}

	b.onPrimary(t, "ALTER TABLE a DROP COLUMN gone")
	b.apply(t)
	if diff := cmp.Diff(contents(t, primary, tables), contents(t, replica, tables)); diff != "" {
		t.Error(diff)
	}
	// Whoever reads a table is not disturbed, and not queued behind.
	b.onPrimary(t, "ALTER TABLE a ADD COLUMN last int")
	reads, err := b.conn(t, b.replica).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reads.Exec(t.Context(), "SELECT * FROM a"); err != nil {
		t.Fatal(err)
	}
	if err := Apply(t.Context(), b.run(t)); err == nil || !strings.Contains(err.Error(), "as a training does; run the command again") {
		t.Errorf("%v", err)
	}
	if err := reads.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.apply(t)
	// What a view needs is not dropped over its head.
	b.onPrimary(t, `ALTER TABLE a DROP COLUMN "Is"`)
	err = Apply(t.Context(), b.run(t))
	if err == nil || !strings.Contains(err.Error(), "view public.over depends on") {
		t.Errorf("%v", err)
	}
}

func TestOptionsAndMappingsFollowTheConfiguration(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, "CREATE TABLE a (id int); GRANT SELECT ON a TO reader, analyst; CREATE ROLE other LOGIN PASSWORD 'next'; GRANT SELECT ON a TO other")
	b.replica.Exec(t, "CREATE ROLE analyst LOGIN")
	b.apply(t)
	b.onReplica(t, "ALTER SERVER "+b.run(t).Name+" OPTIONS (ADD fdw_startup_cost '7')")
	b.configure(t, func(r *configs.Replica) {
		r.FDW = configs.FDW{FetchSize: 50, UseRemoteEstimate: true, Async: true, StatementTimeout: configs.Duration(1500e6), Users: []string{"analyst"}}
		r.Source = configs.Server{URL: configs.URL(b.primary.URL("other", b.database)), Password: "next"}
	})
	state, err := State(t.Context(), b.run(t))
	if err != nil || len(state.Problems) != 3 {
		t.Errorf("%+v, %v", state.Problems, err)
	}
	b.apply(t)
	replica := b.conn(t, b.replica)
	options := texts(t, replica, "SELECT option_name || '=' || option_value FROM pg_foreign_server, pg_options_to_table(srvoptions) WHERE option_name NOT IN ('host', 'port', 'dbname', 'sslmode', 'application_name') ORDER BY 1")
	want := []string{
		"async_capable=true", "fdw_startup_cost=7", "fetch_size=50", "options=-c row_security=off -c default_transaction_read_only=on -c statement_timeout=1500",
		"truncatable=false", "updatable=false", "use_remote_estimate=true",
	}
	checks, _ := problems(t, b)
	if told := slices.Contains(checks, "ml1 async"); told != b.before(t, version14) {
		t.Errorf("%q", checks)
	} else if told {
		want = slices.DeleteFunc(want, func(option string) bool { return option == "async_capable=true" || option == "truncatable=false" })
	}
	if diff := cmp.Diff(want, options); diff != "" {
		t.Error(diff)
	}
	mapped := texts(t, replica, "SELECT usename || ' ' || o.option_value FROM pg_user_mappings, pg_options_to_table(umoptions) o WHERE option_name = 'user' ORDER BY 1")
	if diff := cmp.Diff([]string{"analyst other", "postgres other"}, mapped); diff != "" {
		t.Error(diff)
	}
	if got := texts(t, b.replica.Conn(t, "analyst", b.database), "SELECT count(*)::text FROM a"); !slices.Equal(got, []string{"0"}) {
		t.Errorf("%q", got)
	}
	mark := b.primary.Mark(t)
	b.onPrimary(t, "INSERT INTO a SELECT generate_series(1, 10)")
	if _, err := replica.Exec(t.Context(), "SELECT id, pg_sleep(0.5) FROM a"); err != nil {
		t.Errorf("the limit is not one of each query: %v", err)
	}
	if !b.primary.Saw(t, mark, "FETCH 50") {
		t.Error("fetch_size is not in force")
	}
}

// primary.url may have what only libpq of PostgreSQL 17 knows.
func TestAReplicaIsGivenNoParameterThatItDoesNotKnow(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Source = configs.Server{} })
	b.cfg.Primary.URL += "&sslnegotiation=postgres"
	b.onPrimary(t, "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	b.apply(t)
	b.apply(t)
	if steps := b.done(); !slices.Equal(steps, []string{"log in to the primary from the replica"}) {
		t.Errorf("done again: %q", steps)
	}
}
