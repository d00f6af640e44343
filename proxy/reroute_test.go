package proxy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
	"pgshunt/router"
)

// ending is a Watcher whose waits last until it is closed.
type ending struct {
	asking
	waiting, closed chan struct{}
}

func (e *ending) WaitApplied(context.Context, string, uint64) error {
	close(e.waiting)
	<-e.closed
	return errors.New("the watcher was closed")
}

// A wait for a replica outlives the watcher that was asked, which a reload replaces; the next
// one hears of the databases in use. Later statements go by the new policy.
func TestWaitsGoOnAfterAReroute(t *testing.T) {
	f, _, db := questioned(t, 1, router.Config{})
	policy, err := router.NewPolicy(freshSession(pgtest.Patience, false))
	if err != nil {
		t.Fatal(err)
	}
	servers := &router.Fleet{Targets: []router.Target{
		{Name: "primary", Healthy: true}, {Name: "ml1", Replica: true, Healthy: true, Inference: true, Training: true},
	}}
	old, next := &ending{waiting: make(chan struct{}), closed: make(chan struct{})}, &asking{}
	f.server.Reroute(proxy.Routing{Policy: policy, Watcher: old}, servers)
	conn := pgtest.Connect(t, f.url("postgres", db))
	if _, err := conn.Exec(t.Context(), "INSERT INTO t VALUES ('new')"); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), reader)
		read <- err
	}()
	<-old.waiting
	f.server.Reroute(proxy.Routing{Policy: policy, Watcher: next}, servers)
	close(old.closed)
	if err := <-read; err != nil {
		t.Errorf("the read that waited: %v", err)
	}
	if _, waits := next.took(); waits != "ml1" {
		t.Errorf("the next watcher is waited on for %q", waits)
	}
	if !slices.Contains(next.wanted, db) {
		t.Errorf("the next watcher has heard of %q, not of %s", next.wanted, db)
	}
	// The same name may be another server now: what it was known to have does not count.
	if _, err := conn.Exec(t.Context(), reader); err != nil {
		t.Error(err)
	}
	if positions, waits := next.took(); positions != 1 || waits != "ml1" {
		t.Errorf("%d positions, waits for %q", positions, waits)
	}
	refusing, err := router.NewPolicy(router.Config{Rules: []router.Rule{{Match: router.Match{Relation: router.Patterns{"t"}}, Reject: "not here"}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // so that a decision may be remembered
		if _, err := conn.Exec(t.Context(), "SELECT v FROM t"); err != nil {
			t.Error(err)
		}
	}
	f.server.Reroute(proxy.Routing{Policy: refusing}, servers)
	if _, err := conn.Exec(t.Context(), "SELECT v FROM t"); err == nil {
		t.Error("the new rule is not applied")
	}
}

// Whoever has decided for a server that is removed meanwhile hears so, or gets another one.
func TestADecisionMeetsAServerThatIsGone(t *testing.T) {
	f, _, db := questioned(t, 2, router.Config{})
	policy, err := router.NewPolicy(router.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f.pools.Remove("ml1") // what a session meets that has decided just before
	conn := pgtest.Connect(t, f.url("postgres", db))
	if _, err := conn.Exec(t.Context(), "/*+ pgshunt: replica:ml1 */ SELECT 1"); code(err) != "57P03" {
		t.Errorf("on a server that is not there: %v", err)
	}
	for range 5 { // ml1 comes first where it may be: ml2 takes its place
		if _, err := conn.Exec(t.Context(), "SELECT pgml.embed('m', 'x')"); err != nil {
			t.Error(err)
		}
	}
	f.server.Reroute(proxy.Routing{Policy: policy}, &router.Fleet{Targets: []router.Target{
		{Name: "primary", Healthy: true}, {Name: "ml2", Replica: true, Healthy: true, Inference: true},
	}})
	if got := explained(t, conn, "EXPLAIN (ROUTE) SELECT pgml.embed('m', 'x')"); got[0].Target != "ml2" {
		t.Errorf("%+v", got)
	}
}

// Only databases that are in use have to be looked at after a reload.
func TestDatabasesInUse(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	one, two := primary.NewDatabase(t), primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	first, again, other := enter(t, f.addr, one), enter(t, f.addr, one), enter(t, f.addr, two)
	for _, step := range []struct {
		leaves *client
		left   string
	}{{nil, one + " " + two}, {again, one + " " + two}, {other, one}, {first, ""}} {
		if step.leaves != nil {
			_ = step.leaves.Close()
		}
		if !pgtest.Eventually(func() bool { return strings.Join(f.server.Databases(), " ") == step.left }) {
			t.Errorf("in use are %v, expected %s", f.server.Databases(), step.left)
		}
	}
}
