package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// turn is one text sent by one of several sessions, "" is a session that leaves.
type turn struct {
	who      int
	sql      string
	extended bool
}

// asked returns what a server says to a text, in a form to compare.
func asked(conn *pgconn.PgConn, step turn) string {
	ctx := context.Background()
	var results []*pgconn.Result
	var err error
	if step.extended {
		r := conn.ExecParams(ctx, step.sql, nil, nil, nil, nil).Read()
		results, err = []*pgconn.Result{r}, r.Err
	} else {
		results, err = conn.Exec(ctx, step.sql).ReadAll()
	}
	var b strings.Builder
	for _, r := range results {
		for _, f := range r.FieldDescriptions {
			fmt.Fprintf(&b, "[%s]", f.Name)
		}
		for _, row := range r.Rows {
			fmt.Fprintf(&b, "(%s)", strings.Join(strings.Fields(fmt.Sprintf("%s", row)), " "))
		}
		fmt.Fprintf(&b, "%s; ", r.CommandTag)
	}
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
		fmt.Fprintf(&b, "%s %s %s %s", pe.Severity, pe.Code, pe.Message, pe.Detail)
	} else if err != nil {
		b.WriteString(err.Error())
	}
	return fmt.Sprintf("%s tx=%c", b.String(), conn.TxStatus())
}

// sameAsDirect plays turns with sessions that have a server each, and with sessions
// that share pgshunt's connections, and compares the answers. Schema public is made
// anew each time.
func sameAsDirect(t *testing.T, f *fixture, db, setup string, turns []turn) {
	t.Helper()
	var said [2][]string
	for i := range said {
		f.primary.ExecIn(t, db, "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public; "+setup)
		url := f.primary.URL("postgres", db)
		if i == 1 {
			url = f.url("postgres", db)
		}
		conns := map[int]*pgconn.PgConn{}
		for _, step := range turns {
			if conns[step.who] == nil {
				conns[step.who] = pgtest.Connect(t, url).PgConn()
			}
			if step.sql == "" {
				_ = conns[step.who].Close(context.Background())
				delete(conns, step.who)
				continue
			}
			said[i] = append(said[i], fmt.Sprintf("%d> %s\n   %s", step.who, step.sql, asked(conns[step.who], step)))
		}
		for _, c := range conns {
			_ = c.Close(context.Background())
		}
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" {
		t.Errorf("directly (-) and through pgshunt (+):\n%s", diff)
	}
}

const things = `CREATE TABLE things (id int PRIMARY KEY, name text NOT NULL);
	INSERT INTO things SELECT n, 'thing ' || n FROM generate_series(1, 5) n`

func simply(who int, texts ...string) (out []turn) {
	for _, sql := range texts {
		out = append(out, turn{who: who, sql: sql})
	}
	return out
}

// alternating lets two sessions take turns, text by text.
func alternating(a, b []string) (out []turn) {
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			out = append(out, turn{who: 1, sql: a[i]})
		}
		if i < len(b) {
			out = append(out, turn{who: 2, sql: b[i]})
		}
	}
	return out
}

var bySQL = map[string][]turn{
	"two sessions, the same name, two texts": alternating(
		[]string{"PREPARE q AS SELECT 1 AS one", "EXECUTE q", "EXPLAIN (COSTS OFF) EXECUTE q", "DEALLOCATE q", "EXECUTE q", "PREPARE q AS SELECT 'again'", "EXECUTE q"},
		[]string{"PREPARE q (int) AS SELECT name FROM things WHERE id = $1", "EXECUTE q (2)", "EXPLAIN (COSTS OFF) EXECUTE q (2)", "EXECUTE q (3)", "EXECUTE q (4)", "DEALLOCATE q", "EXECUTE q (1)"}),
	"a name that only another session has": alternating(
		[]string{"PREPARE q AS SELECT 1", "SELECT 1", "EXECUTE q", "SELECT 1", "EXECUTE q"},
		[]string{"EXECUTE q", "DEALLOCATE q", "PREPARE q AS SELECT 2", "EXECUTE q", "DEALLOCATE q"}),
	"the same text in both": alternating(
		[]string{"PREPARE q AS SELECT 1", "DEALLOCATE q", "EXECUTE q", "PREPARE q AS SELECT 1", "EXECUTE q"},
		[]string{"PREPARE q AS SELECT 1", "EXECUTE q", "EXECUTE q", "PREPARE q AS SELECT 1", "EXECUTE q"}),
	"names are quoted as the client likes": alternating(
		[]string{`PREPARE "Q q""x" AS SELECT 1`, `EXECUTE "Q q""x"`, `PREPARE Q AS SELECT 2`, `EXECUTE q`, `EXECUTE "Q"`, `PREPARE pgshunt_1 AS SELECT 3`, `EXECUTE pgshunt_1`},
		[]string{`EXECUTE "Q q""x"`, `PREPARE "Q q""x" AS SELECT 3`, `EXECUTE "Q q""x"`, "EXECUTE q", "PREPARE pgshunt_1 AS SELECT 4", "EXECUTE pgshunt_1"}),
	"a transaction that is rolled back keeps them": slices.Concat(
		simply(1, "BEGIN", "PREPARE q AS SELECT 1", "ROLLBACK"), simply(2, "PREPARE q AS SELECT 2", "EXECUTE q"), simply(1, "EXECUTE q"),
		simply(2, "EXECUTE q"), simply(1, "BEGIN", "EXECUTE q", "DEALLOCATE q", "ROLLBACK"), simply(2, "EXECUTE q"), simply(1, "EXECUTE q")),
	"a failed transaction": alternating(
		[]string{"PREPARE q AS SELECT 1", "BEGIN", "SELECT 1/0", "EXECUTE q", "DEALLOCATE q", "PREPARE r AS SELECT 1", "ROLLBACK", "EXECUTE q", "EXECUTE r"},
		nil),
	"errors": simply(1,
		"PREPARE q AS SELECT nothing", "EXECUTE q", "PREPARE q AS SELECT 1", "PREPARE q AS SELECT 2", "EXECUTE q", "EXECUTE q (1)",
		"PREPARE p (int) AS SELECT $1", "EXECUTE p", "EXECUTE p ('x')", "EXECUTE p (7)", "DEALLOCATE nobody", "DEALLOCATE PREPARE p", "EXECUTE p (7)",
		"PREPARE s AS CREATE TABLE x ()", "PREPARE s AS SELECT $1 || 'x'", "EXECUTE s ('a')", "EXECUTE s (1 + 1)", "PREPARE s (nosuch) AS SELECT 1"),
	"several statements in a text": alternating(
		[]string{
			"PREPARE a AS SELECT 1; PREPARE b AS SELECT 2; EXECUTE a; EXECUTE b", "EXECUTE b", "PREPARE c AS SELECT 3; SELECT 1/0; PREPARE d AS SELECT 4",
			"EXECUTE c", "EXECUTE d", "DEALLOCATE a; PREPARE a AS SELECT 5; EXECUTE a", "EXECUTE a; DEALLOCATE ALL; PREPARE z AS SELECT 6; EXECUTE z", "EXECUTE a", "EXECUTE z",
		},
		[]string{"PREPARE a AS SELECT 11; EXECUTE a", "EXECUTE a", "EXECUTE b", "PREPARE c AS SELECT 13", "EXECUTE c", "EXECUTE a", "EXECUTE a", "EXECUTE z", "EXECUTE a"}),
	"what uses a statement": alternating(
		[]string{
			"PREPARE q AS SELECT id, name FROM things ORDER BY id LIMIT 2", "CREATE TABLE made AS EXECUTE q", "SELECT * FROM made", "EXPLAIN (COSTS OFF) CREATE TABLE never AS EXECUTE q",
			"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE q", "DO $$ DECLARE n text; BEGIN EXECUTE 'EXECUTE q' INTO n; END $$",
		},
		[]string{"PREPARE q AS SELECT 1", "PREPARE w (int, text) AS INSERT INTO things VALUES ($1, $2)", "EXECUTE w (6, 'six')", "EXECUTE w (6, 'six')", "BEGIN; EXECUTE w (7, 'seven'); ROLLBACK", "SELECT count(*) FROM things"}),
	"pg_prepared_statements": alternating(
		[]string{
			"PREPARE q AS SELECT 1", "PREPARE r (int) AS SELECT $1;", "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY name", "SELECT 1",
			"SELECT name FROM pg_prepared_statement() ORDER BY 1", "DEALLOCATE q", "SELECT name, statement FROM pg_prepared_statements",
		},
		[]string{"SELECT name FROM pg_prepared_statements", "PREPARE q AS SELECT 2", "EXECUTE q", "SELECT name, statement, result_types IS NULL FROM pg_prepared_statements", "DISCARD ALL", "SELECT name FROM pg_prepared_statements", "EXECUTE q"}),
	"everything is dropped": alternating(
		[]string{"PREPARE q AS SELECT 1", "DEALLOCATE ALL", "EXECUTE q", "PREPARE q AS SELECT 3", "DISCARD ALL", "EXECUTE q", "PREPARE q AS SELECT 4", "DISCARD PLANS", "EXECUTE q", "DEALLOCATE PREPARE ALL", "EXECUTE q"},
		[]string{"PREPARE q AS SELECT 2", "EXECUTE q", "EXECUTE q", "EXECUTE q", "EXECUTE q", "EXECUTE q", "EXECUTE q", "EXECUTE q", "EXECUTE q", "EXECUTE q"}),
	"a session that left": append(simply(1, "PREPARE q AS SELECT 1", "EXECUTE q", ""),
		simply(2, "EXECUTE q", "PREPARE q AS SELECT 2", "EXECUTE q", "SELECT name, statement FROM pg_prepared_statements")...),
	"the table goes": slices.Concat(
		simply(1, "PREPARE q AS SELECT name FROM things"), simply(2, "PREPARE q AS SELECT 2", "DROP TABLE things"), simply(1, "EXECUTE q"),
		simply(2, "EXECUTE q"), simply(1, "BEGIN", "EXECUTE q", "SELECT 1", "ROLLBACK", "SELECT 1"), simply(2, "EXECUTE q")),
	"settings": alternating(
		[]string{"SET search_path TO pg_catalog, public", "PREPARE q AS SELECT current_setting('search_path')", "EXECUTE q", "SET TimeZone = 'Asia/Tokyo'", "EXECUTE q"},
		[]string{"PREPARE q AS SELECT current_setting('search_path') || 'x'", "EXECUTE q", "EXECUTE q", "EXECUTE q", "EXECUTE q"}),
}

// TestStatementsPreparedBySQL: sessions that share one connection to the server, or
// two, prepare by SQL as if each had a server of its own.
func TestStatementsPreparedBySQL(t *testing.T) {
	for _, size := range []int{1, 2} {
		f := start(t, setup{pool: pool.Config{Size: size}})
		db := f.primary.NewDatabase(t)
		for name, turns := range bySQL {
			t.Run(fmt.Sprintf("%s, %d connections", name, size), func(t *testing.T) {
				sameAsDirect(t, f, db, things, turns)
				extended := make([]turn, len(turns))
				for i, s := range turns {
					s.extended = !strings.Contains(s.sql, "; ") || strings.HasPrefix(s.sql, "DO")
					extended[i] = s
				}
				sameAsDirect(t, f, db, things, extended)
			})
		}
	}
}

// Sessions with a connection of their own keep what they prepare there.
func TestStatementsPreparedBySQLInSessionMode(t *testing.T) {
	f := start(t, setup{proxy: proxy.Config{SessionMode: true}, pool: pool.Config{Size: 2, Prepared: 1}})
	db := f.primary.NewDatabase(t)
	for name, turns := range bySQL {
		t.Run(name, func(t *testing.T) { sameAsDirect(t, f, db, things, turns) })
	}
}

// TestPreparingBySQLDoesNotPin: with one connection, a session that has prepared
// does not keep it.
func TestPreparingBySQLDoesNotPin(t *testing.T) {
	f := start(t, setup{pool: pool.Config{Size: 1}})
	var turns []turn
	for i := range 20 {
		turns = append(turns, simply(i, fmt.Sprintf("PREPARE q AS SELECT %d", i))...)
	}
	for range 3 {
		for i := range 20 {
			turns = append(turns, simply(i, "EXECUTE q")...)
		}
	}
	sameAsDirect(t, f, f.primary.NewDatabase(t), "", turns)
}

// TestNamesOfOthers: what another session has left on the server under a name of its
// own is not there for one that has given it to nothing.
func TestNamesOfOthers(t *testing.T) {
	f := start(t, setup{pool: pool.Config{Size: 1}})
	db := f.primary.NewDatabase(t)
	other, conn := pgtest.Connect(t, f.url("postgres", db)).PgConn(), pgtest.Connect(t, f.url("postgres", db)).PgConn()
	if said := asked(other, turn{sql: "PREPARE q AS SELECT 1"}); said != "PREPARE;  tx=I" {
		t.Fatal(said)
	}
	for range 2 {
		err := conn.ExecPrepared(t.Context(), "q", nil, nil, nil).Read().Err
		if e := (*pgconn.PgError)(nil); !errors.As(err, &e) || e.Code != "26000" {
			t.Errorf("got %v, want 26000", err)
		}
		if said := asked(other, turn{sql: "EXECUTE q"}); !strings.Contains(said, "SELECT 1;") {
			t.Error(said)
		}
	}
}
