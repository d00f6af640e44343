package fdw

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
)

// traces is what a feed may leave on the replica.
const traces = `SELECT 'server ' || srvname FROM pg_foreign_server UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname IN ('shop', 'Mixed Case') OR nspname LIKE 'pgshunt%'
	UNION ALL SELECT 'extension' FROM pg_extension WHERE extname = 'postgres_fdw' UNION ALL SELECT 'table ' || relname FROM pg_class WHERE relkind = 'f'`

func TestWhatFailsLeavesNothing(t *testing.T) {
	b := awkward(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deaf := l.Addr().String()
	_ = l.Close()
	for _, c := range []struct {
		name   string
		change func(*configs.Replica)
		want   []string
	}{
		{"a wrong password", func(r *configs.Replica) { r.Source.Password = "wrong" }, []string{"ml1: log in to the primary", "password authentication failed"}},
		{"nobody is there", func(r *configs.Replica) { r.Source.URL = configs.URL("postgres://reader@" + deaf + "/" + b.database) }, []string{"ml1: log in to the primary", "refused", "nothing has been changed"}},
		{"no password is asked for", func(r *configs.Replica) { r.Source.URL = configs.URL(b.primary.URL("postgres", b.database)) }, []string{"[2F003]", "scram-sha-256"}},
		{"no such database", func(r *configs.Replica) { r.Source.URL = configs.URL(b.primary.URL("reader", "nowhere")) }, []string{`database "nowhere" does not exist`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.configure(t, c.change)
			err := Apply(t.Context(), b.run(t))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "wrong") {
				t.Errorf("%q", err)
			}
			if left := texts(t, b.conn(t, b.replica), traces); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
	b.noSecret(t)
}

func problems(t *testing.T, b *bed) (checks []string, remedies []string) {
	t.Helper()
	found, err := Check(t.Context(), b.run(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		text := p.Server + " " + p.Check
		if p.Blocks {
			text += "!"
		}
		checks = append(checks, text)
		if p.Blocks && p.Remedy != "" {
			remedies = append(remedies, p.Remedy)
		}
	}
	return checks, remedies
}

func TestTheRemediesOfMissingRightsHelp(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Columns = map[string][]string{"public.part": {"id", "Name"}}
		r.Tables = configs.Patterns{"public.*", "s.*"}
	})
	b.onPrimary(t, `CREATE SCHEMA s; CREATE TABLE s.whole (a int); CREATE TABLE part (id int, "Name" text, secret text);
		GRANT SELECT (id) ON part TO reader; CREATE TABLE hidden (x int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; GRANT SELECT ON hidden TO reader;
		INSERT INTO part VALUES (1, 'one', 'no'); INSERT INTO s.whole VALUES (7)`)
	checks, remedies := problems(t, b)
	if diff := cmp.Diff([]string{"ml1 row_security", "primary privileges!", "primary row_security!", "primary snapshot"}, checks); diff != "" {
		t.Fatal(diff)
	}
	want := "GRANT USAGE ON SCHEMA \"s\" TO \"reader\";\nGRANT SELECT (\"Name\") ON \"public\".\"part\" TO \"reader\";\nGRANT SELECT ON \"s\".\"whole\" TO \"reader\";"
	if remedies[0] != want {
		t.Errorf("%s", remedies[0])
	}
	err := Apply(t.Context(), b.run(t))
	if blocked := (*feed.Blocked)(nil); !errors.As(err, &blocked) {
		t.Errorf("not blocked: %v", err)
	}
	for _, remedy := range remedies {
		b.onPrimary(t, remedy)
	}
	b.onReplica(t, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
	b.apply(t)
	replica := b.conn(t, b.replica)
	if got := texts(t, replica, "SELECT relname FROM pg_class WHERE relkind = 'f' AND has_table_privilege('pg_monitor', oid, 'SELECT')"); len(got) > 0 {
		t.Errorf("everybody may read %q", got)
	}
	if got := texts(t, replica, "SELECT p::text || (SELECT a FROM s.whole) FROM part p"); !slices.Equal(got, []string{"(1,one)7"}) {
		t.Errorf("%q", got)
	}
	// A role that row-level security binds gets an error, and not a part.
	b.onPrimary(t, "ALTER ROLE reader NOBYPASSRLS")
	if _, err := replica.Exec(t.Context(), "SELECT * FROM hidden"); err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Errorf("%v", err)
	}
}

func TestProblemsOfTheReplica(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Where = map[string]string{"public.a": "id > 0"}
		r.Columns = map[string][]string{"public.b": {"none"}}
		r.FDW.Users = []string{"nobody_here"}
	})
	b.onPrimary(t, "CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int); CREATE TABLE d (id int); GRANT SELECT ON a, b, c, d TO reader; ALTER ROLE reader SET idle_in_transaction_session_timeout = '1min'")
	b.replica.Exec(t, "CREATE ROLE limited LOGIN PASSWORD 'p'")
	t.Cleanup(func() { b.replica.Exec(t, "DROP ROLE limited") })
	t.Cleanup(func() { b.onReplica(t, "DROP OWNED BY limited") })
	b.onReplica(t, "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE TABLE c (x int); CREATE VIEW d AS SELECT 1") // as it is from PostgreSQL 15 on
	b.cfg.Replicas[0].URL = configs.URL(b.replica.URL("limited", b.database))
	checks, _ := problems(t, b)
	want := []string{
		"ml1 where!", "primary columns!", "primary idle_in_transaction", "primary snapshot", "ml1 extension!", "ml1 privileges!",
		"ml1 users!", "ml1 password_in_log!", "ml1 privileges!", "ml1 relation!", "ml1 relation!",
	}
	if diff := cmp.Diff(want, checks); diff != "" {
		t.Error(diff)
	}
}

func TestAnOrdinaryRoleOwnsTheFeed(t *testing.T) {
	b := awkward(t, nil)
	b.replica.Exec(t, "CREATE ROLE owner LOGIN; GRANT CREATE ON DATABASE "+b.database+" TO owner; ALTER ROLE owner SET log_statement = 'none'")
	t.Cleanup(func() { b.replica.Exec(t, "DROP ROLE owner") })
	t.Cleanup(func() { b.onReplica(t, "DROP OWNED BY owner CASCADE") })
	b.cfg.Replicas[0].URL = configs.URL(b.replica.URL("owner", b.database))
	_, remedies := problems(t, b)
	if len(remedies) != 1 {
		t.Fatalf("%q", remedies)
	}
	b.onReplica(t, remedies[0])
	b.apply(t)
	b.noSecret(t)
	primary, replica := b.conn(t, b.primary), b.replica.Conn(t, "owner", b.database)
	tables := tablesOf(t, primary)
	if diff := cmp.Diff(contents(t, primary, tables), contents(t, replica, tables)); diff != "" {
		t.Error(diff)
	}
	b.apply(t)
	if steps := b.done(); len(steps) > 1 {
		t.Errorf("done again: %q", steps)
	}
	name := b.run(t).Name
	b.onReplica(t, "ALTER SERVER "+name+" OWNER TO "+b.replica.Superuser())
	remedy := `ALTER SERVER "` + name + `" OWNER TO "owner";`
	b.told(t, "broken", "server", remedy)
	b.onReplica(t, remedy)
	b.clear(t)
}

// Where the primary lets the replica in by its address, a superuser may say that this will do
// for ordinary roles; and who has more rights there than on the primary is told of, and loses them.
func TestASourceWithoutAPassword(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, "CREATE ROLE open LOGIN; CREATE TABLE a (id int); INSERT INTO a VALUES (3); GRANT SELECT ON a TO open; CREATE TABLE b (id int); GRANT SELECT ON b TO open, analyst")
	b.replica.Exec(t, "CREATE ROLE analyst LOGIN")
	b.configure(t, func(r *configs.Replica) {
		r.Source = configs.Server{URL: configs.URL(b.primary.URL("open", b.database))}
	})
	b.apply(t)
	b.onReplica(t, "GRANT SELECT ON a TO analyst")
	if got := texts(t, b.replica.Conn(t, "analyst", b.database), "SELECT id::text FROM a"); !slices.Equal(got, []string{"3"}) {
		t.Errorf("%q", got)
	}
	b.onReplica(t, "GRANT SELECT ON b TO PUBLIC")
	state, err := State(t.Context(), b.run(t))
	if err != nil || len(state.Tables) != 2 || len(state.Tables[0].Drift) != 1 || len(state.Tables[1].Drift) != 1 ||
		state.Tables[0].Drift[0] != `privileges of "analyst": nothing on the primary, SELECT here (the replica gives more than the primary)` ||
		!strings.HasPrefix(state.Tables[1].Drift[0], "privileges of PUBLIC: nothing on the primary, SELECT here") {
		t.Errorf("%+v, %v", state, err)
	}
	b.apply(t)
	if _, err := b.replica.Conn(t, "analyst", b.database).Exec(t.Context(), "SELECT id FROM a"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("it reads what it may not on the primary: %v", err)
	}
	// Who comes to have row-level security on the primary is read by nobody here.
	b.onPrimary(t, "ALTER TABLE b ENABLE ROW LEVEL SECURITY; ALTER ROLE open BYPASSRLS")
	b.apply(t)
	if _, err := b.replica.Conn(t, "analyst", b.database).Exec(t.Context(), "SELECT id FROM b"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("it reads what has row-level security on the primary: %v", err)
	}
	if state, err = State(t.Context(), b.run(t)); err != nil || state.Tables[0].Drift != nil || state.Tables[1].Drift != nil {
		t.Errorf("%+v, %v", state, err)
	}
}
