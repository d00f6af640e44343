package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Subscription is the name of the subscription that Subscribe makes, and of its
// publication and slot.
const Subscription = "feed"

// Subscribe feeds the tables of database postgres that both servers have from source to s,
// by logical replication, and returns when they are synchronised. The subscription ends with the test.
func (s *Server) Subscribe(tb testing.TB, source *Server) {
	tb.Helper()
	source.Exec(tb, "CREATE PUBLICATION "+Subscription+" FOR ALL TABLES")
	s.Exec(tb, "CREATE SUBSCRIPTION "+Subscription+" CONNECTION '"+source.URL(source.Superuser(), "postgres")+"' PUBLICATION "+Subscription)
	tb.Cleanup(func() {
		if !s.running() {
			return
		}
		s.Exec(tb, "ALTER SUBSCRIPTION "+Subscription+" DISABLE")
		s.Exec(tb, "ALTER SUBSCRIPTION "+Subscription+" SET (slot_name = NONE)")
		s.Exec(tb, "DROP SUBSCRIPTION "+Subscription)
	})
	conn := s.Super(tb, "postgres")
	if !Eventually(func() bool { return synchronised(tb, conn) }) {
		tb.Fatalf("%s: the tables are not synchronised", s.Name)
	}
}

func synchronised(tb testing.TB, conn *pgx.Conn) bool {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var all bool
	if err := conn.QueryRow(ctx, "SELECT coalesce(bool_and(srsubstate = 'r'), false) FROM pg_subscription_rel").Scan(&all); err != nil {
		tb.Fatal(err)
	}
	return all
}
