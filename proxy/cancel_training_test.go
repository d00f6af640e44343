package proxy_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// slowFit is a training that takes no notice of a cancel request.
func slowFit(project string) string {
	return strings.Replace(training(project), "'linear'", `'linear', hyperparams => '{"sleep_seconds": 600}'`, 1)
}

// fits waits until so many such trainings are at their fit.
func fits(t *testing.T, s *pgtest.Server, db string, want int) {
	t.Helper()
	n := 0
	if !pgtest.Eventually(func() bool {
		n = count(t, s, `SELECT FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%sleep_seconds%' AND wait_event = 'PgSleep'`, db)
		return n == want
	}) {
		t.Fatalf("%d fits are at work, not %d", n, want)
	}
}

// A fit on a primary that has PostgresML takes no notice of a cancel request either. The
// client gets what it gets for any other statement and goes on with what it has set, unless
// it had more there than the training: that is lost, and it is told so.
func TestCancelEndsTrainingOnThePrimary(t *testing.T) {
	const (
		ends  = "FATAL 57014 canceling statement due to user request; closed"
		lives = canceled
	)
	statement := []pgproto3.FrontendMessage{&pgproto3.Query{String: slowFit("slow")}}
	cases := map[string]struct {
		before string
		send   []pgproto3.FrontendMessage
		want   string
	}{
		"simple":           {"", statement, lives},
		"extended":         {"", batch(slowFit("slow")), lives},
		"after a write":    {"", []pgproto3.FrontendMessage{&pgproto3.Query{String: "INSERT INTO t VALUES (9); " + slowFit("slow")}}, lives},
		"in a transaction": {"BEGIN; INSERT INTO t VALUES (9)", statement, ends},
		"in an open batch": {"", append(batch(slowFit("slow"))[:3], &pgproto3.Flush{}), ends},
		"before another":   {"", append(batch(slowFit("slow")), batch("INSERT INTO t VALUES (9)")...), ends},
		"pinned":           {"CREATE TEMP TABLE mine (v int)", statement, ends},
	}
	server := pgtest.SharedReplica(t)
	db := server.NewDatabase(t)
	server.ExecIn(t, db, "CREATE TABLE fit AS SELECT i::float8 AS x, (2 * i)::float8 AS y FROM generate_series(1, 20) i; CREATE TABLE t (v int)")
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: server})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			peer, key := enterWithKey(t, f.addr, db)
			peer.query("SET application_name = 'kept'")
			if c.before != "" {
				peer.query(c.before)
			}
			peer.send(c.send...)
			fits(t, server, db, 1)
			cancel(t, f.addr, key.ProcessID, key.SecretKey)
			got := joined(peer.answer())
			if !strings.HasSuffix(got, c.want) {
				t.Errorf("got %q", got)
			}
			fits(t, server, db, 0)
			if c.want == lives {
				if got := joined(peer.query("SELECT current_setting('application_name'), count(*) FROM t")); got != "RowDescription; row kept,0; SELECT 1; ready I" {
					t.Errorf("goes on with %q", got)
				}
			}
			_ = peer.Close()
			next := enter(t, f.addr, db)
			if got := joined(next.query("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM pgml.models)")); got != "RowDescription; row 0,0; SELECT 1; ready I" {
				t.Errorf("the next client finds %q", got)
			}
			_ = next.Close()
			if !pgtest.Eventually(func() bool { return f.pools.Load("primary") == 0 }) {
				t.Errorf("%d backends in use", f.pools.Load("primary"))
			}
		})
	}
}

// Cancel requests that race with trainings and writes of a session hit those only, and what the client is told
// of each is true: the statement ended, or it is done. Its session goes on all the while.
func TestCancelOfTrainingsTellsTheTruth(t *testing.T) {
	server := pgtest.SharedReplica(t)
	db := server.NewDatabase(t)
	server.ExecIn(t, db, "CREATE TABLE fit AS SELECT i::float8 AS x, (2 * i)::float8 AS y FROM generate_series(1, 20) i; CREATE TABLE t (v int)")
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: server, pool: pool.Config{Size: 1}})
	target, key := enterWithKey(t, f.addr, db)
	bystander := enter(t, f.addr, db)
	const rounds = 12
	direct := server.Super(t, db)
	trained, written := 0, 0
	for round := range rounds {
		for sql, n := range map[string]*int{training("quick"): &trained, "INSERT INTO t VALUES (1)": &written} {
			var request sync.WaitGroup
			request.Go(func() {
				for range 60 * (round % 6) { // so that it comes earlier and later
					_, _ = direct.Exec(context.Background(), "SELECT 1")
				}
				cancel(t, f.addr, key.ProcessID, key.SecretKey)
			})
			switch got := joined(target.query(sql)); {
			case strings.HasSuffix(got, canceled):
			case !strings.Contains(got, "ERROR") && strings.HasSuffix(got, " 1; ready I"):
				*n++
			default:
				t.Fatalf("%s: got %q", sql, got)
			}
			request.Wait()
		}
		bystander.works()
	}
	var models, rows int
	if err := server.Super(t, db).QueryRow(t.Context(), "SELECT (SELECT count(*) FROM pgml.models), (SELECT count(*) FROM t)").Scan(&models, &rows); err != nil {
		t.Fatal(err)
	}
	if models != trained || rows != written {
		t.Errorf("%d models and %d rows, of %d trainings and %d writes that were said to be done", models, rows, trained, written)
	}
	t.Logf("of %d trainings %d were done, of as many writes %d", rounds, trained, written)
	_, _ = target.Close(), bystander.Close()
}
