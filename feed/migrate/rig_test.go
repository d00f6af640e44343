package migrate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/logical"
	"pgshunt/feed/schema"
	"pgshunt/internal/pgtest"
	"pgshunt/parser"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig is a primary with a table that is written to, and a replica fed from it.
type rig struct {
	t                *testing.T
	primary, replica *pgtest.Server
	cfg              *configs.Config
	mark             int // in the replica's log
	conns            map[*pgtest.Server]*pgx.Conn
}

// super is a connection to a server, which is made anew where that was restarted.
func (g *rig) super(s *pgtest.Server) *pgx.Conn {
	g.t.Helper()
	if g.conns == nil {
		g.conns = map[*pgtest.Server]*pgx.Conn{}
	}
	if conn := g.conns[s]; conn == nil || conn.IsClosed() || conn.Ping(context.Background()) != nil {
		g.conns[s] = s.Super(g.t, "postgres")
	}
	return g.conns[s]
}

const rigTables = `CREATE TABLE docs (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, body text, extra int NOT NULL DEFAULT 3, code varchar(40));
	ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;
	CREATE TABLE other (id int PRIMARY KEY, v text);
	INSERT INTO docs SELECT i, 0, CASE i % 3 WHEN 0 THEN repeat(i::text, 3000) WHEN 1 THEN 'short' END, i, 'c' || i FROM generate_series(1, 300) i;
	INSERT INTO other SELECT i, 'v' || i FROM generate_series(1, 100) i`

// newRig feeds all tables by the feed; more is SQL for the primary before that.
func newRig(t *testing.T, way configs.Feed, more string) *rig {
	t.Helper()
	g := &rig{t: t}
	g.primary = pgtest.Primary(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical", "log_statement": "none"}})
	g.replica = pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"wal_retrieve_retry_interval": "200ms", "log_statement": "none", "max_logical_replication_workers": "8", "max_worker_processes": "16"}})
	g.primary.Exec(t, rigTables)
	if more != "" {
		g.primary.Exec(t, more)
	}
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(g.primary.URL(g.primary.Superuser(), "postgres"))
	cfg.Replicas = []configs.Replica{{Name: "ml1", Feed: way, Tables: configs.Patterns{"public.*"}}}
	cfg.Replicas[0].URL = configs.URL(g.replica.URL(g.replica.Superuser(), "postgres"))
	cfg.Replicas[0].Serves, cfg.Replicas[0].FDW.FetchSize = []configs.Service{configs.ServeReads}, 100
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	g.cfg = cfg
	g.feed(way)
	g.mark = g.replica.Mark(t)
	return g
}

// feed sets the feed up as the packages of the ways do.
func (g *rig) feed(way configs.Feed) {
	run := g.run(nil)
	ctx := context.Background()
	conn := g.primary.Super(g.t, "postgres")
	tables, err := feed.Tables(ctx, conn, run.Selection.Has)
	if err != nil {
		g.t.Fatal(err)
	}
	if way == configs.FeedFDW {
		g.replica.Exec(g.t, fmt.Sprintf(`CREATE EXTENSION postgres_fdw; CREATE SERVER source FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '%d', dbname 'postgres');
			CREATE USER MAPPING FOR CURRENT_USER SERVER source OPTIONS (user '%s', password_required 'false'); IMPORT FOREIGN SCHEMA public FROM SERVER source INTO public`, g.primary.Port, g.primary.Superuser()))
		return
	}
	if way == configs.FeedLogical {
		if err := logical.Apply(ctx, run); err != nil {
			g.t.Fatal(err)
		}
		return
	}
	for _, need := range []schema.Need{schema.Tables, schema.Indexes} {
		if err := schema.Bring(ctx, run, tables, need); err != nil {
			g.t.Fatal(err)
		}
	}
	g.refreshDump()
}

// refreshDump copies what the docs and other tables hold, as a refresh would.
func (g *rig) refreshDump() {
	ctx := context.Background()
	from, to := g.primary.Super(g.t, "postgres"), g.replica.Super(g.t, "postgres")
	for _, table := range []string{"docs", "other"} {
		var rows []byte
		if err := from.QueryRow(ctx, "SELECT coalesce(json_agg(t), '[]') FROM "+table+" t").Scan(&rows); err != nil {
			g.t.Fatal(err)
		}
		if _, err := to.Exec(ctx, fmt.Sprintf("INSERT INTO %s SELECT * FROM json_populate_recordset(NULL::%s, $1::json)", table, table), string(rows)); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (g *rig) run(sink feed.Sink) *feed.Run {
	g.t.Helper()
	run, err := feed.Open(g.cfg, "ml1", feed.Options{Sink: sink})
	if err != nil {
		g.t.Fatal(err)
	}
	return run
}

func read(t *testing.T, script string) (list []Statement) {
	t.Helper()
	all, err := parser.Definitions(script)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		st := Statement{SQL: d.Text, Alone: d.Alone, Setting: d.Kind == parser.Set || d.Kind == parser.Reset, Control: d.Kind == parser.Begin || d.Kind == parser.Commit}
		for _, c := range d.Changes {
			st.Changes = append(st.Changes, Change(c))
		}
		list = append(list, st)
	}
	return list
}

func (g *rig) migrate(script string) error {
	g.t.Helper()
	return Script(context.Background(), []*feed.Run{g.run(nil)}, read(g.t, script), Options{})
}

// writer writes to docs until stop is called, whatever the column body is called meanwhile.
// It returns how many statements have been carried out.
func (g *rig) writer() (stop func() int64) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	var count atomic.Int64
	for w := range 1 {
		conn := g.primary.Super(g.t, "postgres")
		work.Add(1)
		go func() {
			defer work.Done()
			body := "body"
			for i := 0; ctx.Err() == nil; i++ {
				id := rand.IntN(400)
				var err error
				if i%50 == 49 { // no faster than the replica, so that the test ends
					g.near(ctx, conn)
				}
				switch i % 5 {
				case 0:
					_, err = conn.Exec(ctx, "INSERT INTO docs (id, "+body+", code) VALUES ($1, repeat($2, 2500), $2)", 1000+w+2*i, fmt.Sprint(i))
				case 1:
					_, err = conn.Exec(ctx, "UPDATE docs SET "+body+" = NULLIF($2, '7') WHERE id = $1", id, fmt.Sprint(i%10))
				case 2:
					_, err = conn.Exec(ctx, "DELETE FROM docs WHERE id = $1", 1000+w+2*(i-42))
				default: // what is out of line does not travel
					_, err = conn.Exec(ctx, "UPDATE docs SET n = n + 1 WHERE id = $1", id)
				}
				var pg *pgconn.PgError
				switch {
				case err == nil:
					count.Add(1)
				case errors.As(err, &pg) && pg.Code == "42703":
					body = map[string]string{"body": "content", "content": "body"}[body]
				case errors.As(err, &pg) && (pg.Code == "0A000" || pg.Code == "42P01" || pg.Code == "42804"): // a plan that a change has overtaken; the table away
				case ctx.Err() == nil && !conn.IsClosed():
					g.t.Errorf("writer: %v", err)
					return
				default:
					return
				}
			}
		}()
	}
	g.t.Cleanup(func() { cancel(); work.Wait() })
	return func() int64 {
		cancel()
		work.Wait()
		return count.Load()
	}
}

// near waits until the replica is not far behind.
func (g *rig) near(ctx context.Context, conn *pgx.Conn) {
	pgtest.Eventually(func() bool {
		var is bool
		err := conn.QueryRow(ctx, "SELECT coalesce(bool_and(pg_current_wal_lsn() - confirmed_flush_lsn < 200000), true) FROM pg_replication_slots WHERE NOT temporary").Scan(&is)
		return is || err != nil
	})
}

// moves waits until the replica has applied something new.
func (g *rig) moves() {
	g.t.Helper()
	ctx := context.Background()
	conn := g.primary.Super(g.t, "postgres")
	var from string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&from); err != nil {
		g.t.Fatal(err)
	}
	if !pgtest.Eventually(func() bool {
		var past bool
		err := conn.QueryRow(ctx, "SELECT bool_and(confirmed_flush_lsn > $1::pg_lsn) FROM pg_replication_slots WHERE NOT temporary", from).Scan(&past)
		return err == nil && past
	}) {
		g.t.Fatal("replication does not go on")
	}
}

const content = `SELECT c.relname, a.list, (xpath('/row/h/text()', query_to_xml(format('SELECT md5(coalesce(string_agg(r::text, E''\n'' ORDER BY r::text), '''')) AS h FROM (SELECT %s FROM %s) r', a.list, c.oid::regclass), false, true, '')))[1]::text
	FROM pg_class c CROSS JOIN LATERAL (SELECT string_agg(quote_ident(attname) || ' ' , ', ' ORDER BY attname) AS list, string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attname) AS shape
	FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a
	WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1`

// contents are the tables of a server by name: shape and hash of what they hold.
func (g *rig) contents(s *pgtest.Server) map[string]string {
	t := g.t
	t.Helper()
	rows, err := g.super(s).Query(context.Background(), strings.Replace(content, "a.list,", "a.shape,", 1))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	var name, shape, sum string
	if _, err := pgx.ForEachRow(rows, []any{&name, &shape, &sum}, func() error { out[name] = shape + " " + sum; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// equal waits until the replica has what the primary has, and checks that replication has
// never failed on the way.
func (g *rig) equal() {
	g.t.Helper()
	g.settled()
	if log := g.since(); strings.Contains(log, "ERROR") || strings.Contains(log, "because of an error") {
		g.t.Errorf("the replica's log has errors:\n%s", errorsIn(log))
	}
}

func (g *rig) settled() {
	g.t.Helper()
	want, have := g.contents(g.primary), map[string]string{}
	same := func() bool {
		have = g.contents(g.replica)
		for name := range want {
			if have[name] != want[name] {
				return false
			}
		}
		return len(have) == len(want)
	}
	if !pgtest.Eventually(same) {
		g.t.Errorf("the servers differ:\nprimary %v\nreplica %v", want, have)
	}
	open, err := openEntries(context.Background(), g.run(nil), g.super(g.replica))
	if err != nil || len(open) != 0 {
		g.t.Errorf("%d changes are open: %v", len(open), err)
	}
	var left int
	err = g.super(g.replica).QueryRow(context.Background(), `SELECT count(*) FROM pg_trigger WHERE tgname = 'pgshunt_box'`).Scan(&left)
	if err != nil || left != 0 {
		g.t.Errorf("%d letter boxes are left: %v", left, err)
	}
}

func (g *rig) since() string {
	g.t.Helper()
	log, err := g.replica.Log()
	if err != nil {
		g.t.Fatal(err)
	}
	return log[g.mark:]
}

func errorsIn(log string) string {
	var out []string
	for _, line := range strings.Split(log, "\n") {
		if strings.Contains(line, "ERROR") || strings.Contains(line, "because of an error") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
