package dump

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
	"pgshunt/testdata/feeds"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bed is a database on each of the two shared servers.
type bed struct {
	*feed.Run
	primary, replica *pgx.Conn
	mu               sync.Mutex
	events           []feed.Event
	// hear is called with each event, if it is set.
	hear func(feed.Event)
}

func newBed(t *testing.T, change func(*configs.Replica)) *bed {
	t.Helper()
	return bedOn(t, pgtest.SharedPrimary(t), pgtest.SharedReplica(t), change)
}

func bedOn(t *testing.T, primary, replica *pgtest.Server, change func(*configs.Replica)) *bed {
	t.Helper()
	return bedIn(t, primary, replica, primary.NewDatabase(t), replica.NewDatabase(t), change)
}

func bedIn(t *testing.T, primary, replica *pgtest.Server, at, on string, change func(*configs.Replica)) *bed {
	t.Helper()
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(primary.URL(primary.Superuser(), at))
	r := configs.Replica{Name: "ml1", Server: configs.Server{URL: configs.URL(replica.URL(replica.Superuser(), on))}, Feed: configs.FeedDump}
	if change != nil {
		change(&r)
	}
	cfg.Replicas = []configs.Replica{r}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	b := &bed{primary: primary.Super(t, at), replica: replica.Super(t, on), Run: &feed.Run{Config: cfg}}
	b.reopen(t)
	return b
}

// reopen opens the run by what the configuration says now.
func (b *bed) reopen(t *testing.T) {
	t.Helper()
	run, err := feed.Open(b.Config, "ml1", feed.Options{Jobs: 2, Sink: b.sink})
	if err != nil {
		t.Fatal(err)
	}
	b.Run = run
}

// awkward are the tables of testdata that both servers know.
func (b *bed) awkward() string {
	return feeds.Awkward(b.primary.PgConn().ParameterStatus("server_version"), b.replica.PgConn().ParameterStatus("server_version"))
}

// constraints is a condition for those that both servers keep in pg_constraint: NOT NULL is one
// of them from 18 on.
func (b *bed) constraints() string {
	if b.primary.PgConn().ParameterStatus("server_version") != b.replica.PgConn().ParameterStatus("server_version") {
		return "contype <> 'n'"
	}
	return "true"
}

func (b *bed) sink(e feed.Event) {
	b.mu.Lock()
	b.events = append(b.events, e)
	hear := b.hear
	b.mu.Unlock()
	if hear != nil {
		hear(e)
	}
}

func (b *bed) refresh(t *testing.T) {
	t.Helper()
	if err := Refresh(context.Background(), b.Run); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

func value(t *testing.T, conn *pgx.Conn, sql string) (text string) {
	t.Helper()
	if err := conn.QueryRow(context.Background(), "SELECT coalesce(("+sql+")::text, 'NULL')").Scan(&text); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return text
}

// contents hashes the rows of every table of a server.
func contents(t *testing.T, conn *pgx.Conn) (lines []string) {
	t.Helper()
	tables, err := feed.Tables(context.Background(), conn, func(schema, _ string) bool {
		return schema != "pgml" && !strings.HasPrefix(schema, "pgshunt")
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range tables {
		hash := value(t, conn, "SELECT count(*) || ' ' || coalesce(md5(string_agg(r::text, E'\\n' ORDER BY r::text COLLATE \"C\")), '') FROM ONLY "+one.Qualified()+" r")
		lines = append(lines, one.Plain()+" "+hash)
	}
	return lines
}

func (b *bed) equal(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff(contents(t, b.primary), contents(t, b.replica)); diff != "" {
		t.Error(diff)
	}
	b.tidy(t)
}

// tidy looks for what a copy should have taken away.
func (b *bed) tidy(t *testing.T) {
	t.Helper()
	if left := value(t, b.replica, "SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE starts_with(nspname, 'pgshunt_')"); left != "NULL" {
		t.Errorf("left over: %s", left)
	}
}

func TestEveryRowArrives(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, b.awkward())
	if err := Apply(context.Background(), b.Run); err != nil {
		t.Fatal(err)
	}
	b.equal(t)
	b.events = nil
	if err := Apply(context.Background(), b.Run); err != nil {
		t.Fatal(err)
	}
	if len(b.events) != 1 || b.events[0].Status != feed.StatusSkip {
		t.Errorf("the second apply did %+v", b.events)
	}
	exec(t, b.primary, "DELETE FROM shop.types WHERE id = 1; UPDATE shop.orders SET amount = amount + 1; INSERT INTO shop.visits VALUES (1000, '2026-05-05', 'xx', 1)")
	b.refresh(t)
	b.equal(t)
	for _, sql := range []string{
		"SELECT nextval('shop.audit_id_seq')", "SELECT nextval(pg_get_serial_sequence('shop.orders', 'id'))", "SELECT pg_get_serial_sequence('shop.orders', 'id')",
		"SELECT string_agg(indexrelid::regclass || pg_get_indexdef(indexrelid) || indisvalid, E'\\n' ORDER BY indexrelid::regclass::text COLLATE \"C\") FROM pg_index WHERE indexrelid::regclass::text LIKE 'shop.%'",
		"SELECT string_agg(conrelid::regclass || pg_get_constraintdef(oid) || convalidated, E'\\n' ORDER BY conname, conrelid::regclass::text COLLATE \"C\") FROM pg_constraint WHERE conrelid::regclass::text LIKE 'shop.%' AND " + b.constraints(),
		"SELECT string_agg(attrelid::regclass || attname, E'\\n' ORDER BY attrelid::regclass::text COLLATE \"C\", attname COLLATE \"C\") FROM pg_attribute WHERE attrelid::regclass::text LIKE 'shop.%' AND attnum > 0 AND attnotnull",
	} {
		if diff := cmp.Diff(value(t, b.primary, sql), value(t, b.replica, sql)); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
	}
	state, err := State(context.Background(), b.Run)
	if err != nil || state.State != "ready" || len(state.Tables) != len(contents(t, b.primary)) || state.LagSeconds < 0 {
		t.Errorf("%v %+v", err, state)
	}
	if err := Drop(context.Background(), b.Run); err != nil {
		t.Fatal(err)
	}
	if got := value(t, b.replica, "SELECT count(*) FROM pgshunt.copies"); got != "0" {
		t.Errorf("%s copies are remembered", got)
	}
	b.equal(t)
}

func TestRowsThatNoFeedHasBroughtStay(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.*"} })
	exec(t, b.primary, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1); CREATE TABLE empty (id int);
		CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1)`)
	exec(t, b.replica, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (7); CREATE TABLE empty (id int)")
	refused := func(what string) {
		t.Helper()
		for _, do := range []func(context.Context, *feed.Run) error{Apply, Refresh} {
			if err := do(context.Background(), b.Run); err == nil || !strings.Contains(err.Error(), what+" holds rows there that no feed has brought") {
				t.Errorf("%v", err)
			}
		}
	}
	refused("public.a")
	dir := filepath.Join(t.TempDir(), "copy")
	if err := Save(context.Background(), b.Run, dir, "test"); err != nil {
		t.Fatal(err)
	}
	if err := ApplyFrom(context.Background(), b.Run, dir); err == nil || !strings.Contains(err.Error(), "that no feed has brought") {
		t.Errorf("%v", err)
	}
	if got := value(t, b.replica, "SELECT id FROM a"); got != "7" {
		t.Errorf("the row is %s now", got)
	}
	exec(t, b.replica, "TRUNCATE a")
	b.refresh(t)
	b.refresh(t)
	exec(t, b.replica, "CREATE TABLE own PARTITION OF parts FOR VALUES IN (2); INSERT INTO parts VALUES (2)")
	refused("public.own")
	exec(t, b.replica, "ALTER TABLE parts DETACH PARTITION own")
	// A feed that was dropped and set up again finds its tables.
	if err := Drop(context.Background(), b.Run); err != nil {
		t.Fatal(err)
	}
	exec(t, b.primary, "INSERT INTO a VALUES (2)")
	b.refresh(t)
	if got := value(t, b.replica, "SELECT count(*) FROM a") + value(t, b.replica, "SELECT id FROM own"); got != "22" {
		t.Errorf("%s", got)
	}
	// One of the same name that somebody has made since is not one of them.
	exec(t, b.replica, "ALTER TABLE a RENAME TO b; CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (7)")
	refused("public.a")
}

func TestADatabaseHasTheCopiesOfOneFeed(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.*"} })
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY)")
	b.refresh(t)
	exec(t, b.replica, "INSERT INTO pgshunt.feeds (name, way, source) VALUES ('pgshunt_x_other', 'dump', 'x')")
	if err := Refresh(context.Background(), b.Run); err == nil || !strings.Contains(err.Error(), "is fed by pgshunt_x_other as well") {
		t.Errorf("%v", err)
	}
}

func TestColumnsAndRowsAsConfigured(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Tables = configs.Patterns{"public.*"}
		r.Columns = map[string][]string{"public.people": {"id", "town"}}
		r.Where = map[string]string{"public.visits": "id % 2 = 0 -- even"}
	})
	exec(t, b.primary, `CREATE TABLE people (id int PRIMARY KEY, secret text NOT NULL, town text); INSERT INTO people SELECT i, 'x', 't' FROM generate_series(1, 10) i;
		CREATE TABLE visits (id int, at date) PARTITION BY RANGE (at); CREATE TABLE v1 PARTITION OF visits DEFAULT; INSERT INTO visits SELECT i, '2026-01-01' FROM generate_series(1, 10) i`)
	b.refresh(t)
	for sql, want := range map[string]string{
		"SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0 AND NOT attisdropped": "id,town",
		"SELECT count(*) FROM people": "10", "SELECT array_agg(id ORDER BY id) FROM visits": "{2,4,6,8,10}", "SELECT string_agg(relation, ' ' ORDER BY relation) FROM pgshunt.copies WHERE partial": "public.people public.v1 public.visits",
	} {
		if got := value(t, b.replica, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	if err := Apply(context.Background(), b.Run); err != nil {
		t.Fatal(err)
	}
}

func TestAChangedDefinitionFollows(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TYPE mood AS ENUM ('a'); CREATE TABLE a (id int PRIMARY KEY, gone text, m mood); INSERT INTO a VALUES (1, 'x', 'a'); CREATE TABLE b (id int REFERENCES a)`)
	b.refresh(t)
	exec(t, b.replica, "CREATE VIEW v AS SELECT id FROM a; CREATE INDEX here ON a (m)")
	exec(t, b.primary, `ALTER TABLE a DROP COLUMN gone, ADD COLUMN more int NOT NULL DEFAULT 7, ALTER id TYPE bigint; ALTER TYPE mood ADD VALUE 'b'; CREATE TABLE c (x int)`)
	exec(t, b.replica, "DROP VIEW v")
	exec(t, b.primary, "INSERT INTO a VALUES (2, 'b'); INSERT INTO b VALUES (2)")
	b.refresh(t)
	b.equal(t)
	constraints := "SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid IN ('a'::regclass, 'b'::regclass) AND " + b.constraints()
	if diff := cmp.Diff(value(t, b.primary, constraints), value(t, b.replica, constraints)); diff != "" {
		t.Error(diff)
	}
}

func TestATableInPartsIsWhole(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TABLE big (id int, t text); INSERT INTO big SELECT i, repeat('x', 500) FROM generate_series(1, 3000) i; DELETE FROM big WHERE id % 3 = 0;
		CREATE TABLE small (id int); INSERT INTO small VALUES (1)`)
	b.Jobs = 4
	c, err := open(context.Background(), b.Run)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.least = 10
	if err := c.copy(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.equal(t)
	if n := len(c.parts()); n < 10 && c.primaryVersion >= ranges || n != 2 && c.primaryVersion < ranges {
		t.Errorf("the tables were copied in %d parts", n)
	}
	if got := value(t, b.replica, "SELECT sum(copied_rows) FROM pgshunt.copies"); got != "2001" {
		t.Errorf("%s rows are recorded", got)
	}
}

func TestARowThatIsRefusedIsToldWithItsServer(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, "CREATE TABLE a (id int, t text); INSERT INTO a SELECT i, repeat('x', 2000) FROM generate_series(1, 5000) i")
	b.refresh(t)
	exec(t, b.replica, "ALTER TABLE a ADD CHECK (id <> 6000)")
	exec(t, b.primary, "INSERT INTO a SELECT i, repeat('x', 2000) FROM generate_series(5001, 20000) i")
	if err := Refresh(context.Background(), b.Run); err == nil || !strings.HasPrefix(err.Error(), "ml1: copy public.a: new row for relation") {
		t.Errorf("%v", err)
	}
	if got := value(t, b.replica, "SELECT count(*) FROM a"); got != "5000" {
		t.Errorf("%s rows", got)
	}
	b.tidy(t)
	exec(t, b.primary, "ALTER TABLE a ADD COLUMN boom int; CREATE FUNCTION boom(int) RETURNS boolean LANGUAGE sql AS 'SELECT 1 / ($1 - 12000) IS NOT NULL'")
	b.Selection = feed.NewSelection(&configs.Replica{Where: map[string]string{"public.a": "public.boom(id)"}})
	exec(t, b.replica, "ALTER TABLE a DROP CONSTRAINT a_id_check")
	if err := Refresh(context.Background(), b.Run); err == nil || !strings.HasPrefix(err.Error(), "primary: copy public.a: division by zero") {
		t.Errorf("%v", err)
	}
	b.tidy(t)
}
