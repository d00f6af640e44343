package proxy_test

import (
	"strings"
	"sync"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// Sessions that use the backends of a replica in turn, beside their transactions, never
// touch one when it is another's.
func TestReplicaBackendsBesideTransactionsAreOneSessionsAtATime(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, pool: pool.Config{Size: 8}})
	text := strings.Repeat("x", 3000)
	var sessions sync.WaitGroup
	for range 8 {
		c := enter(t, f.addr, db)
		sessions.Go(func() {
			c.query("BEGIN")
			for range 150 {
				if got := joined(c.query("SELECT length('" + text + "'), pgml.version() IS NOT NULL")); got != "RowDescription; row 3000,t; SELECT 1; ready T" {
					t.Errorf("got %.200q", got)
					return
				}
			}
		})
	}
	sessions.Wait()
}
