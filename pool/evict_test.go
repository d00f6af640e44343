package pool

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/pgtest"
)

// moving returns pools whose only target is the server that at holds, which sessions wait for.
func moving(t *testing.T, at *atomic.Pointer[pgtest.Server], wait time.Duration) (*Pool, *atomic.Int64) {
	t.Helper()
	pgtest.NoLeaks(t)
	var reports atomic.Int64
	cfg := Config{
		Size: 2, Wait: wait, ConnectTimeout: pgtest.Patience, Prepared: 10, Log: slog.New(slog.DiscardHandler),
		Trouble: func(string) { reports.Add(1) },
	}
	pools := New(cfg, []*Target{{Name: "primary", Awaited: func() bool { return true }, Login: func(user, database string) (*pgconn.Config, error) {
		return pgconn.ParseConfig(at.Load().URL(user, database))
	}}})
	t.Cleanup(pools.Close)
	return pools.Get(Key{Target: "primary", User: "postgres", Database: "postgres"}), &reports
}

const whichServer = "SELECT current_setting('port')"

// Once a target has moved nothing new runs on its old server: what is idle there goes at
// once, what is in use when it is released, and what is in line gets the new one.
func TestBackendsFollowTheirTarget(t *testing.T) {
	old, next := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(old)
	p, _ := moving(t, &at, pgtest.Patience)
	busy, idle := acquire(t, p), acquire(t, p)
	var u user
	before, err := u.ask(busy, whichServer)
	if err != nil {
		t.Fatal(err)
	}
	p.parent.Release(idle, Clean)
	at.Store(next)
	p.parent.Evict("primary")
	if p.TryAcquire(nil) != nil {
		t.Error("an idle backend of the old server is still there")
	}
	if again, err := u.ask(busy, whichServer); err != nil || again != before {
		t.Errorf("the backend in use answers %q, %v after the target has moved, and %q before", again, err, before)
	}
	p.parent.Release(busy, Clean)
	for range 2 {
		b := acquire(t, p)
		got, err := u.ask(b, whichServer)
		if err != nil || got == before {
			t.Errorf("a new backend is on port %q, %v; the old server's is %q", got, err, before)
		}
		p.parent.Release(b, Dirty)
	}
}

// A session that needs a server which is away waits for it.
func TestAnAwaitedServerComesBack(t *testing.T) {
	server := pgtest.Primary(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(server)
	p, reports := moving(t, &at, 2*pgtest.Patience)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 2)
	for range 2 {
		go func() {
			b, err := p.Acquire(context.Background())
			if err == nil {
				var u user
				_, err = u.ask(b, "SELECT 1")
				p.parent.Release(b, Clean)
			}
			got <- err
		}()
	}
	if !pgtest.Eventually(func() bool { return p.Failing() != nil && reports.Load() > 1 }) {
		t.Error("no login has failed")
	}
	if err := server.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	if err := p.Failing(); err != nil {
		t.Errorf("failing after a success: %v", err)
	}
}

// Once the server is back each of those in line gets a backend, and not only the one whose
// login was the first to succeed.
func TestAnAwaitedServerComesBackForAll(t *testing.T) {
	server := pgtest.Primary(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(server)
	p, reports := moving(t, &at, pgtest.Patience)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	got := make(chan *Backend, 2)
	for range 2 {
		go func() {
			b, err := p.Acquire(context.Background())
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
	}
	if !pgtest.Eventually(func() bool { return p.Failing() != nil && reports.Load() > 2 }) {
		t.Error("no login has failed")
	}
	if err := server.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Backend{<-got, <-got} { // the first is held while the second is waited for
		if b != nil {
			p.parent.Release(b, Clean)
		}
	}
}

// One that waits in vain hears why.
func TestAnAwaitedServerStaysAway(t *testing.T) {
	server := pgtest.Primary(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(server)
	p, _ := moving(t, &at, time.Second)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	_, err := p.Acquire(context.Background())
	if e := (*pgerr.Error)(nil); !errors.As(err, &e) || e.Code != pgerr.CannotConnect || e.Detail == "" || e.Hint == "" {
		t.Errorf("got %#v", err)
	}
}

// A login that fails rests before it is tried again; that its target has moved ends the rest.
func TestAMoveEndsTheRest(t *testing.T) {
	server := pgtest.SharedPrimary(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(server)
	p, _ := moving(t, &at, pgtest.Patience)
	p.mu.Lock()
	p.rest(time.Hour)
	p.mu.Unlock()
	got := make(chan error, 1)
	go func() {
		b, err := p.Acquire(context.Background())
		if err == nil {
			p.parent.Release(b, Clean)
		}
		got <- err
	}()
	if !pgtest.Eventually(func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.waiters.Len() == 1 }) {
		t.Fatal("nobody waits")
	}
	p.parent.Evict("primary")
	if err := <-got; err != nil {
		t.Error(err)
	}
}
