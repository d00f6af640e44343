package proxy_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// A transaction whose server process ends takes along what its client has sent
// already: no statement may run by itself on another server process.
func TestStatementOfALostTransactionRunsNowhere(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (v int)")
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	keeper := enter(t, f.addr, db) // leaves an idle backend for whoever would take it
	insert := &pgproto3.Query{String: "INSERT INTO t VALUES (1)"}
	pipeline := make([]pgproto3.FrontendMessage, 500)
	for i := range pipeline {
		pipeline[i] = insert
	}
	for range 20 {
		c := enter(t, f.addr, db)
		c.query("BEGIN")
		keeper.works()
		got := joined(c.query("SELECT pg_backend_pid()"))
		pid := strings.TrimSuffix(strings.TrimPrefix(got, "RowDescription; row "), "; SELECT 1; ready T")
		var both sync.WaitGroup
		both.Go(func() { primary.ExecIn(t, db, "SELECT pg_terminate_backend("+pid+")") })
		both.Go(func() {
			for range 20 {
				c.send(pipeline...)
			}
		})
		for line := ""; line != "closed"; line, _ = c.receive() {
		}
		both.Wait()
		_ = c.Close()
	}
	if got := joined(keeper.query("SELECT count(*) FROM t")); !strings.Contains(got, "row 0;") {
		t.Errorf("rows of transactions that were lost: %q", got)
	}
}
