package proxy_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// changes is an Orderer that tells what it is asked.
type changes struct {
	asked    chan proxy.SchemaChange
	finished chan bool
	mu       sync.Mutex
	hold     chan struct{} // guarded by mu; keeps Order from returning
	refuse   error         // guarded by mu
}

func newChanges() *changes {
	return &changes{asked: make(chan proxy.SchemaChange, 10), finished: make(chan bool, 10)}
}

// will has Order wait for hold, unless it is nil, and refuse unless that is nil.
func (c *changes) will(hold chan struct{}, refuse error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold, c.refuse = hold, refuse
}

func (c *changes) Order(ctx context.Context, change proxy.SchemaChange) (proxy.Ordering, error) {
	c.mu.Lock()
	hold, refuse := c.hold, c.refuse
	c.mu.Unlock()
	c.asked <- change
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if refuse != nil {
		return nil, refuse
	}
	return c, nil
}

func (c *changes) Orders(string) bool { return true }

func (c *changes) Finish(_ context.Context, answered bool) error {
	c.finished <- answered
	return nil
}

func startChanges(t *testing.T, c *changes) (*fixture, *pgx.Conn) {
	t.Helper()
	f := start(t, setup{proxy: proxy.Config{Routing: proxy.Routing{Orderer: c}}, replicas: []*pgtest.Server{pgtest.SharedReplica(t)}})
	return f, pgtest.Connect(t, "postgres://postgres@"+f.addr+"/"+f.primary.NewDatabase(t)+"?sslmode=disable")
}

func within[T any](t *testing.T, from chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(pgtest.Patience):
		t.Fatal("nothing has come")
	}
	return value
}

// DDL is told to the Orderer before it is sent and after it is answered, by either
// protocol; nothing else is.
func TestSchemaChangesAreOrdered(t *testing.T) {
	c := newChanges()
	_, conn := startChanges(t, c)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement} {
		for _, sql := range []string{"CREATE TABLE t (a int)", "DROP TABLE t"} {
			if _, err := conn.Exec(t.Context(), sql, mode); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			asked := within(t, c.asked)
			if asked.SQL != sql || !asked.Alone || asked.PID == 0 || asked.User != "postgres" || !within(t, c.finished) {
				t.Errorf("%s: asked %+v", sql, asked)
			}
		}
		if _, err := conn.Exec(t.Context(), "SELECT 1", mode); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.asked) > 0 {
		t.Errorf("asked about %+v", <-c.asked)
	}
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "CREATE TABLE t (a int)")
	}
	if asked := within(t, c.asked); err != nil || asked.Alone {
		t.Errorf("in a transaction: %+v, %v", asked, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A refusal is the client's answer, and the statement does not reach the primary; a cancel
// request ends the wait; a client that leaves has what was prepared followed up.
func TestSchemaChangesThatAreNotSent(t *testing.T) {
	c := newChanges()
	c.will(nil, pgerr.New(pgerr.FeatureNotSupported, "not in this order"))
	_, conn := startChanges(t, c)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		_, err := conn.Exec(t.Context(), "CREATE TABLE t (a int)", mode)
		if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "0A000" || pg.Message != "not in this order" {
			t.Errorf("the answer is %v", err)
		}
		within(t, c.asked)
		var there bool
		if err := conn.QueryRow(t.Context(), "SELECT to_regclass('t') IS NOT NULL").Scan(&there); err != nil || there {
			t.Errorf("the primary has it: %v", err)
		}
	}
	if len(c.finished) > 0 {
		t.Error("what was refused is finished")
	}

	hold := make(chan struct{})
	c.will(hold, nil)
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "CREATE TABLE t (a int)", pgx.QueryExecModeSimpleProtocol)
		failed <- err
	}()
	within(t, c.asked)
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pg := (*pgconn.PgError)(nil); !errors.As(within(t, failed), &pg) || pg.Code != "57014" {
		t.Errorf("a cancelled wait ends with %v", pg)
	}
	close(hold)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t (a int)"); err != nil || !within(t, c.finished) {
		t.Errorf("afterwards: %v", err)
	}
}
