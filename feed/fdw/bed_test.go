package fdw

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
	"pgshunt/testdata/feeds"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// password is the one of role reader on the primary.
const password = `it's a "secret\`

// bed is a primary that asks for passwords, a replica, and a database on each.
type bed struct {
	primary, replica *pgtest.Server
	database         string
	cfg              *configs.Config
	mu               sync.Mutex
	events           []feed.Event
}

// asks lets the superuser in, and asks everybody else.
const asks = "host all postgres,open 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"

// newBed makes the servers, of which change changes the configuration before it is read.
func newBed(t *testing.T, change func(*configs.Replica)) *bed {
	t.Helper()
	return newBedOn(t, pgtest.SharedReplica(t), change)
}

func newBedOn(t *testing.T, replica *pgtest.Server, change func(*configs.Replica)) *bed {
	t.Helper()
	b := &bed{primary: pgtest.Primary(t, pgtest.Options{HBA: asks, Settings: map[string]string{"password_encryption": "scram-sha-256"}}), replica: replica}
	t.Cleanup(func() { b.replica.Exec(t, "DROP ROLE IF EXISTS analyst") }) // after the database
	b.database = b.replica.NewDatabase(t)
	b.primary.Exec(t, "CREATE DATABASE "+b.database)
	b.primary.ExecIn(t, b.database, `CREATE ROLE reader LOGIN PASSWORD `+feed.Literal(password)+`; CREATE ROLE analyst LOGIN PASSWORD 'other'`)
	b.configure(t, change)
	return b
}

// awkward is a bed whose primary has the tables of testdata, which reader may read.
func awkward(t *testing.T, change func(*configs.Replica)) *bed {
	t.Helper()
	b := newBed(t, change)
	b.onPrimary(t, feeds.Awkward(b.primary.Version, b.replica.Version))
	b.onPrimary(t, `GRANT USAGE ON SCHEMA shop, "Mixed Case" TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA shop, "Mixed Case" TO reader; ALTER ROLE reader BYPASSRLS`)
	return b
}

func (b *bed) onPrimary(t *testing.T, sql string) { t.Helper(); b.primary.ExecIn(t, b.database, sql) }
func (b *bed) onReplica(t *testing.T, sql string) { t.Helper(); b.replica.ExecIn(t, b.database, sql) }

func (b *bed) configure(t *testing.T, change func(*configs.Replica)) {
	t.Helper()
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(b.primary.URL(b.primary.Superuser(), b.database))
	r := configs.Replica{
		Name: "ml1", Server: configs.Server{URL: configs.URL(b.replica.URL(b.replica.Superuser(), b.database))}, Feed: configs.FeedFDW,
		Source: configs.Server{URL: configs.URL(b.primary.URL("reader", b.database)), Password: password},
	}
	if change != nil {
		change(&r)
	}
	cfg.Replicas = []configs.Replica{r}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	b.cfg = cfg
}

// run is a feed whose events are kept.
func (b *bed) run(t *testing.T) *feed.Run {
	t.Helper()
	b.events = nil
	run, err := feed.Open(b.cfg, "ml1", feed.Options{Sink: func(e feed.Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, e)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func (b *bed) apply(t *testing.T) {
	t.Helper()
	if err := Apply(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
}

// before tells whether the replica is older than a version.
func (b *bed) before(t *testing.T, version int) bool {
	t.Helper()
	var have int
	if err := b.conn(t, b.replica).QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&have); err != nil {
		t.Fatal(err)
	}
	return have < version
}

// done are the steps that were done, not skipped.
func (b *bed) done() (steps []string) {
	for _, e := range b.events {
		if e.Status == feed.StatusDone {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

func (b *bed) conn(t *testing.T, s *pgtest.Server) *pgx.Conn { return s.Super(t, b.database) }

// texts is the only column of a query's answer.
func texts(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%v: %s", err, sql)
	}
	return all
}

// contents hashes every table of the schemas that is there, by schema and name.
func contents(t *testing.T, conn *pgx.Conn, tables []string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, name := range tables {
		all[name] = texts(t, conn, fmt.Sprintf(`SELECT count(*) || ' ' || coalesce(md5(string_agg(x, E'\n' ORDER BY x COLLATE "C")), '') FROM (SELECT t::text AS x FROM %s t) s`, name))[0]
	}
	return all
}

// tablesOf are the tables of a server's database, quoted.
func tablesOf(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	return texts(t, conn, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname IN ('shop', 'Mixed Case', 'public') ORDER BY 1`)
}

// noSecret fails if the password is in what a server wrote, or in an event.
func (b *bed) noSecret(t *testing.T) {
	t.Helper()
	marks := []string{"it's a", "it''s a"}
	has := func(text string) bool {
		return slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(text, m) })
	}
	for _, l := range b.replica.LogLines(t, 0) {
		if has(l.Text) {
			t.Errorf("the replica's log has the password: %s", l.Text)
		}
	}
	for _, e := range b.events {
		if has(e.SQL) || has(e.Step) {
			t.Errorf("an event has the password: %+v", e)
		}
	}
}
