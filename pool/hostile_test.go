package pool

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"pgshunt/internal/pgtest"
)

func TestHostileWaiters(t *testing.T) {
	server := pgtest.Primary(t)
	var at atomic.Pointer[pgtest.Server]
	at.Store(server)
	p, reports := moving(t, &at, 2*pgtest.Patience)
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
	first := <-got
	select {
	case second := <-got:
		p.parent.Release(second, Clean)
	case <-time.After(5 * time.Second):
		t.Error("second waits although there is room")
	}
	p.parent.Release(first, Clean)
}
