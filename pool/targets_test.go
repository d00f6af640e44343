package pool

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/pgtest"
)

// Of a target that is removed nothing can be had any more, by those neither who wait nor who
// come; what is in use finishes. One that is added by the same name is another server.
func TestTargetsComeAndGo(t *testing.T) {
	old, next := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(old)
	p, _ := moving(t, &at, pgtest.Patience)
	pools := p.parent
	busy, reset := acquire(t, p), acquire(t, p)
	var u user
	before, err := u.ask(busy, whichServer)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(p *Pool) error {
		b, err := p.Acquire(t.Context())
		if e := (*pgerr.Error)(nil); b != nil || !errors.As(err, &e) || e.Code != pgerr.CannotConnectNow {
			return errors.New("not refused: " + pgerr.From(err).Error())
		}
		return nil
	}
	waited := make(chan error, 1)
	go func() { waited <- refused(p) }()
	if !pgtest.Eventually(func() bool { return pools.Load("primary") == 3 }) {
		t.Fatal("nobody waits")
	}
	pools.Remove("primary")
	pools.Remove("primary")
	if err := <-waited; err != nil {
		t.Errorf("who waits: %v", err)
	}
	for _, gone := range []*Pool{p, pools.Get(p.key)} {
		if err := refused(gone); err != nil {
			t.Errorf("who comes: %v", err)
		}
	}
	if _, err := pools.OpenWalsender(t.Context(), p.key, false, nil); err == nil {
		t.Error("a replication connection to a target that is not there")
	}
	if again, err := u.ask(busy, whichServer); err != nil || again != before {
		t.Errorf("the backend in use answers %q, %v", again, err)
	}
	pools.Release(busy, Clean)
	pools.Release(reset, Dirty)
	if !pgtest.Eventually(func() bool { pools.mu.RLock(); defer pools.mu.RUnlock(); return len(pools.all) == 0 }) {
		t.Error("backends of a target that has been removed stay open")
	}
	pools.Add(&Target{Name: "primary", Login: func(user, database string) (*pgconn.Config, error) {
		return pgconn.ParseConfig(next.URL(user, database))
	}})
	b := acquire(t, pools.Get(p.key))
	if got, err := u.ask(b, whichServer); err != nil || got == before {
		t.Errorf("the new target is on port %q, %v; the old one was on %q", got, err, before)
	}
	pools.Release(b, Clean)
}

// A login that is under way when its target is removed leads to nothing that stays open.
func TestTargetGoesDuringALogin(t *testing.T) {
	server := pgtest.SharedPrimary(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(server)
	p, _ := moving(t, &at, time.Minute)
	begun, goOn := make(chan struct{}), make(chan struct{})
	p.parent.Remove("primary")
	p.parent.Add(&Target{Name: "primary", Login: func(user, database string) (*pgconn.Config, error) {
		close(begun)
		<-goOn
		return pgconn.ParseConfig(server.URL(user, database))
	}})
	p = p.parent.Get(p.key)
	got := make(chan error, 1)
	go func() {
		_, err := p.Acquire(context.Background())
		got <- err
	}()
	<-begun
	p.parent.Remove("primary")
	if e := (*pgerr.Error)(nil); !errors.As(<-got, &e) || e.Code != pgerr.CannotConnectNow {
		t.Errorf("%v", e)
	}
	close(goOn)
	total := func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.total + len(p.idle) }
	if !pgtest.Eventually(func() bool { return total() == 0 }) {
		t.Errorf("%d backends are there", total())
	}
}
