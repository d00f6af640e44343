package migrate

import (
	"context"
	"testing"

	"pgshunt/internal/pgtest"
)

// After a crash the number of a transaction that was lost is in the future, or another
// transaction's.
func TestTransactionsThatACrashHasLost(t *testing.T) {
	s := pgtest.Primary(t)
	s.Exec(t, "CREATE TABLE public.t (a int)")
	conn := s.Super(t, "postgres")
	ctx := context.Background()
	var done string
	if err := conn.QueryRow(ctx, "SELECT txid_current()::text").Scan(&done); err != nil {
		t.Fatal(err)
	}
	there := Change{Action: addColumn, Schema: "public", Name: "t", Column: "a"}
	missing := Change{Action: addColumn, Schema: "public", Name: "t", Column: "b"}
	for _, c := range []struct {
		xid    string
		change Change
		want   bool
	}{{done, there, true}, {done, missing, false}, {"1000000000", missing, false}} {
		got, err := committed(ctx, conn, c.xid, &plan{Changes: []Change{c.change}})
		if err != nil || got != c.want {
			t.Errorf("transaction %s, column %s: %v, %v", c.xid, c.change.Column, got, err)
		}
	}
}
