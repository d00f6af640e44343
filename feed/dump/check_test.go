package dump

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
)

func TestWhatStandsAgainstACopyIsNamed(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Where = map[string]string{"public.a": "no_such > 1"}
		r.Columns = map[string][]string{"public.b": {"id", "nothing"}}
	})
	role := b.primary.Config().Database + "_low"
	exec(t, b.primary, "CREATE ROLE "+role+` LOGIN; CREATE SCHEMA s; CREATE TABLE s.hidden (x int); CREATE TABLE a (id int); GRANT SELECT ON a TO PUBLIC; CREATE TABLE b (id int, more int);
		CREATE TABLE secured (id int); ALTER TABLE secured ENABLE ROW LEVEL SECURITY; GRANT SELECT ON secured TO PUBLIC; CREATE TABLE old (x int); CREATE TABLE child () INHERITS (old); GRANT SELECT ON old, child TO PUBLIC`)
	t.Cleanup(func() { exec(t, b.primary, "DROP ROLE "+role) })
	exec(t, b.replica, "CREATE VIEW a AS SELECT 1 AS id; CREATE TABLE before (x int)")
	cfg := *b.Config
	u, err := url.Parse(string(cfg.Primary.URL))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	cfg.Primary.URL = configs.URL(u.String())
	run, err := feed.Open(&cfg, "ml1", feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	problems, err := Check(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		if !p.Blocks {
			t.Errorf("%+v blocks nothing", p)
		}
		got = append(got, p.Server+" "+p.Check+" "+strings.ReplaceAll(p.Remedy, role, "low"))
	}
	slices.Sort(got)
	want := []string{
		"ml1 kind ", "primary columns ", `primary definition GRANT SELECT ON "public"."b" TO "low";`, `primary row_security ALTER ROLE "low" BYPASSRLS;`,
		`primary select GRANT SELECT ("id") ON "public"."b" TO "low";`, `primary select GRANT SELECT ON "s"."hidden" TO "low";`, `primary usage GRANT USAGE ON SCHEMA "s" TO "low";`, "primary where ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := Apply(context.Background(), run); err == nil || !strings.Contains(err.Error(), "is blocked") {
		t.Errorf("applied: %v", err)
	}
	if got := value(t, b.replica, "SELECT to_regnamespace('pgshunt')"); got != "NULL" {
		t.Error("something was made")
	}
}

func TestAServerThatIsAwayIsNamedAndNothingChanges(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	b.refresh(t)
	for _, away := range []string{"primary", "ml1"} {
		cfg := *b.Config
		cfg.Replicas = slices.Clone(cfg.Replicas)
		if away == "primary" {
			cfg.Primary.URL = "postgres://nobody:geheim@127.0.0.1:1/d?sslmode=disable"
		} else {
			cfg.Replicas[0].URL = "postgres://nobody:geheim@127.0.0.1:1/d?sslmode=disable"
		}
		run, err := feed.Open(&cfg, "ml1", feed.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := Refresh(context.Background(), run); err == nil || !strings.HasPrefix(err.Error(), away+": connect: ") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v", err)
		}
	}
	b.equal(t)
}

func TestPrintedOnly(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, killed)
	b.Print = true
	b.refresh(t)
	if got := contents(t, b.replica); got != nil || value(t, b.replica, "SELECT to_regnamespace('pgshunt')") != "NULL" {
		t.Errorf("%v", got)
	}
	var sql strings.Builder
	for _, e := range b.events {
		sql.WriteString(string(e.Status) + e.SQL)
	}
	for _, want := range []string{"CREATE TABLE public.a", `COPY "public"."a"("id", "m", "t") TO STDOUT`, "SET SCHEMA"} {
		if !strings.Contains(sql.String(), want) {
			t.Errorf("%q is not among what would be done", want)
		}
	}
	if strings.Contains(sql.String(), string(feed.StatusStart)) {
		t.Error("something was begun")
	}
}

func TestARoleThatMayReadColumnsOnlyCopiesALargeTable(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Columns = map[string][]string{"public.people": {"id", "town"}} })
	exec(t, b.primary, `CREATE TABLE people (id int PRIMARY KEY, secret text, town char(90)); INSERT INTO people SELECT i, repeat('x', 500), 't' FROM generate_series(1, 3000) i`)
	b.refresh(t) // pg_dump has to lock what the replica lacks
	role := b.primary.Config().Database + "_low"
	exec(t, b.primary, "CREATE ROLE "+role+" LOGIN; GRANT SELECT (id, town) ON people TO "+role+"; DELETE FROM people WHERE id <= 1000")
	t.Cleanup(func() { exec(t, b.primary, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	cfg := *b.Config
	u, err := url.Parse(string(cfg.Primary.URL))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	cfg.Primary.URL = configs.URL(u.String())
	run, err := feed.Open(&cfg, "ml1", feed.Options{Jobs: 4})
	if err != nil {
		t.Fatal(err)
	}
	c, err := open(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.least = 10
	if err := c.copy(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := value(t, b.replica, "SELECT count(*) || ' ' || min(id) || town FROM people GROUP BY town"); got != "2000 1001t" {
		t.Errorf("the copy has %q", got)
	}
}
