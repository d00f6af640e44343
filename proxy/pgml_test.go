package proxy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// besides starts a proxy in front of a primary without PostgresML and one replica
// with it, both with the same small table, and trains a project on it.
func besides(t *testing.T, session bool) (f *fixture, conn *pgx.Conn, db string) {
	t.Helper()
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db = primary.NewDatabase(t)
	other := replica.NewDatabase(t)
	const table = `CREATE TABLE houses (id int PRIMARY KEY, rooms real NOT NULL, price real NOT NULL);
		INSERT INTO houses SELECT n, n, 1000 * n + 500 FROM generate_series(1, 40) n`
	primary.ExecIn(t, db, table)
	replica.ExecIn(t, other, table)
	replica.ExecIn(t, other, "CREATE TABLE training AS SELECT rooms, price FROM houses")
	f = start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, proxy: proxy.Config{SessionMode: session}})
	conn = pgtest.Connect(t, f.url("postgres", db))
	if _, err := conn.Exec(context.Background(), "SELECT * FROM pgml.train('houses', 'regression', 'public.training', 'price')"); err != nil {
		t.Fatal(err)
	}
	return f, conn, other
}

func TestPredictIsTheReplicasOwn(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		mark := pgtest.SharedPrimary(t).Mark(t)
		f, conn, other := besides(t, session)
		ctx := context.Background()
		direct := f.replicas[0].Conn(t, "postgres", other)
		for _, sql := range []string{
			"SELECT pgml.predict('houses', ARRAY[7::real])",
			"SELECT sum(pgml.predict('houses', ARRAY[rooms])) FROM houses WHERE id < 20",
		} {
			var through, straight float64
			if err := conn.QueryRow(ctx, sql).Scan(&through); err != nil {
				t.Fatal(err)
			}
			if err := direct.QueryRow(ctx, sql).Scan(&straight); err != nil {
				t.Fatal(err)
			}
			if through != straight || through == 0 {
				t.Errorf("%s: %v through the proxy, %v directly", sql, through, straight)
			}
		}
		for _, st := range f.primary.Statements(t, mark) {
			if strings.Contains(st.SQL, "pgml") {
				t.Errorf("the primary was sent %q", st.SQL)
			}
		}
	})
}

func TestInferenceBesideATransaction(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		_, conn, _ := besides(t, session)
		ctx := context.Background()
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec} {
			tx, err := conn.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var price, count float64
			if _, err := tx.Exec(ctx, "INSERT INTO houses VALUES ($1, $2, $3)", mode, 100+int(mode), 1, 2); err != nil {
				t.Fatal(err)
			}
			if err := tx.QueryRow(ctx, "SELECT pgml.predict('houses', ARRAY[$1::real])", mode, float32(3)).Scan(&price); err != nil {
				t.Fatal(err)
			}
			if price < 3000 || price > 4000 {
				t.Errorf("predicted %v, expected about 3500", price)
			}
			if err := tx.QueryRow(ctx, "SELECT count(*) FROM houses WHERE id >= 100", mode).Scan(&count); err != nil || count != 1 {
				t.Errorf("%v rows of this transaction, %v", count, err)
			}
			if err := tx.Rollback(ctx); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestFailedInferenceFailsTheTransaction(t *testing.T) {
	_, conn, _ := besides(t, false)
	ctx := context.Background()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO houses VALUES (100, 1, 2)", mode); err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(ctx, "SELECT pgml.predict('nobody', ARRAY[1::real])", mode)
		wantState(t, err, "XX000")
		_, err = tx.Exec(ctx, "SELECT 1", mode)
		wantState(t, err, "25P02")
		if err := tx.Commit(ctx); !errors.Is(err, pgx.ErrTxCommitRollback) {
			t.Errorf("commit of a failed transaction: %v", err)
		}
		var count int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM houses WHERE id = 100", mode).Scan(&count); err != nil || count != 0 {
			t.Errorf("%d rows survived, %v", count, err)
		}
	}
}

func TestTrainingLeavesTheTransaction(t *testing.T) {
	f, _, other := besides(t, false)
	ctx := context.Background()
	cfg, err := pgx.ParseConfig(f.url("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	var notices []string
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Severity+" "+n.Message) }
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "SELECT * FROM pgml.train('beside', 'regression', 'public.training', 'price')"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if len(notices) == 0 || !strings.HasPrefix(notices[0], "NOTICE training runs in a transaction of its own") {
		t.Errorf("notices %q", notices)
	}
	var n int
	direct := f.replicas[0].Conn(t, "postgres", other)
	if err := direct.QueryRow(ctx, "SELECT count(*) FROM pgml.projects WHERE name = 'beside'").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d projects after the rollback, %v", n, err)
	}
}

func TestWriteThatCallsPgmlIsRefused(t *testing.T) {
	_, conn, _ := besides(t, false)
	_, err := conn.Exec(context.Background(), "UPDATE houses SET price = pgml.predict('houses', ARRAY[rooms])")
	wantState(t, err, "0A000")
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) && (pe.Detail == "" || pe.Hint == "") {
		t.Errorf("no detail or hint: %+v", pe)
	}
}

func TestCursorOverInference(t *testing.T) {
	_, conn, _ := besides(t, false)
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "DECLARE c CURSOR FOR SELECT pgml.predict('houses', ARRAY[rooms]) FROM houses ORDER BY id"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		rows, err := tx.Query(ctx, "FETCH 5 FROM c", pgx.QueryExecModeExec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[float32])
		if err != nil || len(got) != 5 {
			t.Fatalf("%d rows, %v", len(got), err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(ctx, "FETCH 5 FROM c", pgx.QueryExecModeSimpleProtocol)
	wantState(t, err, "34000")
}

func TestHoldableCursorOverInference(t *testing.T) {
	_, conn, _ := besides(t, false)
	ctx := context.Background()
	for _, script := range [][]string{
		{"DECLARE a CURSOR WITH HOLD FOR SELECT pgml.predict('houses', ARRAY[1::real])", "FETCH 1 FROM a"},
		{"BEGIN", "DECLARE b CURSOR WITH HOLD FOR SELECT pgml.predict('houses', ARRAY[1::real])", "COMMIT", "FETCH 1 FROM b"},
	} {
		var last pgconn.CommandTag
		for _, sql := range script {
			var err error
			if last, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		if last.String() != "FETCH 1" {
			t.Errorf("%v ends with %s", script, last)
		}
	}
}

func wantState(t *testing.T, err error, state string) {
	t.Helper()
	if pe := (*pgconn.PgError)(nil); !errors.As(err, &pe) || pe.Code != state {
		t.Errorf("answered %v, expected SQLSTATE %s", err, state)
	}
}

// Scenario 52: the server works out a call with constant arguments when it plans. A
// statement prepared before another model was deployed gives the new model's answer.
func TestPreparedConstantsFollowTheDeployedModel(t *testing.T) {
	f, deployer, other := besides(t, false)
	ctx := context.Background()
	replica := f.replicas[0].Super(t, other)
	if _, err := replica.Exec(ctx, "CREATE TABLE dearer AS SELECT rooms, price * 3 AS price FROM training"); err != nil {
		t.Fatal(err)
	}
	const constant, variable = "SELECT pgml.predict('houses', ARRAY[7::real])::text", "SELECT pgml.predict('houses', ARRAY[$1::real])::text"
	asker := pgtest.Connect(t, f.url("postgres", deployer.Config().Database)).PgConn()
	for name, sql := range map[string]string{"constant": constant, "variable": variable, "": constant} {
		if _, err := asker.Prepare(ctx, name, sql, nil); err != nil {
			t.Fatal(err)
		}
	}
	answers := func() map[string]string {
		t.Helper()
		got := map[string]string{}
		for name, params := range map[string][][]byte{"": nil, "constant": nil, "variable": {[]byte("7")}} {
			r := asker.ExecPrepared(ctx, name, params, nil, nil).Read()
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			got[name] = string(r.Rows[0][0])
		}
		return got
	}
	want := func() (price string) {
		t.Helper()
		if err := replica.QueryRow(ctx, constant, pgx.QueryExecModeSimpleProtocol).Scan(&price); err != nil {
			t.Fatal(err)
		}
		return price
	}
	before := want()
	for range 2 {
		for name, got := range answers() {
			if got != before {
				t.Errorf("statement %q gives %s, expected %s", name, got, before)
			}
		}
	}
	for _, sql := range []string{
		"SELECT pgml.train('houses', 'regression', 'public.dearer', 'price', automatic_deploy => false)",
		"SELECT pgml.deploy('houses', 'most_recent')",
	} {
		if _, err := deployer.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	after := want()
	if after == before {
		t.Fatal("both models predict the same")
	}
	for range 2 {
		for name, got := range answers() {
			if got != after {
				t.Errorf("after the deployment statement %q gives %s, expected %s", name, got, after)
			}
		}
	}
}
