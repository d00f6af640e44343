package proxy_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

const repeatable = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

// endless is a read of t that does not end by itself.
const endless = "SELECT count(*) FROM t, generate_series(1, 1000000000) a, generate_series(1, 1000) b"

// What is sent behind a BEGIN that the replica refuses has run outside of the transaction, and
// its answer does not reach the client.
func TestFollowingABlockThatDoesNotOpen(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	pgtest.NoLeaks(t)
	for code, want := range map[string]string{
		"57014": "ERROR 57014 canceling statement due to user request; ready E", "XX000": gone1 + "E",
	} {
		fake := startFake(t, func(fc *fakeConn) {
			fc.say(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: "not now"}, ready,
				column, row("outside"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, ready)
			_, _ = fc.be.Receive()
			_, _ = fc.be.Receive()
		})
		f := start(t, setup{policy: router.Config{Reads: "replica"}, replicas: []*pgtest.Server{fake.server()}})
		c := enter(t, f.addr, db)
		c.script(t, repeatable, "BEGIN; ready T", fromT, want, fromT, "ERROR 25P02", "ROLLBACK", "ROLLBACK; ready I", "SHOW work_mem", "row 4MB; SHOW; ready I")
		f.stop()
	}
}

// A transaction that fails on the primary has failed, although the replica's block has not: its portals
// run no more, until a savepoint has them back.
func TestPortalsOfAFollowedTransactionThatHasFailed(t *testing.T) {
	f, db, on := followed(t, setup{})
	on("INSERT INTO t VALUES ('second'), ('third')")
	c := enter(t, f.addr, db)
	expect := func(want string, messages ...pgproto3.FrontendMessage) {
		t.Helper()
		c.send(append(messages, &pgproto3.Sync{})...)
		if got := joined(c.answer()); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	const aborted = "ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block; ready E"
	one := &pgproto3.Execute{Portal: "p", MaxRows: 1}
	c.script(t, repeatable, "BEGIN; ready T")
	expect("ParseComplete; BindComplete; row replica; PortalSuspended; ready T",
		&pgproto3.Parse{Query: "SELECT v FROM t ORDER BY v"}, &pgproto3.Bind{DestinationPortal: "p"}, one)
	c.script(t, "SAVEPOINT a", "SAVEPOINT; ready T", "INSERT INTO t VALUES ('x')", "ERROR 25006")
	expect(aborted, one)
	expect(aborted, &pgproto3.Describe{ObjectType: 'P', Name: "p"})
	c.script(t, "ROLLBACK TO a", "ROLLBACK; ready T")
	expect("row second; PortalSuspended; ready T", one)
	c.script(t, "DELETE FROM t", "ERROR 25006")
	expect("CloseComplete; ready E", &pgproto3.Close{ObjectType: 'P', Name: "p"})
	expect(`ERROR 34000 portal "p" does not exist; ready E`, one)
	// an error of the batch at hand comes before what its next message would do elsewhere
	c.script(t, "ROLLBACK TO a", "ROLLBACK; ready T")
	expect("ParseComplete; BindComplete; row replica; PortalSuspended; ready T",
		&pgproto3.Parse{Query: "SELECT v FROM t ORDER BY v"}, &pgproto3.Bind{DestinationPortal: "q"}, &pgproto3.Execute{Portal: "q", MaxRows: 1})
	c.script(t, "INSERT INTO t VALUES ('x')", "ERROR 25006")
	expect("ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block; ready E",
		&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Close{ObjectType: 'P', Name: "q"}, &pgproto3.Bind{}, &pgproto3.Execute{})
	c.script(t, "ROLLBACK", "ROLLBACK; ready I", fromT, "row replica")
}

// Batches that lack their Sync, and an empty text, are as on one server.
func TestFollowingOddBatches(t *testing.T) {
	f, db, _ := followed(t, setup{})
	c := enter(t, f.addr, db)
	run := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	c.send(append(run(repeatable), &pgproto3.Query{String: fromT})...)
	if got := joined(c.answer()); got != "ParseComplete; BindComplete; BEGIN; RowDescription; row replica; SELECT 1; ready T" {
		t.Errorf("a Query ends the batch of the BEGIN: %q", got)
	}
	c.send(append(run(""), &pgproto3.Sync{})...)
	if got := joined(c.answer()); got != "ParseComplete; BindComplete; EmptyQueryResponse; ready T" {
		t.Errorf("an empty text: %q", got)
	}
	c.script(t, fromT, is("replica"), "COMMIT", "COMMIT; ready I")
	c.send(append(run("SELECT 1 / (length(v) - length(v)) FROM t"), &pgproto3.Query{String: "CREATE TABLE skipped ()"}, &pgproto3.Sync{})...)
	if got := joined(c.answer()); got != "ParseComplete; BindComplete; ERROR 22012 division by zero; ready I" {
		t.Errorf("a Query behind a batch that has failed on the replica: %q", got)
	}
	c.script(t, "SELECT to_regclass('skipped') IS NULL", "row t; SELECT 1; ready I")
}

// A statement that is cancelled, or too long, fails the transaction; a savepoint has it back, with its snapshot.
func TestCancelInAFollowedTransaction(t *testing.T) {
	f, db, on := followed(t, setup{})
	c, key := enterWithKey(t, f.addr, db)
	c.script(t, repeatable, "BEGIN; ready T", fromT, is("replica"), "SAVEPOINT a", "SAVEPOINT; ready T")
	on(change("later"))
	c.send(&pgproto3.Query{String: endless})
	waitActive(t, f.replicas[0], "generate_series")
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := strings.ReplaceAll(joined(c.answer()), "RowDescription; ", ""); got != "ERROR 57014 canceling statement due to user request; ready E" {
		t.Errorf("canceled: %q", got)
	}
	c.script(t, "ROLLBACK TO a", "ROLLBACK; ready T", fromT, is("replica"), "SET LOCAL statement_timeout = '50ms'", "SET; ready T",
		endless, "ERROR 57014 canceling statement due to statement timeout; ready E", "ROLLBACK TO a", "ROLLBACK; ready T",
		fromT, is("replica"), "COMMIT", "COMMIT; ready I", fromT, "row later")
}

// waitActive waits until a statement runs in any database.
func waitActive(t *testing.T, s *pgtest.Server, text string) {
	t.Helper()
	if !pgtest.Eventually(func() bool {
		return count(t, s, `SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()`, text) > 0
	}) {
		t.Errorf("%q does not run", text)
	}
}

// A replica that is lost while it answers, or between two statements, fails the transaction with
// 08006; ROLLBACK and the next one work. What the fleet says of it in between does not matter.
func TestFollowingAReplicaInTrouble(t *testing.T) {
	f, db, _ := followed(t, setup{})
	c := enter(t, f.addr, db)
	for _, begin := range []string{repeatable, "BEGIN READ ONLY"} {
		c.script(t, begin, "BEGIN; ready T", fromT, is("replica"))
		c.send(&pgproto3.Query{String: endless})
		waitActive(t, f.replicas[0], "generate_series")
		f.replicas[0].Terminate(t, "query LIKE '%generate_series%'")
		if got := strings.ReplaceAll(joined(c.answer()), "RowDescription; ", ""); got != gone1+"E" {
			t.Errorf("terminated: %q", got)
		}
		c.script(t, fromT, "ERROR 25P02", "ROLLBACK", "ROLLBACK; ready I", begin, "BEGIN; ready T", fromT, is("replica"))
		f.server.SetFleet(&router.Fleet{Targets: []router.Target{{Name: "primary", Healthy: true}, {Name: "ml1", Replica: true, Reads: true, Inference: true}}})
		c.script(t, fromT, is("replica"), "COMMIT", "COMMIT; ready I", fromT, "row primary")
		f.server.SetFleet(&router.Fleet{Targets: []router.Target{{Name: "primary", Healthy: true}, {Name: "ml1", Replica: true, Healthy: true, Reads: true, Inference: true}}})
	}
	// the client is idle in its transaction for too long: PostgreSQL's own last words
	c.script(t, "SET idle_in_transaction_session_timeout = '100ms'", "SET; ready I", repeatable, "BEGIN; ready T", fromT, is("replica"))
	if got := joined(c.answer()); got != "FATAL 25P03 terminating connection due to idle-in-transaction timeout; closed" {
		t.Errorf("idle: %q", got)
	}
}

// What means the transaction's own snapshot is not another server's.
func TestFollowingAnExportedSnapshot(t *testing.T) {
	f, db, _ := followed(t, setup{})
	c := enter(t, f.addr, db)
	c.script(t, repeatable, "BEGIN; ready T", fromT, is("replica"), "SELECT pg_export_snapshot()", "ERROR 0A000", "ROLLBACK", "ROLLBACK; ready I",
		repeatable, "BEGIN; ready T", "SELECT pg_export_snapshot() <> ''", is("t"), fromT, is("primary"), "ROLLBACK", "ROLLBACK; ready I",
		repeatable, "BEGIN; ready T", "SET TRANSACTION SNAPSHOT 'none'", "ERROR 22023", "ROLLBACK", "ROLLBACK; ready I",
		"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "BEGIN; ready T", fromT, is("primary"), "COMMIT", "COMMIT; ready I")
}
