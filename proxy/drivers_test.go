package proxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// driversTimeout bounds one run of a client program.
const driversTimeout = 2 * time.Minute

// program runs a client program against the proxy and returns its output; a
// failure of the program is one of the test.
func program(t *testing.T, f *fixture, db, path string, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), driversTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=postgres", "PGDATABASE="+db, "PGSSLMODE=disable")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(path), args, err, out)
	}
	return string(out)
}

var processed = regexp.MustCompile(`transactions actually processed: (\d+)/(\d+)\n`)

// allProcessed tells whether no transaction of pgbench failed, which it counts since version 15 only.
func allProcessed(out string) bool {
	n := processed.FindStringSubmatch(out)
	return n != nil && n[1] == n[2] && !strings.Contains(out, "ERROR")
}

// TestPgbench runs pgbench's own transactions and its lookups in every protocol,
// the lookups with more clients than backends. (The transactions could not be:
// pgbench waits for the answer to a Parse of one client while another client of
// the same thread holds a backend in a transaction.)
func TestPgbench(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	pgbench := filepath.Join(primary.Binaries.Dir, "pgbench")
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		whole := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 16}})
		narrow := whole
		if !session {
			narrow = start(t, setup{pool: pool.Config{Size: 4}})
		}
		program(t, whole, db, pgbench, "-i", "-q", "-s", "1")
		for _, protocol := range []string{"simple", "extended", "prepared"} {
			for _, run := range []struct {
				f    *fixture
				args []string
			}{{whole, []string{"-t", "50"}}, {narrow, []string{"-S", "-t", "80"}}} {
				args := append(run.args, "-n", "-M", protocol, "-c", "16", "-j", "2")
				out := program(t, run.f, db, pgbench, args...)
				if !allProcessed(out) {
					t.Errorf("pgbench %v:\n%s", args, out)
				}
			}
		}
	})
}

// TestPsql runs a script with transactions, errors, COPY and several statements in
// one text, and compares with the same run directly.
func TestPsql(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	psql := filepath.Join(primary.Binaries.Dir, "psql")
	script := filepath.Join(t.TempDir(), "script.sql")
	const sql = `CREATE TABLE t (id int PRIMARY KEY, name text);
INSERT INTO t SELECT n, 'name ' || n FROM generate_series(1, 500) n;
BEGIN; UPDATE t SET name = 'x' WHERE id = 1; SAVEPOINT a; INSERT INTO t VALUES (1); ROLLBACK TO a; COMMIT;
COPY t FROM STDIN;
1000	copied
1001	copied too
\.
\copy (SELECT * FROM t WHERE id > 998 ORDER BY id) TO STDOUT
SELECT 1 \; SELECT 2 \; SELECT count(*) FROM t;
PREPARE q (int) AS SELECT name FROM t WHERE id = $1;
EXECUTE q(1);
DEALLOCATE q;
SET TimeZone = 'Asia/Tokyo'; SHOW TimeZone;
SELECT timestamptz '2026-01-01 00:00 UTC';
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id; FETCH 3 FROM c; CLOSE c;
\d t
DO $$ BEGIN RAISE NOTICE 'hello'; END $$;
SELECT 1/0;
CREATE TEMP TABLE mine AS SELECT 1 AS one; SELECT * FROM mine;
DROP TABLE t;
`
	if err := os.WriteFile(script, []byte(sql), 0o644); err != nil {
		t.Fatal(err)
	}
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
		through := program(t, f, primary.NewDatabase(t), psql, "-X", "-e", "-f", script)
		direct := program(t, &fixture{addr: fmt.Sprintf("127.0.0.1:%d", primary.Port)}, primary.NewDatabase(t), psql, "-X", "-e", "-f", script)
		if through != direct {
			t.Errorf("through the proxy:\n%s\ndirectly:\n%s", through, direct)
		}
	})
}

// psycopgScript opens a transaction by itself with the first statement, as the
// DB-API wants it, and uses prepared statements, a server-side cursor and COPY.
const psycopgScript = `
import psycopg
conn = psycopg.connect("", autocommit=False)
with conn.cursor() as cur:
    cur.execute("CREATE TABLE IF NOT EXISTS t (id int, name text)")
    conn.commit()
    for n in range(400):
        cur.execute("INSERT INTO t VALUES (%s, %s)", (n, "x"), prepare=True)
        cur.execute("SELECT count(*) FROM t WHERE id = %s", (n,))
        assert cur.fetchone() == (1,)
        (conn.commit if n % 4 else conn.rollback)()
    with cur.copy("COPY t FROM STDIN") as copy:
        for n in range(1000, 1100):
            copy.write_row((n, "copied"))
    conn.commit()
    try:
        cur.execute("SELECT 1/0")
        raise SystemExit("no error")
    except psycopg.errors.DivisionByZero:
        conn.rollback()
    with conn.pipeline():
        for n in range(50):
            cur.execute("SELECT %s::int", (n,))
    conn.commit()
with conn.cursor(name="server_side") as cur:
    cur.execute("SELECT id FROM t ORDER BY id")
    assert len(cur.fetchmany(10)) == 10
conn.commit()
with conn.cursor() as cur:
    cur.execute("SELECT count(*) FROM t")
    print(cur.fetchone()[0])
    cur.execute("DROP TABLE t")
conn.commit()
conn.close()
`

func TestPsycopg(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import psycopg").CombinedOutput(); err != nil {
		t.Fatalf("Debian's package python3-psycopg is needed (make test installs it): %v\n%s", err, out)
	}
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
		if out := program(t, f, primary.NewDatabase(t), python, "-c", psycopgScript); out != "400\n" {
			t.Errorf("printed %q", out)
		}
	})
}

// TestManyPgxSessions runs transactions of pgx in 16 sessions on 4 backends.
func TestManyPgxSessions(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		size := 4
		if session {
			size = 16
		}
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: size}})
		primary.ExecIn(t, db, "CREATE TABLE accounts (id int PRIMARY KEY, balance int); INSERT INTO accounts SELECT n, 0 FROM generate_series(0, 15) n")
		var all sync.WaitGroup
		for n := range 16 {
			all.Go(func() {
				if err := transfers(f.url("postgres", db), n); err != nil {
					t.Errorf("session %d: %v", n, err)
				}
			})
		}
		all.Wait()
		var sum int
		if err := primary.Conn(t, "postgres", db).QueryRow(context.Background(), "SELECT sum(balance) FROM accounts").Scan(&sum); err != nil || sum != 16*100 {
			t.Errorf("sum %d, %v", sum, err)
		}
	})
}

// transfers adds one to an account, 150 times, of which 50 are rolled back.
func transfers(url string, account int) error {
	ctx, cancel := context.WithTimeout(context.Background(), driversTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for i := range 150 {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE accounts SET balance = balance + $2 WHERE id = $1", account, 1); err != nil {
			return err
		}
		end := tx.Commit
		if i%3 == 0 {
			end = tx.Rollback
		}
		if err := end(ctx); err != nil {
			return err
		}
	}
	return nil
}

// TestPgxModes runs sessions of pgx on fewer backends in each of the ways in which
// it can execute a statement, with batches between transactions.
func TestPgxModes(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		for _, mode := range []pgx.QueryExecMode{
			pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
			pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
		} {
			t.Run(mode.String(), func(t *testing.T) {
				db := primary.NewDatabase(t)
				primary.ExecIn(t, db, "CREATE TABLE t (v int)")
				pgtest.NoLeaks(t)
				size := 3
				if session {
					size = 8
				}
				f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: size}})
				var all sync.WaitGroup
				for n := range 8 {
					all.Go(func() {
						if err := insertAndAsk(f.url("postgres", db), mode, n); err != nil {
							t.Errorf("session %d: %v", n, err)
						}
					})
				}
				all.Wait()
				if got := enter(t, f.addr, db).query("SELECT count(*) FROM t"); got[1] != "row 480" {
					t.Errorf("rows: %q", got)
				}
			})
		}
	})
}

// insertAndAsk inserts 60 rows in transactions and a batch, and checks every answer.
func insertAndAsk(url string, mode pgx.QueryExecMode, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), driversTimeout)
	defer cancel()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	cfg.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for i := range 40 {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			var got int
			if err := tx.QueryRow(ctx, "INSERT INTO t (v) VALUES ($1) RETURNING v", i).Scan(&got); err != nil || got != i {
				return fmt.Errorf("inserted %d, got %d: %w", i, got, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		var sum int
		if err := conn.QueryRow(ctx, "SELECT $1::int + $2::int", i, n).Scan(&sum); err != nil || sum != i+n {
			return fmt.Errorf("%d + %d is %d: %w", i, n, sum, err)
		}
	}
	b := &pgx.Batch{}
	for i := range 20 {
		b.Queue("INSERT INTO t (v) VALUES ($1)", i)
		b.Queue("SELECT $1::text", fmt.Sprint(i)).QueryRow(func(row pgx.Row) error {
			var got string
			if err := row.Scan(&got); err != nil || got != fmt.Sprint(i) {
				return fmt.Errorf("%q in place of %d: %w", got, i, err)
			}
			return nil
		})
	}
	return conn.SendBatch(ctx, b).Close()
}

// TestPgbenchConnects opens a connection for every transaction, on few backends.
func TestPgbenchConnects(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	pgbench := filepath.Join(primary.Binaries.Dir, "pgbench")
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		pgtest.NoLeaks(t)
		size := 2
		if session {
			size = 8
		}
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: size}})
		program(t, f, db, pgbench, "-i", "-q", "-s", "1")
		out := program(t, f, db, pgbench, "-n", "-S", "-C", "-M", "prepared", "-c", "8", "-j", "2", "-t", "40")
		if !allProcessed(out) {
			t.Error(out)
		}
	})
}
