package proxy_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// lockIn has whoever reads a table wait until what is returned is called.
func lockIn(t *testing.T, s *pgtest.Server, db, table string) (free func()) {
	t.Helper()
	conn := s.Super(t, db)
	for _, sql := range []string{"BEGIN", "LOCK TABLE " + table + " IN ACCESS EXCLUSIVE MODE"} {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return func() { _ = conn.Close(context.Background()) }
}

// blocked waits until so many trainings wait for a lock.
func blocked(t *testing.T, s *pgtest.Server, db string, want int) {
	t.Helper()
	n := 0
	if !pgtest.Eventually(func() bool {
		n = count(t, s, "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' AND query LIKE '%pgml.train%'", db)
		return n == want
	}) {
		t.Fatalf("%d trainings wait, not %d", n, want)
	}
}

// Two clients train one project at the same time, and a third one predicts with it: both
// trainings run, the model in force is the old one until one of them has ended, and then
// that of the one that has ended last, also for statements prepared before. It is as it is
// on the PostgresML server itself.
func TestTwoClientsTrainAProjectAtOnce(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db := primary.NewDatabase(t)
	const ask = "SELECT round(pgml.predict('houses', ARRAY[7::real])::numeric, -2)"
	train := func(project, table string) *pgproto3.Query {
		return &pgproto3.Query{String: "SELECT * FROM pgml.train('" + project + "', 'regression', '" + table + "', 'price')"}
	}
	messages := regexp.MustCompile(`(INFO|WARNING|NOTICE) [^;]*(;[^;]*?)*?; `)
	conversation := func(addr, db, other string) (said []string) {
		replica.ExecIn(t, other, `CREATE TABLE cheap AS SELECT n::real AS rooms, (1000 * n + 500)::real AS price FROM generate_series(1, 40) n;
			CREATE TABLE dear AS SELECT rooms, 3 * price AS price FROM cheap; CREATE TABLE dearest AS SELECT rooms, 5 * price AS price FROM cheap`)
		one, two, third := enter(t, addr, db), enter(t, addr, db), enter(t, addr, db)
		note := func(what, answer string) {
			said = append(said, what+": "+messages.ReplaceAllString(answer, ""))
		}
		predicted := func(when string) {
			note("asked "+when, joined(third.query(ask)))
			third.send(&pgproto3.Bind{PreparedStatement: "ask", Parameters: [][]byte{[]byte("0")}}, &pgproto3.Execute{}, &pgproto3.Sync{})
			note("asked again "+when, joined(third.answer()))
		}
		one.send(train("houses", "cheap"))
		note("one", joined(one.answer()))
		third.send(&pgproto3.Parse{Name: "ask", Query: strings.Replace(ask, "7", "(7 + $1::int)", 1)}, &pgproto3.Sync{})
		note("prepared", joined(third.answer()))
		freeDear, freeDearest := lockIn(t, replica, other, "dear"), lockIn(t, replica, other, "dearest")
		one.send(train("houses", "dear"))
		two.send(train("houses", "dearest"))
		blocked(t, replica, other, 2)
		predicted("while both train")
		freeDearest()
		note("two", joined(two.answer()))
		predicted("when the second has ended")
		freeDear()
		note("one", joined(one.answer()))
		predicted("when the first has ended too")
		free := lockIn(t, replica, other, "cheap")
		one.send(train("new", "cheap"))
		blocked(t, replica, other, 1)
		two.send(train("new", "dear"))
		blocked(t, replica, other, 2)
		free()
		note("one, of a new project", joined(one.answer()))
		note("two, of a new project", joined(two.answer()))
		third.query("DEALLOCATE ALL")
		note("asked of a new project", joined(third.query(strings.Replace(ask, "houses", "new", 1))))
		_, _, _ = one.Close(), two.Close(), third.Close()
		return said
	}
	direct := replica.NewDatabase(t)
	want := conversation(address(replica), direct, direct)
	modes(t, func(t *testing.T, session bool) {
		other := replica.NewDatabase(t)
		pgtest.NoLeaks(t)
		f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, proxy: proxy.Config{SessionMode: session}})
		if diff := cmp.Diff(want, conversation(f.addr, db, other)); diff != "" {
			t.Errorf("(-PostgresML +pgshunt):\n%s", diff)
		}
	})
}
