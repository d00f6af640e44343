package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// A cancel request that comes while a batch or a transaction has parts on both servers is
// one error, as from the one server that would have run all of it, and nothing of either
// part is left.
func TestCancelWithPartsOnBothServers(t *testing.T) {
	const (
		slow   = "SELECT count(*) FROM generate_series(1, 1000000000) n WHERE pgml.version() <> n::text"
		insert = "INSERT INTO t VALUES (1)"
		read   = "SELECT v FROM t"
	)
	pipeline := func(texts ...string) (all []pgproto3.FrontendMessage) {
		for i, sql := range texts {
			portal := fmt.Sprintf("p%d", i)
			all = append(all, &pgproto3.Parse{Query: sql}, &pgproto3.Bind{DestinationPortal: portal},
				&pgproto3.Describe{ObjectType: 'P', Name: portal}, &pgproto3.Execute{Portal: portal})
		}
		return append(all, &pgproto3.Sync{})
	}
	cases := map[string]struct {
		before string
		send   []pgproto3.FrontendMessage
	}{
		"a pipeline of reads":         {"", pipeline(read, slow, read)},
		"batches, one behind another": {"", append(pipeline(read, slow), pipeline("SELECT 2")...)},
		"a transaction":               {"BEGIN; " + insert, []pgproto3.FrontendMessage{&pgproto3.Query{String: slow}}},
		"a transaction's pipeline":    {"BEGIN", pipeline(insert, slow, insert)},
		"EXPLAIN in a transaction":    {"BEGIN; " + insert, []pgproto3.FrontendMessage{&pgproto3.Query{String: "EXPLAIN ANALYZE " + slow}}},
		"portals of both":             {"BEGIN; " + insert, append(halfRead("a", read), append(halfRead("b", "SELECT n FROM generate_series(1, 9) n WHERE pgml.version() <> ''"), pipeline(slow)...)...)},
		"a cursor beside it":          {"BEGIN; DECLARE c CURSOR FOR " + read, []pgproto3.FrontendMessage{&pgproto3.Query{String: slow}}},
	}
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (v int)")
	replica.ExecIn(t, other, "CREATE TABLE t (v int)")
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			heard := func(addr, database string) (got []string) {
				peer, key := enterWithKey(t, addr, database)
				if c.before != "" {
					peer.query(c.before)
				}
				peer.send(c.send...)
				spills(t, replica, other, true)
				cancel(t, addr, key.ProcessID, key.SecretKey)
				got = append(got, joined(peer.answer()))
				if name == "batches, one behind another" {
					got = append(got, joined(peer.answer()))
				}
				spills(t, replica, other, false)
				peer.query("ROLLBACK")
				got = append(got, joined(peer.query(read)), joined(peer.query("SELECT pgml.version() <> ''")))
				_ = peer.Close()
				return got
			}
			want, got := heard(fmt.Sprintf("127.0.0.1:%d", replica.Port), other), heard(f.addr, db)
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Errorf("through the proxy\n%q\ndirectly\n%q", got, want)
			}
			if !pgtest.Eventually(func() bool { return f.pools.Load("primary") == 0 && f.pools.Load("ml1") == 0 }) {
				t.Errorf("%d backends of the primary and %d of the replica are in use", f.pools.Load("primary"), f.pools.Load("ml1"))
			}
		})
	}
}

// spills waits until a statement there has rows in a temporary file, or none has. Such a statement
// is being executed, while one that is active may still be parsed or planned: a request then
// comes before the answers to Bind and Describe.
func spills(t *testing.T, s *pgtest.Server, database string, want bool) {
	t.Helper()
	if !pgtest.Eventually(func() bool {
		return count(t, s, `SELECT FROM pg_stat_activity, pg_ls_tmpdir()
			WHERE datname = $1 AND state = 'active' AND starts_with(name, 'pgsql_tmp' || pid || '.')`, database) > 0 == want
	}) {
		t.Errorf("a statement has a temporary file: %v, which is not what was to be", !want)
	}
}

// A cancel request that meets a training beside a transaction ends the training and fails the
// transaction, as a statement of it that is canceled does: the savepoints before it are there.
func TestCancelOfTrainingBesideATransaction(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (v int)")
	replica.ExecIn(t, other, "CREATE TABLE fit AS SELECT i::float8 AS x, (2 * i)::float8 AS y FROM generate_series(1, 20) i")
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	for name, send := range map[string][]pgproto3.FrontendMessage{
		"simple":   {&pgproto3.Query{String: slowFit("beside")}},
		"extended": batch(slowFit("beside")),
	} {
		t.Run(name, func(t *testing.T) {
			c, key := enterWithKey(t, f.addr, db)
			c.query("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s")
			c.send(send...)
			fits(t, replica, other, 1)
			cancel(t, f.addr, key.ProcessID, key.SecretKey)
			got := joined(c.answer())
			if !strings.HasSuffix(got, "ERROR 57014 canceling statement due to user request; ready E") || strings.Count(got, "ERROR") != 1 {
				t.Errorf("got %q", got)
			}
			fits(t, replica, other, 0)
			for _, step := range [][2]string{
				{"SELECT 1", "ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block; ready E"},
				{"ROLLBACK TO s", "ROLLBACK; ready T"},
				{"SELECT v, (SELECT pgml.version() <> '') FROM t", "ERROR"},
				{"ROLLBACK", "ROLLBACK; ready I"},
				{"SELECT pgml.version() <> ''", "RowDescription; row t; SELECT 1; ready I"},
				{"SELECT count(*) FROM t", "RowDescription; row 0; SELECT 1; ready I"},
			} {
				if got := joined(c.query(step[0])); !strings.HasPrefix(got, step[1]) {
					t.Errorf("%s: got %q", step[0], got)
				}
			}
			_ = c.Close()
			if !pgtest.Eventually(func() bool { return f.pools.Load("primary") == 0 && f.pools.Load("ml1") == 0 }) {
				t.Errorf("%d backends of the primary and %d of the replica are in use", f.pools.Load("primary"), f.pools.Load("ml1"))
			}
		})
	}
}

// halfRead is a portal from which a row has been read and more are to come.
func halfRead(portal, sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{DestinationPortal: portal}, &pgproto3.Execute{Portal: portal, MaxRows: 1}}
}
