package proxy_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// A client tells by the process id whether a notification is its own, whatever server
// process its session is on.
func TestANotificationSaysWhetherItIsTheClientsOwn(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 2}})
	ctx, stop := context.WithTimeout(t.Context(), pgtest.Patience)
	defer stop()
	listener, other := pgtest.Connect(t, f.url("postgres", db)), pgtest.Connect(t, f.url("postgres", db))
	own := listener.PgConn().PID()

	// The server process by which the listener has been let in is the other's for now.
	execute(t, other, "BEGIN")
	var there uint32
	if err := other.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&there); err != nil || there != own {
		t.Fatalf("%v, and the other session is at process %d, not at %d", err, there, own)
	}
	execute(t, listener, "LISTEN news")
	for _, from := range []struct {
		conn *pgx.Conn
		own  bool
	}{{listener, true}, {other, false}} {
		execute(t, from.conn, "NOTIFY news")
		if from.conn == other {
			execute(t, other, "COMMIT")
		}
		n, err := listener.WaitForNotification(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.PID == own; got != from.own {
			t.Errorf("a notification comes from process %d; the client's own is %d: %v, want %v", n.PID, own, got, from.own)
		}
	}
}
