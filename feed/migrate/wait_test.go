package migrate

import (
	"context"
	"testing"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// A change of a table that has just been made waits for the first copy, as its session does.
func TestAChangeWaitsForTheOneBeforeIt(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	first, second := g.client(), g.client()
	workers := func(sql string) {
		g.replica.Exec(t, sql)
		g.replica.Exec(t, "SELECT pg_reload_conf()")
	}
	workers("ALTER SYSTEM SET max_sync_workers_per_subscription = 0")
	found := func(sql string) bool {
		return pgtest.Eventually(func() bool {
			var is bool
			return g.super(g.replica).QueryRow(t.Context(), "SELECT EXISTS ("+sql+")").Scan(&is) == nil && is
		})
	}
	ends := make(chan error, 1)
	go func() { ends <- first.run("CREATE TABLE fresh (id int PRIMARY KEY)") }()
	if !found("SELECT FROM pg_subscription_rel WHERE srrelid = to_regclass('fresh')") {
		t.Fatal("the table is not taken into the subscription")
	}
	var l *Live
	begun := make(chan error, 1)
	go func() {
		var err error
		l, err = second.begin("ALTER TABLE fresh ADD w int")
		begun <- err
	}()
	if !found("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") {
		t.Error("the second change does not wait")
	}
	workers("ALTER SYSTEM RESET max_sync_workers_per_subscription")
	for _, end := range []chan error{ends, begun} {
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	}
	if _, err := second.conn.Exec(t.Context(), "ALTER TABLE fresh ADD w int"); err != nil {
		t.Error(err)
	}
	if err := l.Finish(context.Background(), true); err != nil {
		t.Error(err)
	}
	g.equal()
}
