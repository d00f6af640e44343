package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// twin is one client that does everything twice, directly and through the proxy, and
// neighbours that change the same settings on the same backends meanwhile.
type twin struct {
	direct, through *pgconn.PgConn
	neighbours      []*pgconn.PgConn
	held            []bool // a neighbour has a transaction open, and with it a backend
	custom          string // a parameter that only this client knows
	startup         bool   // the client has asked for settings when it connected
}

var twins atomic.Int64

// TestSettingsAreTheSessionsOwn: whatever a session does to its settings, in and out of
// transactions and savepoints, in either protocol, every answer, every reported
// parameter and the transaction's status are those of a session of its own.
func TestSettingsAreTheSessionsOwn(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.Exec(t, "CREATE ROLE prop_a; CREATE ROLE prop_b; CREATE ROLE prop_login LOGIN IN ROLE prop_a")
	// Reported parameters are followed even where only a function knows that they are set.
	primary.ExecIn(t, db, `CREATE FUNCTION prop_set() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET TimeZone = 'Africa/Nairobi'; END $$;
		CREATE FUNCTION prop_set_local() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET LOCAL DateStyle = 'sql, ymd'; END $$`)
	t.Cleanup(func() { primary.Exec(t, "DROP ROLE prop_a, prop_b, prop_login") })
	for _, size := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d backends", size), func(t *testing.T) {
			f := start(t, setup{pool: pool.Config{Size: size}})
			rapid.Check(t, func(rt *rapid.T) {
				user := rapid.SampledFrom([]string{"postgres", "prop_login"}).Draw(rt, "user")
				startup := rapid.SampledFrom([]string{"", "&work_mem=3MB&datestyle=sql", "&options=-c%20timezone%3DAsia/Tokyo%20-cwork_mem%3D5MB"}).Draw(rt, "startup")
				w := &twin{custom: fmt.Sprintf("app.x%d", twins.Add(1)), held: make([]bool, size-1), startup: startup != ""}
				w.direct = reach(rt, primary.URL(user, db)+startup)
				w.through = reach(rt, f.url(user, db)+startup)
				for range size {
					w.neighbours = append(w.neighbours, reach(rt, f.url(user, db)))
				}
				defer w.close()
				w.compare(rt, "the login", nil, nil)
				for range rapid.IntRange(1, 20).Draw(rt, "steps") {
					w.step(rt)
				}
			})
		})
	}
}

func reach(rt *rapid.T, url string) *pgconn.PgConn {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		rt.Fatal(err)
	}
	return conn
}

func (w *twin) close() {
	for _, c := range append(w.neighbours, w.direct, w.through) {
		ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
		_ = c.Close(ctx)
		cancel()
	}
}

// step draws one thing to do, and does it.
func (w *twin) step(rt *rapid.T) {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	switch rapid.IntRange(0, 9).Draw(rt, "what") {
	case 0:
		w.disturb(ctx, rt)
	case 1: // bound values
		name, value := w.parameter(rt)
		args := [][]byte{[]byte(name), []byte(value), []byte(rapid.SampledFrom([]string{"t", "f"}).Draw(rt, "local"))}
		run := func(c *pgconn.PgConn) *pgconn.Result {
			return c.ExecParams(ctx, "SELECT set_config($1, $2, $3)", args, nil, nil, nil).Read()
		}
		w.compare(rt, fmt.Sprintf("set_config %q", args), run(w.direct), run(w.through))
	case 2: // the extended protocol
		sql := w.statement(rt)
		run := func(c *pgconn.PgConn) *pgconn.Result { return c.ExecParams(ctx, sql, nil, nil, nil, nil).Read() }
		w.compare(rt, sql+" (extended)", run(w.direct), run(w.through))
	case 3: // several statements in one message
		sql := w.statement(rt)
		for range rapid.IntRange(1, 3).Draw(rt, "more") {
			sql += "; " + w.statement(rt)
		}
		if w.startup && (strings.Contains(sql, "RESET") || strings.Contains(sql, "DEFAULT")) {
			return // what follows in the message sees the value of our login
		}
		w.simple(ctx, rt, sql)
	default:
		w.simple(ctx, rt, w.statement(rt))
	}
}

func (w *twin) simple(ctx context.Context, rt *rapid.T, sql string) {
	d, derr := w.direct.Exec(ctx, sql).ReadAll()
	p, perr := w.through.Exec(ctx, sql).ReadAll()
	if a, b := said(d, derr), said(p, perr); a != b {
		rt.Fatalf("%s: %q, directly %q", sql, b, a)
	}
	w.compare(rt, sql, nil, nil)
}

// compare compares the answers, and what the client knows of its session.
func (w *twin) compare(rt *rapid.T, what string, direct, through *pgconn.Result) {
	if direct != nil {
		a, b := said([]*pgconn.Result{direct}, direct.Err), said([]*pgconn.Result{through}, through.Err)
		if a != b {
			rt.Fatalf("%s: %q, directly %q", what, b, a)
		}
	}
	if a, b := w.direct.TxStatus(), w.through.TxStatus(); a != b {
		rt.Fatalf("after %s: status %c, directly %c", what, b, a)
	}
	for _, name := range []string{"DateStyle", "TimeZone", "IntervalStyle", "application_name", "is_superuser", "session_authorization", "client_encoding"} {
		if a, b := w.direct.ParameterStatus(name), w.through.ParameterStatus(name); a != b {
			rt.Fatalf("after %s: %s is reported as %q, directly %q", what, name, b, a)
		}
	}
}

// disturb has a neighbour change what the client may have set, or take a backend away.
func (w *twin) disturb(ctx context.Context, rt *rapid.T) {
	i := rapid.IntRange(0, len(w.neighbours)-1).Draw(rt, "neighbour")
	sql := "SET work_mem = '7MB'; SET DateStyle = 'postgres, ymd'; SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = 'sql_standard';" +
		"SET application_name = 'neighbour'; SET search_path = pg_catalog; SET neighbour.s = 'x'; SET ROLE prop_a"
	switch {
	case i < len(w.held): // those may hold a backend; one is left
		sql = "BEGIN; " + sql
		if w.held[i] {
			sql = "COMMIT"
		}
		w.held[i] = !w.held[i]
	case w.through.TxStatus() != 'I':
		return // it would wait for the backend that the client has
	}
	if _, err := w.neighbours[i].Exec(ctx, sql).ReadAll(); err != nil {
		rt.Fatal(err)
	}
}

func (w *twin) parameter(rt *rapid.T) (name, value string) {
	values := map[string][]string{
		"work_mem": {"1MB", "77kB", "much"}, "DateStyle": {"german", "iso", "sql, dmy", "mdy"}, "TimeZone": {"UTC", "Asia/Tokyo", "nowhere"},
		"IntervalStyle": {"iso_8601", "postgres_verbose"}, "application_name": {"one", "two"}, "search_path": {"a, public", "pg_catalog"},
		w.custom: {"1", "2", "it's"}, "statement_timeout": {"70s", "0"},
	}
	names := []string{"work_mem", "DateStyle", "TimeZone", "IntervalStyle", "application_name", "search_path", "statement_timeout", w.custom}
	name = rapid.SampledFrom(names).Draw(rt, "parameter")
	return name, rapid.SampledFrom(values[name]).Draw(rt, "value")
}

func (w *twin) statement(rt *rapid.T) string {
	name, value := w.parameter(rt)
	quoted := "'" + strings.ReplaceAll(value, "'", "''") + "'"
	if name == "search_path" {
		quoted = value
	}
	save := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "savepoint")
	return rapid.SampledFrom([]string{
		"BEGIN", "BEGIN", "COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "SAVEPOINT " + save, "SAVEPOINT " + save, "ROLLBACK TO " + save, "RELEASE " + save,
		"SET " + name + " TO " + quoted, "SET " + name + " TO " + quoted, "SET LOCAL " + name + " TO " + quoted, "SET LOCAL " + name + " TO " + quoted,
		"SET " + name + " TO DEFAULT", "SET LOCAL " + name + " TO DEFAULT", "RESET " + name, "RESET ALL",
		"SELECT set_config('" + name + "', '" + strings.ReplaceAll(value, "'", "''") + "', false)",
		"SELECT set_config('" + name + "', '" + strings.ReplaceAll(value, "'", "''") + "', true)",
		"SHOW " + name, "SHOW " + name, "SHOW " + name, "SELECT current_user, session_user, timestamptz '2024-02-03 04:05+00'",
		"SELECT 1/0", "SET ROLE prop_a", "SET LOCAL ROLE prop_a", "SET ROLE NONE", "RESET ROLE", "SHOW role",
		"SET SESSION AUTHORIZATION prop_b", "SET LOCAL SESSION AUTHORIZATION prop_b", "RESET SESSION AUTHORIZATION",
		"SELECT prop_set(), prop_set_local()", "DISCARD ALL", "SET TIME ZONE INTERVAL '2' HOUR TO MINUTE", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SHOW transaction_read_only",
	}).Draw(rt, "statement")
}
