package proxy_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// A portal on one replica does not keep that when the batch goes on to another, and one
// that the primary's turn has kept there lets go of it with the batch.
func TestPortalLetsGoOfItsReplica(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica, replica}, replicaDatabase: other})
	c := enter(t, f.addr, db)
	for _, second := range []string{"/*+ pgshunt: replica:ml2 */ SELECT pgml.version() IS NOT NULL", "SELECT 't'"} {
		c.send(
			&pgproto3.Parse{Query: "/*+ pgshunt: replica:ml1 */ SELECT pgml.embed('m', 'x')"}, &pgproto3.Bind{DestinationPortal: "p"},
			&pgproto3.Parse{Query: second}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{},
		)
		if got := joined(c.answer()); !strings.HasSuffix(got, "row t; SELECT 1; ready I") {
			t.Errorf("%s: %q", second, got)
		}
		free := func() bool {
			return f.pools.Load("ml1") == 0 && f.pools.Load("ml2") == 0 && f.pools.Load("primary") == 0
		}
		if !pgtest.Eventually(free) {
			t.Errorf("%s: ml1 %d, ml2 %d and primary %d in use", second, f.pools.Load("ml1"), f.pools.Load("ml2"), f.pools.Load("primary"))
		}
	}
	c.works()
}
