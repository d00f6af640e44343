package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

var protocols = map[string]pgx.QueryExecMode{
	"simple": pgx.QueryExecModeSimpleProtocol, "extended": pgx.QueryExecModeExec, "prepared": pgx.QueryExecModeCacheStatement,
}

// why is what SHOW pgshunt.pin says.
func why(t *testing.T, conn *pgx.Conn, mode pgx.QueryExecMode) string {
	t.Helper()
	if mode == pgx.QueryExecModeCacheStatement {
		mode = pgx.QueryExecModeExec // DISCARD ALL takes prepared statements along
	}
	var pin string
	if err := conn.QueryRow(context.Background(), "SHOW pgshunt.pin", mode).Scan(&pin); err != nil {
		t.Fatal(err)
	}
	return pin
}

// TestPinsEnd runs scripts in both protocols. After "=> reason" the session must be
// pinned by that, and with "=>" alone another session must get the only backend, with
// no trace of what was there.
func TestPinsEnd(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	pgtest.SharedPrimary(t).ExecIn(t, db, `CREATE SEQUENCE s;
		CREATE FUNCTION hidden() RETURNS void LANGUAGE plpgsql AS 'BEGIN CREATE TEMP TABLE unseen (); END'`)
	scripts := map[string]string{
		"listen":                 "LISTEN a => listen; LISTEN b; UNLISTEN a => listen; UNLISTEN b =>",
		"unlisten all":           "LISTEN a; LISTEN b => listen; UNLISTEN * =>",
		"unlisten rolled back":   "LISTEN a; BEGIN; UNLISTEN *; ROLLBACK => listen; UNLISTEN * =>",
		"listen rolled back":     "BEGIN; LISTEN a; ROLLBACK =>",
		"dropped":                "CREATE TEMP TABLE a (); CREATE TEMP TABLE b () => temporary object; DROP TABLE a => temporary object; DROP TABLE b =>",
		"dropped by schema name": "CREATE TEMP TABLE a (); DROP TABLE pg_temp.a =>",
		"drop rolled back":       "CREATE TEMP TABLE a (); BEGIN; DROP TABLE a; ROLLBACK => temporary object; DISCARD TEMP =>",
		"creation rolled back":   "BEGIN; CREATE TEMP TABLE a (); ROLLBACK =>",
		"back to the savepoint":  "BEGIN; SAVEPOINT s; CREATE TEMP TABLE a (); ROLLBACK TO s; COMMIT =>",
		"creation failed":        "CREATE TEMP TABLE pg_temp.a (x no_such_type) ! ; SELECT 1 =>",
		"on commit drop":         "BEGIN; CREATE TEMP TABLE a (x int) ON COMMIT DROP; INSERT INTO a VALUES (1); COMMIT =>",
		"as, on commit drop":     "BEGIN; CREATE TEMP TABLE a ON COMMIT DROP AS SELECT 1; COMMIT =>",
		"chained":                "BEGIN; CREATE TEMP TABLE a () ON COMMIT DROP; COMMIT AND CHAIN; SELECT 1; COMMIT =>",
		"function":               "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1' => temporary object; SELECT pg_temp.f(); DROP FUNCTION pg_temp.f() =>",
		"made out of sight":      "CREATE TEMP TABLE a (); SELECT hidden(); DROP TABLE a => temporary object; SELECT * FROM unseen; DROP TABLE unseen =>",
		"by search_path": "SET search_path = pg_temp, public; CREATE TABLE a (); DROP TABLE a => pg_temp in search_path;" +
			" CREATE TABLE b (); SELECT * FROM b; DISCARD ALL =>",
		"by search_path of set_config": "SELECT set_config('search_path', 'pg_temp', false); CREATE TABLE a () => pg_temp in search_path; DISCARD ALL =>",
		"discard temp":                 "CREATE TEMP TABLE a (); DISCARD TEMP =>",
		"cursor":                       "DECLARE c CURSOR WITH HOLD FOR SELECT 1 => with hold cursor; DECLARE d CURSOR WITH HOLD FOR SELECT 2; CLOSE c => with hold cursor; FETCH d; CLOSE d =>",
		"all cursors":                  "DECLARE c CURSOR WITH HOLD FOR SELECT 1; DECLARE d CURSOR WITH HOLD FOR SELECT 2; CLOSE ALL =>",
		"lock twice":                   "SELECT pg_advisory_lock(4711); SELECT pg_advisory_lock(4711); SELECT pg_advisory_unlock(4711) => advisory lock; SELECT pg_advisory_unlock(4711) =>",
		"all locks":                    "SELECT pg_advisory_lock(1); SELECT pg_advisory_lock_shared(2, 3); SELECT pg_advisory_unlock_all() =>",
		"transaction lock":             "BEGIN; SELECT pg_advisory_xact_lock(1); COMMIT =>",
		"sequence":                     "SELECT nextval('s'); SELECT currval('s') => sequence state; DISCARD SEQUENCES; SELECT 1 =>",
		"several": "LISTEN a; CREATE TEMP TABLE t () => listen, temporary object; SELECT pg_advisory_lock(9); UNLISTEN *; DROP TABLE t" +
			" => listen, temporary object, advisory lock; SELECT pg_advisory_unlock(9) =>",
		"everything": "LISTEN a; CREATE TEMP TABLE t (); SELECT setseed(0.5) => listen, temporary object, setseed; UNLISTEN *; DROP TABLE t" +
			" => listen, temporary object, setseed; DISCARD ALL =>",
	}
	for protocol, mode := range protocols {
		f := start(t, setup{pool: pool.Config{Size: 1}})
		for name, script := range scripts {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				runPins(t, f, db, mode, script)
			})
		}
	}
}

func runPins(t *testing.T, f *fixture, db string, mode pgx.QueryExecMode, script string) {
	ctx := context.Background()
	conn := pgtest.Connect(t, f.url("postgres", db))
	other := pgtest.Connect(t, f.url("postgres", db))
	for step := range strings.SplitSeq(script, ";") {
		sql, want, checked := strings.Cut(strings.TrimSpace(step), "=>")
		sql, fails := strings.CutSuffix(strings.TrimSpace(sql), "!")
		if _, err := conn.Exec(ctx, sql, mode); (err != nil) != fails {
			t.Fatalf("%s: %v", sql, err)
		}
		if !checked {
			continue
		}
		if got := why(t, conn, mode); got != strings.TrimSpace(want) {
			t.Errorf("after %s: pinned by %q, expected %q", sql, got, strings.TrimSpace(want))
		}
	}
	if t.Failed() {
		return
	}
	var traces string
	if err := other.QueryRow(ctx, `SELECT concat_ws(' ', (SELECT string_agg(c, ',') FROM pg_listening_channels() c),
		(SELECT string_agg(name, ',') FROM pg_cursors WHERE is_holdable),
		(SELECT string_agg(objid::text, ',') FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
		(SELECT string_agg(relname, ',') FROM pg_class WHERE relnamespace = pg_my_temp_schema()))`).Scan(&traces); err != nil || traces != "" {
		t.Errorf("the next session finds %q, %v", traces, err)
	}
}

// TestPreparedStatementsSurviveTheEndOfAPin: what was prepared on a backend while it
// was the session's own is there on any other.
func TestPreparedStatementsSurviveTheEndOfAPin(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 2}})
	ctx := context.Background()
	conn := pgtest.Connect(t, f.url("postgres", db))
	execute(t, conn, "LISTEN a")
	for i := range 3 {
		if _, err := conn.Prepare(ctx, fmt.Sprintf("s%d", i), fmt.Sprintf("SELECT %d + $1::int", i)); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, conn, "UNLISTEN *")
	if got := why(t, conn, pgx.QueryExecModeSimpleProtocol); got != "" {
		t.Fatalf("pinned by %q", got)
	}
	// Others now hold one backend after the other in a transaction.
	for range 2 {
		holder := pgtest.Connect(t, f.url("postgres", db))
		execute(t, holder, "BEGIN")
		execute(t, holder, "SELECT 1")
		for i := range 3 {
			var got int
			if err := conn.QueryRow(ctx, fmt.Sprintf("s%d", i), 10).Scan(&got); err != nil || got != 10+i {
				t.Errorf("s%d: %d, %v", i, got, err)
			}
		}
		execute(t, conn, "BEGIN")
		execute(t, conn, "SELECT 1")
		execute(t, holder, "COMMIT")
		execute(t, conn, "COMMIT")
	}
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// TestNotificationsComeWhileTheSessionIdles, in both pool modes, from sessions of the
// proxy and of the server; and after UNLISTEN * nobody else gets them.
func TestNotificationsComeWhileTheSessionIdles(t *testing.T) {
	for _, sessions := range []bool{false, true} {
		t.Run(fmt.Sprintf("session mode %v", sessions), func(t *testing.T) {
			db := pgtest.SharedPrimary(t).NewDatabase(t)
			f := start(t, setup{pool: pool.Config{Size: 2}, proxy: proxy.Config{SessionMode: sessions}})
			ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
			defer cancel()
			conn := pgtest.Connect(t, f.url("postgres", db))
			direct := f.primary.Conn(t, "postgres", db)
			through := pgtest.Connect(t, f.url("postgres", db))
			execute(t, conn, "LISTEN news")
			for i, from := range []*pgx.Conn{direct, through, conn} {
				if _, err := from.Exec(ctx, "SELECT pg_notify('news', $1)", fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
				n, err := conn.WaitForNotification(ctx)
				if err != nil || n.Channel != "news" || n.Payload != fmt.Sprint(i) {
					t.Fatalf("%d: %v, %v", i, n, err)
				}
			}
			execute(t, conn, "BEGIN") // one that comes in a transaction waits for its end
			execute(t, direct, "NOTIFY news, 'later'")
			execute(t, conn, "COMMIT")
			if n, err := conn.WaitForNotification(ctx); err != nil || n.Payload != "later" {
				t.Fatalf("%v, %v", n, err)
			}
			if sessions {
				return
			}
			execute(t, conn, "UNLISTEN *")
			if got := why(t, conn, pgx.QueryExecModeSimpleProtocol); got != "" {
				t.Fatalf("pinned by %q", got)
			}
			execute(t, direct, "NOTIFY news, 'for nobody'")
			execute(t, through, "BEGIN") // with both backends in use each one has said what it had to say
			execute(t, through, "SELECT 1")
			execute(t, conn, "SELECT 1")
			execute(t, through, "COMMIT")
			for _, c := range []*pgx.Conn{conn, through} {
				// A notification comes before the answer to a statement that follows it.
				execute(t, c, "SELECT 1")
				quiet, stop := context.WithCancel(ctx)
				stop()
				if n, err := c.WaitForNotification(quiet); err == nil {
					t.Errorf("got %q", n.Payload)
				}
			}
		})
	}
}

// TestSequenceStateIsNotAnothersInABatch: the same where the batch has begun before.
func TestSequenceStateIsNotAnothersInABatch(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	pgtest.SharedPrimary(t).ExecIn(t, db, "CREATE SEQUENCE s")
	f := start(t, setup{pool: pool.Config{Size: 1}})
	c, other := enter(t, f.addr, db), enter(t, f.addr, db)
	other.query("SELECT nextval('s')")
	c.send(
		&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{},
		&pgproto3.Parse{Query: "SELECT lastval()"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{},
	)
	const want = "ParseComplete; BindComplete; row 1; SELECT 1; ParseComplete; BindComplete; ERROR 55000 lastval is not yet defined in this session; ready I"
	if got := joined(c.answer()); got != want {
		t.Errorf("got %q", got)
	}
	_, _ = c.Close(), other.Close()
}

// TestSequenceStateIsNotAnothers: where another session has had the backend meanwhile,
// currval and lastval are not its values but PostgreSQL's error.
func TestSequenceStateIsNotAnothers(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	pgtest.SharedPrimary(t).ExecIn(t, db, "CREATE SEQUENCE s")
	for protocol, mode := range protocols {
		t.Run(protocol, func(t *testing.T) {
			f := start(t, setup{pool: pool.Config{Size: 1}})
			ctx := context.Background()
			ask := func(conn *pgx.Conn, sql string) (n int64, err error) {
				err = conn.QueryRow(ctx, sql, mode).Scan(&n)
				return n, err
			}
			for _, question := range []string{"SELECT currval('s')", "SELECT lastval()"} {
				other := pgtest.Connect(t, f.url("postgres", db))
				if _, err := ask(other, "SELECT nextval('s')"); err != nil {
					t.Fatal(err)
				}
				conn := pgtest.Connect(t, f.url("postgres", db))
				_, err := ask(conn, question)
				wantState(t, err, "55000")
				_ = conn.Close(ctx) // it is pinned
				if _, err := ask(other, "SELECT nextval('s')"); err != nil {
					t.Fatal(err)
				}
				conn = pgtest.Connect(t, f.url("postgres", db))
				execute(t, conn, "BEGIN")
				execute(t, conn, "SELECT 1 FROM pg_class LIMIT 1")
				_, err = ask(conn, question)
				wantState(t, err, "55000")
				_ = conn.Close(ctx)
				for _, block := range [][2]string{{"", ""}, {"BEGIN", "COMMIT"}} {
					if _, err := ask(other, "SELECT nextval('s')"); err != nil {
						t.Fatal(err)
					}
					conn := pgtest.Connect(t, f.url("postgres", db))
					execute(t, conn, block[0])
					own, err := ask(conn, "SELECT nextval('s')")
					if err != nil {
						t.Fatal(err)
					}
					if got, err := ask(conn, question); err != nil || got != own {
						t.Errorf("%s %s: %d, %v; the session's own is %d", block[0], question, got, err, own)
					}
					execute(t, conn, block[1])
					_ = conn.Close(ctx)
				}
				_ = other.Close(ctx)
			}
		})
	}
}
