package proxy_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/router"
)

// followed starts a proxy in front of a primary and a replica whose tables t tell which of
// them has answered. on runs SQL on the replica.
func followed(t *testing.T, c setup) (f *fixture, db string, on func(sql string)) {
	t.Helper()
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db = primary.NewDatabase(t)
	other := replica.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (v text); INSERT INTO t VALUES ('primary')")
	replica.ExecIn(t, other, "CREATE TABLE t (v text); INSERT INTO t VALUES ('replica')")
	pgtest.NoLeaks(t)
	c.replicas, c.replicaDatabase = []*pgtest.Server{replica}, other
	if c.policy.Reads == "" {
		c.policy.Reads = "replica"
	}
	return start(t, c), db, func(sql string) { replica.ExecIn(t, other, sql) }
}

func change(v string) string { return "UPDATE t SET v = '" + v + "'" }

// script sends statements one by one and compares the answers, in short.
func (c *client) script(t *testing.T, steps ...string) {
	t.Helper()
	for i := 0; i < len(steps); i += 2 {
		got := strings.ReplaceAll(joined(c.query(steps[i])), "RowDescription; ", "")
		if !strings.HasPrefix(got, steps[i+1]) {
			t.Errorf("%s: %q, expected %q", steps[i], got, steps[i+1])
		}
	}
}

const fromT = "SELECT v FROM t"

func is(v string) string { return "row " + v + "; SELECT 1; ready T" }

// However a transaction is made READ ONLY, it follows a replica, and at REPEATABLE READ all of
// it sees one snapshot there.
func TestReadOnlyTransactionsFollowAReplica(t *testing.T) {
	f, db, on := followed(t, setup{})
	for _, repeatable := range []bool{false, true} {
		level := map[bool]string{false: "READ COMMITTED", true: "REPEATABLE READ"}[repeatable]
		for name, begin := range map[string][]string{
			"BEGIN":           {"BEGIN ISOLATION LEVEL " + level + " READ ONLY DEFERRABLE"},
			"START":           {"START TRANSACTION READ ONLY, ISOLATION LEVEL " + level},
			"SET TRANSACTION": {"BEGIN", "SET TRANSACTION ISOLATION LEVEL " + level + " READ ONLY"},
			"CHARACTERISTICS": {"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL " + level + ", READ ONLY", "BEGIN"},
			"parameters":      {"BEGIN", "SET transaction_isolation = '" + strings.ToLower(level) + "'", "SET LOCAL transaction_read_only = on"},
			"defaults":        {"SET default_transaction_read_only = on", "SET default_transaction_isolation = '" + strings.ToLower(level) + "'", "BEGIN"},
		} {
			on(change("one"))
			c := enter(t, f.addr, db)
			for _, sql := range begin {
				c.query(sql)
			}
			c.script(t, fromT, is("one"))
			on(change("two"))
			second := map[bool]string{false: "two", true: "one"}[repeatable]
			c.script(t, fromT, is(second), "SHOW transaction_isolation", "row "+strings.ToLower(level),
				"SELECT count(DISTINCT now()) FROM t", is("1"), "COMMIT", "COMMIT; ready I")
			c.script(t, "SELECT pg_is_in_recovery()", "row f", "BEGIN READ WRITE", "BEGIN; ready T", fromT, is("primary"), "ROLLBACK", "ROLLBACK; ready I")
			if t.Failed() {
				t.Fatalf("%s, %s", name, level)
			}
		}
	}
}

// What fails on the replica fails the transaction, and savepoints are the same on both servers.
func TestFollowingWithSavepoints(t *testing.T) {
	f, db, on := followed(t, setup{pool: pool.Config{Size: 1}})
	c := enter(t, f.addr, db)
	c.script(t,
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN; ready T",
		"SAVEPOINT \"first.one\"", "SAVEPOINT; ready T",
		fromT, is("replica"))
	on(change("later"))
	c.script(t,
		"SAVEPOINT b", "SAVEPOINT; ready T",
		"DECLARE c CURSOR FOR SELECT v FROM t", "DECLARE CURSOR; ready T",
		"FETCH c", "row replica; FETCH 1; ready T",
		"SELECT 1 / (length(v) - length(v)) FROM t", "ERROR 22012 division by zero; ready E",
		fromT, "ERROR 25P02",
		"ROLLBACK TO b", "ROLLBACK; ready T",
		fromT, is("replica"),
		"FETCH c", "ERROR 34000",
		"ROLLBACK TO \"first.one\"", "ROLLBACK; ready T",
		"RELEASE \"first.one\"", "RELEASE; ready T",
		fromT, is("replica"),
		"INSERT INTO t VALUES ('x')", "ERROR 25006 cannot execute INSERT in a read-only transaction; ready E",
		"COMMIT", "ROLLBACK; ready I",
		// the only connection to the replica is free again, in no transaction
		fromT, "row later; SELECT 1; ready I",
		"BEGIN READ ONLY", "BEGIN; ready T",
		"SELECT 1 / (length(v) - length(v)) FROM t", "ERROR 22012 division by zero; ready E",
		"COMMIT", "ROLLBACK; ready I",
		fromT, "row later; SELECT 1; ready I")
}

// What the replica lacks is refused under REPEATABLE READ, and read on the primary at READ
// COMMITTED, which then answers all.
func TestFollowingWhatIsNotThere(t *testing.T) {
	primary, replica := pgtest.Primary(t), pgtest.Replica(t)
	primary.Exec(t, "CREATE TABLE t (v text); INSERT INTO t VALUES ('primary'); CREATE TABLE own (v text); INSERT INTO own VALUES ('own')")
	replica.Exec(t, "CREATE TABLE t (v text); INSERT INTO t VALUES ('replica')")
	pgtest.NoLeaks(t)
	f := watched(t, setup{policy: router.Config{Reads: "replica"}, replicas: []*pgtest.Server{replica}}, router.FeedNone, primary)
	c := enter(t, f.addr, "postgres")
	c.query("PREPARE p AS SELECT v FROM t")
	begin := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	for _, refused := range []string{
		"SELECT v FROM own", "SELECT 1; SELECT v FROM own", "SELECT v FROM t; COMMIT", "EXECUTE p", "SELECT v FROM t WHERE txid_current() > 0",
		"DECLARE h CURSOR WITH HOLD FOR SELECT v FROM t", "THIS IS NOT SQL", "/*+ pgshunt: primary */ SELECT v FROM t",
		"LOCK TABLE t IN ACCESS SHARE MODE", "DO 'BEGIN END'",
	} {
		c.script(t, begin, "BEGIN; ready T", fromT, is("replica"), refused, "ERROR 0A000", "ROLLBACK", "ROLLBACK; ready I")
	}
	c.script(t, begin, "BEGIN; ready T", fromT, is("replica"),
		"SELECT relname FROM pg_class WHERE relname = 'own'", is("own"),
		"SELECT v FROM t; SELECT 'second'", "row replica; SELECT 1; row second; SELECT 1; ready T",
		"SET LOCAL work_mem = '5MB'", "SET; ready T",
		"SELECT current_setting('work_mem') || v FROM t", is("5MBreplica"),
		"SAVEPOINT s", "SAVEPOINT; ready T", "SELECT v FROM t FOR UPDATE", "ERROR 25006", "ROLLBACK TO s", "ROLLBACK; ready T",
		"SET TRANSACTION READ WRITE", "ERROR 25001", "ROLLBACK", "ROLLBACK; ready I")
	for _, late := range []string{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "BEGIN READ WRITE", "SET transaction_read_only = off"} {
		c.script(t, begin, "BEGIN; ready T", fromT, is("replica"), late, "ERROR 25001", "ROLLBACK", "ROLLBACK; ready I")
	}
	c.script(t, "BEGIN READ ONLY", "BEGIN; ready T", fromT, is("replica"), "SELECT v FROM own", is("own"), fromT, is("primary"), "COMMIT", "COMMIT; ready I")
	// what has read on the primary stays there
	for _, first := range []string{"EXECUTE p", "SELECT v FROM own", "SELECT relname FROM pg_class WHERE false", "/*+ pgshunt: primary */ SELECT 1"} {
		for _, begin := range []string{begin, "BEGIN READ ONLY"} {
			c.query(begin)
			c.query(first)
			c.script(t, fromT, is("primary"), "COMMIT", "COMMIT; ready I")
		}
	}
	c.script(t, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "BEGIN; ready T", fromT, is("primary"), "COMMIT", "COMMIT; ready I")
}

// Inference over tables at REPEATABLE READ has the transaction follow, though reads go to the
// primary otherwise; without tables it runs beside.
func TestInferenceBeginsToFollow(t *testing.T) {
	f, db, on := followed(t, setup{policy: router.Config{Reads: "primary"}})
	c := enter(t, f.addr, db)
	const infer = "SELECT v || (pgml.embed('m', v) IS NOT NULL) FROM t"
	c.script(t, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN; ready T", infer, is("replicatrue"))
	on(change("later"))
	c.script(t, fromT, is("replica"), infer, is("replicatrue"), "COMMIT AND CHAIN", "COMMIT; ready T",
		infer, is("latertrue"), "ROLLBACK AND CHAIN", "ROLLBACK; ready T",
		"SELECT pgml.embed('m', 'x') IS NOT NULL", is("t"), fromT, is("primary"), infer, "ERROR 0A000", "ROLLBACK", "ROLLBACK; ready I",
		"BEGIN READ ONLY", "BEGIN; ready T", infer, is("latertrue"), fromT, is("primary"), "COMMIT", "COMMIT; ready I",
		"BEGIN READ ONLY", "BEGIN; ready T", "SELECT pgml.train('p', 'regression', 't', 'v')", "ERROR 25006", "ROLLBACK", "ROLLBACK; ready I")
}

// Drivers send BEGIN along with the first statement, and read rows in pieces.
func TestFollowingInPipelines(t *testing.T) {
	f, db, on := followed(t, setup{pool: pool.Config{Size: 1}})
	on("INSERT INTO t VALUES ('second'), ('third')")
	c := enter(t, f.addr, db)
	run := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	for range 3 {
		c.send(append(append(run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), run("SELECT min(v) FROM t")...), &pgproto3.Sync{})...)
		if got := joined(c.answer()); got != "ParseComplete; BindComplete; BEGIN; ParseComplete; BindComplete; row replica; SELECT 1; ready T" {
			t.Errorf("begin: %q", got)
		}
		c.send(&pgproto3.Parse{Name: "s", Query: "SELECT v FROM t ORDER BY v"}, &pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"},
			&pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Sync{})
		if got := joined(c.answer()); got != "ParseComplete; BindComplete; row replica; PortalSuspended; ready T" {
			t.Errorf("first piece: %q", got)
		}
		c.send(&pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Sync{})
		if got := joined(c.answer()); got != "row second; PortalSuspended; ready T" {
			t.Errorf("second piece: %q", got)
		}
		c.send(&pgproto3.Execute{Portal: "p"}, &pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Close{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{})
		if got := joined(c.answer()); got != "row third; SELECT 1; CloseComplete; CloseComplete; ready T" {
			t.Errorf("the rest: %q", got)
		}
		c.send(append(append(run("SELECT 1 / (length(v) - length(v)) FROM t"), run(fromT)...), &pgproto3.Sync{})...)
		if got := joined(c.answer()); got != "ParseComplete; BindComplete; ERROR 22012 division by zero; ready E" {
			t.Errorf("failing: %q", got)
		}
		c.send(append(run("COMMIT"), &pgproto3.Sync{})...)
		if got := joined(c.answer()); got != "ParseComplete; BindComplete; ROLLBACK; ready I" {
			t.Errorf("end: %q", got)
		}
	}
}

// With the replica the snapshot is lost.
func TestFollowingALostReplica(t *testing.T) {
	f, db, _ := followed(t, setup{})
	c := enter(t, f.addr, db)
	kill := func() { f.replicas[0].Terminate(t, "application_name = 'followed'") }
	c.script(t, "SET application_name = 'followed'", "SET; ready I",
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN; ready T", fromT, is("replica"))
	kill()
	c.script(t, fromT, "ERROR 08006", fromT, "ERROR 25P02", "ROLLBACK", "ROLLBACK; ready I",
		"BEGIN READ ONLY", "BEGIN; ready T", fromT, is("replica"))
	kill()
	c.query("SHOW work_mem")
	c.script(t, "ROLLBACK", "ROLLBACK; ready I", fromT, "row replica; SELECT 1; ready I")
}

// The connection of a transaction that followed keeps what it has prepared, and is
// reset where settings have changed within.
func TestFollowingLeavesNothingBehind(t *testing.T) {
	f, db, _ := followed(t, setup{pool: pool.Config{Size: 1}})
	c := enter(t, f.addr, db)
	held := func() int {
		return strings.Count(joined(c.query("/*+ pgshunt: replica */ SELECT name FROM pg_prepared_statements")), "row ")
	}
	c.send(&pgproto3.Parse{Name: "s", Query: fromT}, &pgproto3.Sync{})
	c.answer()
	if n := held(); n != 1 {
		t.Fatalf("%d statements prepared on the replica", n)
	}
	c.script(t, "BEGIN READ ONLY", "BEGIN; ready T", fromT, is("replica"), "COMMIT", "COMMIT; ready I")
	if n := held(); n != 1 {
		t.Errorf("%d statements prepared on the replica after a transaction", n)
	}
	c.script(t, "BEGIN READ ONLY", "BEGIN; ready T", fromT, is("replica"), "SAVEPOINT a", "SAVEPOINT; ready T", "SET LOCAL work_mem = '5MB'", "SET; ready T",
		"SELECT current_setting('work_mem') FROM t", is("5MB"), "ROLLBACK TO a", "ROLLBACK; ready T",
		"SELECT current_setting('work_mem') FROM t", is("4MB"), "COMMIT", "COMMIT; ready I",
		"SELECT current_setting('work_mem') FROM t", "row 4MB; SELECT 1; ready I")
}

// The one snapshot of a REPEATABLE READ transaction is waited for when it begins, by what
// inference asks for, and not again; what asks for more is refused.
func TestFreshnessOfAFollowedSnapshot(t *testing.T) {
	policy := freshSession(pgtest.Patience, false)
	policy.Reads = "replica"
	policy.Rules = []router.Rule{{To: "replica", Freshness: router.Freshness{Within: 1}, Match: router.Match{Function: router.Patterns{"upper"}}}}
	f, a, db := questioned(t, 1, policy)
	c := enter(t, f.addr, db)
	c.query("INSERT INTO t VALUES ('a')")
	expect := func(sql, answer string, positions int, waits string) {
		t.Helper()
		c.script(t, sql, answer)
		if n, w := a.took(); n != positions || w != waits {
			t.Errorf("%s: asked %d times for the position, waited for %q", sql, n, w)
		}
	}
	expect("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN; ready T", 0, "")
	expect("SELECT v FROM t", "SELECT 0; ready T", 1, "ml1")
	expect(reader, "SELECT 0; ready T", 0, "")
	expect("SELECT upper(v), pgml.embed('m', v) FROM t", "ERROR 0A000", 0, "")
	expect("ROLLBACK", "ROLLBACK; ready I", 0, "")
	c.query("INSERT INTO t VALUES ('b')")
	expect("BEGIN READ ONLY", "BEGIN; ready T", 0, "")
	expect("SELECT v FROM t", "SELECT 0; ready T", 0, "")
	expect(reader, "SELECT 0; ready T", 1, "ml1")
	expect("COMMIT", "COMMIT; ready I", 0, "")
}

// READ ONLY that a savepoint takes back is taken back here too, and a default that changes
// within a block is the next one's.
func TestModesOfTheTransactionAtHand(t *testing.T) {
	f, db, _ := followed(t, setup{})
	c := enter(t, f.addr, db)
	const embed = "SELECT pgml.embed('m', v) IS NOT NULL FROM t"
	c.script(t, "BEGIN", "BEGIN; ready T", "SAVEPOINT a", "SAVEPOINT; ready T", "SET TRANSACTION READ ONLY", "SET; ready T",
		"ROLLBACK TO a", "ROLLBACK; ready T", "SELECT pgml.deploy('nobody', 'best_score')", "ERROR XX000", "ROLLBACK", "ROLLBACK; ready I",
		"BEGIN", "BEGIN; ready T", "SET default_transaction_isolation = 'repeatable read'", "SET; ready T", embed, is("t"), "COMMIT", "COMMIT; ready I",
		"BEGIN", "BEGIN; ready T", "SET default_transaction_isolation = 'read committed'", "SET; ready T", embed, "ERROR 0A000", "COMMIT", "ROLLBACK; ready I",
		"BEGIN", "BEGIN; ready T", embed, "ERROR 0A000", "ROLLBACK", "ROLLBACK; ready I")
	f.primary.Exec(t, "CREATE ROLE reads_only LOGIN SUPERUSER; ALTER ROLE reads_only SET default_transaction_read_only = on")
	t.Cleanup(func() { f.primary.Exec(t, "DROP ROLE reads_only") })
	f.replicas[0].Exec(t, "CREATE ROLE reads_only LOGIN SUPERUSER")
	t.Cleanup(func() { f.replicas[0].Exec(t, "DROP ROLE reads_only") })
	c = dial(t, f.addr)
	c.startup("user", "reads_only", "database", db)
	c.answer()
	c.script(t, "BEGIN", "BEGIN; ready T", fromT, is("replica"), "COMMIT", "COMMIT; ready I",
		"BEGIN READ WRITE", "BEGIN; ready T", fromT, is("primary"), "COMMIT", "COMMIT; ready I")
}
