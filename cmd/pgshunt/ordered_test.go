package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/logical"
	"pgshunt/internal/pgtest"
	"pgshunt/parser"
)

// orderedBed is a primary with a table that is written to, and a replica fed from it by a
// subscription, behind a pgshunt that orders schema changes.
type orderedBed struct {
	primary, replica *pgtest.Server
	served           *served
	mark             int
	conns            map[*pgtest.Server]*pgx.Conn
}

// super is a connection to a server, past pgshunt.
func (b *orderedBed) super(t *testing.T, s *pgtest.Server) *pgx.Conn {
	if b.conns == nil {
		b.conns = map[*pgtest.Server]*pgx.Conn{}
	}
	if b.conns[s] == nil {
		b.conns[s] = s.Super(t, "postgres")
	}
	return b.conns[s]
}

func startOrdered(t *testing.T) *orderedBed {
	t.Helper()
	quiet := func(more map[string]string) pgtest.Options {
		more["log_statement"] = "ddl"
		return pgtest.Options{Settings: more}
	}
	b := &orderedBed{
		primary: pgtest.Primary(t, quiet(map[string]string{"wal_level": "logical"})),
		replica: pgtest.Replica(t, quiet(map[string]string{"wal_retrieve_retry_interval": "200ms"})),
	}
	b.primary.Exec(t, `CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, label text, spare int NOT NULL DEFAULT 1);
		INSERT INTO items SELECT i, 0, 'l' || i FROM generate_series(1, 100) i; CREATE TABLE whole (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
		CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (1) TO (5); INSERT INTO whole VALUES (1, 'one'); CREATE SCHEMA private; CREATE TABLE private.own (a int)`)
	config := fmt.Sprintf("auth: {method: trust}\nprimary: {url: %q}\nrouting: {ddl: ordered}\nreplicas:\n  - {name: ml1, feed: logical, tables: ['public.*'], url: %q}\n",
		b.primary.URL("postgres", "postgres"), b.replica.URL("postgres", "postgres"))
	file := filepath.Join(t.TempDir(), "pgshunt.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := configs.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	run, err := feed.Open(cfg, "ml1", feed.Options{})
	if err == nil {
		err = logical.Apply(context.Background(), run)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.mark = b.replica.Mark(t)
	b.served = serve(t, t.TempDir(), config)
	return b
}

func (b *orderedBed) shape(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	rows, err := b.super(t, s).Query(t.Context(), `SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN '!' ELSE '' END
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, ", ")
}

func (b *orderedBed) rows(t *testing.T, s *pgtest.Server, table string) string {
	t.Helper()
	var text string
	if err := b.super(t, s).QueryRow(t.Context(), "SELECT coalesce(string_agg(j::text, ' ' ORDER BY j::text), '') FROM (SELECT to_jsonb(t) AS j FROM "+table+" t) x").Scan(&text); err != nil {
		return err.Error()
	}
	return text
}

func (b *orderedBed) equal(t *testing.T, tables ...string) {
	t.Helper()
	want := b.shape(t, b.primary)
	if !pgtest.Eventually(func() bool { return b.shape(t, b.replica) == want }) {
		t.Errorf("the primary has %s\nthe replica %s", want, b.shape(t, b.replica))
	}
	for _, table := range tables {
		if !pgtest.Eventually(func() bool { return b.rows(t, b.primary, table) == b.rows(t, b.replica, table) }) {
			t.Errorf("%s: the primary has %s\nthe replica %s", table, b.rows(t, b.primary, table), b.rows(t, b.replica, table))
		}
	}
	log, err := b.replica.Log()
	if err != nil {
		t.Fatal(err)
	}
	if log = log[b.mark:]; strings.Contains(log, "because of an error") || strings.Contains(log, "ERROR") {
		t.Errorf("the replica's log has errors:\n%s", log)
	}
}

// writes has a client of pgshunt write to items, by whatever name it and its key have, until stop
// is called.
func (b *orderedBed) writes(t *testing.T) (stop func()) {
	t.Helper()
	conn, watch := b.served.connect(t), b.primary.Super(t, "postgres")
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		names := []string{"UPDATE items SET n = n + 1 WHERE id = $1", "UPDATE goods SET n = n + 1 WHERE id = $1", "UPDATE goods SET n = n + 1 WHERE number = $1", "UPDATE items SET n = n + 1 WHERE number = $1"}
		for i, name := 0, 0; ctx.Err() == nil; i++ {
			_, err := conn.Exec(ctx, names[name], i%100+1)
			if i%50 == 49 { // no faster than the replica
				pgtest.Eventually(func() bool {
					var near bool
					err := watch.QueryRow(ctx, "SELECT coalesce(bool_and(pg_current_wal_lsn() - confirmed_flush_lsn < 200000), true) FROM pg_replication_slots WHERE NOT temporary").Scan(&near)
					return near || err != nil
				})
			}
			pg := (*pgconn.PgError)(nil)
			if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42703") {
				name = (name + 1) % len(names)
			} else if err != nil && ctx.Err() == nil && (pg == nil || pg.Code != "0A000") {
				t.Errorf("writer: %v", err)
				return
			}
		}
	})
	stop = func() { cancel(); work.Wait() }
	t.Cleanup(stop)
	return stop
}

func TestSchemaChangesOfClientsAreOrdered(t *testing.T) {
	b := startOrdered(t)
	conn := b.served.connect(t)
	stop := b.writes(t)
	simple := []any{pgx.QueryExecModeSimpleProtocol}
	for i, sql := range []string{
		"ALTER TABLE items ADD score numeric(8,2) NOT NULL DEFAULT 2.5",
		"ALTER TABLE items DROP spare",
		"ALTER TABLE items ADD motto text DEFAULT 'x' /* " + strings.Repeat("long ", parser.DefaultMaxParse) + "*/",
		"ALTER TABLE items ADD made timestamptz NOT NULL DEFAULT now()",
		"ALTER TABLE items RENAME label TO name",
		"ALTER TABLE items ALTER n TYPE bigint",
		"ALTER TABLE items ADD token uuid NOT NULL DEFAULT gen_random_uuid()",
		"ALTER TABLE items ADD serial serial",
		"ALTER TABLE items RENAME TO goods",
		"ALTER TABLE goods RENAME id TO number",
		"ALTER TABLE goods ADD extra int",
		"ALTER TABLE goods RENAME TO items",
		"ALTER TABLE items RENAME number TO id",
		"CREATE TABLE fresh (id int PRIMARY KEY, v text)",
		"INSERT INTO fresh VALUES (1, 'one')",
		"ALTER TABLE fresh ADD w int",
		"CREATE TABLE piece (id int PRIMARY KEY, v text)",
		"INSERT INTO piece VALUES (7, 'seven')",
		"ALTER TABLE whole ATTACH PARTITION piece FOR VALUES FROM (5) TO (10)",
		"INSERT INTO whole VALUES (8, 'eight')",
		"ALTER TABLE whole DETACH PARTITION piece",
		"INSERT INTO piece VALUES (9, 'nine')",
		"CREATE TABLE gone (id int PRIMARY KEY)",
		"DROP TABLE gone",
	} {
		mode := simple
		if i%2 == 1 {
			mode = []any{pgx.QueryExecModeExec}
		}
		tag, err := conn.Exec(t.Context(), sql, mode...)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if want := strings.Join(strings.Fields(sql)[:2], " "); !strings.HasPrefix(sql, "INSERT") && tag.String() != want {
			t.Errorf("%s answers %q", sql, tag)
		}
	}
	stop()
	b.equal(t, "items", "fresh", "whole", "piece")
}

// What the primary refuses, or is not a transaction of its own, leaves nothing behind.
func TestSchemaChangesThatFailLeaveNothing(t *testing.T) {
	b := startOrdered(t)
	conn := b.served.connect(t)
	before := b.shape(t, b.primary)
	run := func(want string, sqls ...string) {
		t.Helper()
		var err error
		for _, sql := range sqls {
			if _, e := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); e != nil && err == nil {
				err = e
			}
		}
		var pg *pgconn.PgError
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", sqls, err)
		case want != "" && (!errors.As(err, &pg) || pg.Code != want):
			t.Errorf("%q: %v, want %s", sqls, err, want)
		}
	}
	run("23502", "UPDATE items SET label = NULL WHERE id = 1", "ALTER TABLE items ADD c int, ALTER label SET NOT NULL")
	run("0A000", "BEGIN", "ALTER TABLE items ADD c int", "ROLLBACK")
	run("0A000", "ALTER TABLE items ADD c int; SELECT 1")
	run("0A000", "ALTER TABLE items ADD c int; SELECT '"+strings.Repeat("x", parser.DefaultMaxParse)+"'") // too long to be read as a whole
	run("0A000", "SELECT '"+strings.Repeat("x", 4*parser.DefaultMaxParse)+"'; ALTER TABLE items ADD c int")
	run("54000", "SELECT '"+strings.Repeat("x", parser.MaxDefinition)+"'; ALTER TABLE items ADD c int")
	run("0A000", "ALTER TABLE whole ADD c uuid DEFAULT gen_random_uuid()")
	run("0A000", "ALTER TABLE whole RENAME v TO w")
	run("0A000", "BEGIN", "ALTER TABLE items RENAME TO other", "ROLLBACK")
	run("0A000", "ALTER TABLE items SET SCHEMA private")
	run("42P07", "ALTER TABLE items RENAME TO whole")
	run("0A000", "CREATE TABLE public.made AS SELECT 1 AS a")
	run("42701", "ALTER TABLE items ADD n int")
	run("42P01", "ALTER TABLE nothing ADD n int")
	run("", "BEGIN", "ALTER TABLE private.own ADD b int", "CREATE TEMP TABLE items2 (a int)", "COMMIT")
	run("", "CREATE TEMP TABLE items (a int)", "ALTER TABLE items ADD b uuid DEFAULT gen_random_uuid()", "DROP TABLE items")

	run("", "CREATE ROLE guest LOGIN")
	before = b.shape(t, b.primary)
	guest := pgtest.Connect(t, fmt.Sprintf("postgres://guest@127.0.0.1:%d/postgres?sslmode=disable", b.served.port))
	mark := b.replica.Mark(t)
	_, err := guest.Exec(t.Context(), "ALTER TABLE public.items ADD c int")
	if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "42501" {
		t.Errorf("a role that may not: %v", err)
	}
	if log, err := b.replica.Log(); err != nil || strings.Contains(log[mark:], "ADD COLUMN") {
		t.Errorf("for a role that may not the replica is changed: %v", err)
	}

	batch := &pgx.Batch{} // one transaction, in the extended protocol
	batch.Queue("ALTER TABLE items ADD c int")
	batch.Queue("ALTER TABLE items ADD d int")
	err = conn.SendBatch(t.Context(), batch).Close()
	if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "0A000" {
		t.Errorf("a batch of two: %v", err)
	}
	if !pgtest.Eventually(func() bool { return b.shape(t, b.primary) == before && b.shape(t, b.replica) == before }) {
		t.Errorf("before  %s\nprimary %s\nreplica %s", before, b.shape(t, b.primary), b.shape(t, b.replica))
	}
	var open string
	if err := b.super(t, b.replica).QueryRow(t.Context(), "SELECT coalesce(string_agg(statement || ' ' || phase, '; '), '') FROM pgshunt.changes WHERE done_at IS NULL").Scan(&open); err != nil || open != "" {
		t.Errorf("open: %s, %v", open, err)
	}
	b.equal(t, "items")
}

// A replica that cannot follow a change for a while follows it by itself.
func TestSchemaChangesAreFinishedLater(t *testing.T) {
	b := startOrdered(t)
	conn := b.served.connect(t)
	b.replica.Exec(t, "CREATE VIEW spares AS SELECT spare FROM items")
	if _, err := conn.Exec(t.Context(), "ALTER TABLE items DROP spare"); err != nil {
		t.Fatal(err)
	}
	if !pgtest.Eventually(func() bool {
		log, err := b.replica.Log()
		return err == nil && strings.Contains(log[b.mark:], "other objects depend")
	}) {
		t.Fatal("the replica has followed with a view in the way")
	}
	b.replica.Exec(t, "DROP VIEW spares")
	want := b.shape(t, b.primary)
	if !pgtest.Eventually(func() bool { return b.shape(t, b.replica) == want }) {
		t.Errorf("the primary has %s\nthe replica %s", want, b.shape(t, b.replica))
	}
}
