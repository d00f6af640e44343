package pool

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
)

// Pool holds the backends of one Key.
type Pool struct {
	key    Key
	target *Target
	parent *Pools

	mu      sync.Mutex
	idle    []*Backend // the most recently used is last, and is taken first: its caches are warm
	total   int        // backends that exist or are being dialed
	dialing int        // of those, the ones being dialed
	waiters list.List  // of *Request, in order of arrival; empty while idle is not
	// failing is why the last login has failed where it is going to be tried again,
	// after a pause; see again.go.
	failing error
	pausing bool
	pause   time.Duration
	cut     chan struct{} // ends the pause; nil where there is none
	// removed: there is no such target, or not any more.
	removed bool
}

// tryAcquire returns an idle backend, or nil: last if it is idle, else the one
// used most recently.
func (p *Pool) tryAcquire(last *Backend) *Backend {
	p.mu.Lock()
	idle := p.idle
	if len(idle) == 0 {
		p.mu.Unlock()
		return nil
	}
	top := len(idle) - 1
	i := top
	for i >= 0 && idle[i] != last {
		i--
	}
	if i < 0 {
		i = top
	}
	b := idle[i]
	for ; i < top; i++ { // it is seldom far from the end
		idle[i] = idle[i+1]
	}
	idle[top] = nil
	p.idle = idle[:top]
	p.mu.Unlock()
	return b
}

// dialIfWanted starts a connection when somebody waits who will not be served by
// those being dialed already. The caller holds the mutex.
//
// Connections are made in the background: a session that stops waiting does not
// waste one that is nearly there.
func (p *Pool) dialIfWanted() {
	if !p.removed && p.total < p.parent.cfg.Size && p.waiters.Len() > p.dialing && !p.pausing {
		p.total++
		p.dialing++
		p.parent.work.Go(p.dial)
	}
}

// dialForAll is dialIfWanted for everybody in line: while logins failed one at a time was
// tried for all of them.
func (p *Pool) dialForAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for before := -1; p.dialing > before; {
		before = p.dialing
		p.dialIfWanted()
	}
}

func (p *Pool) dial() {
	ctx, cancel := context.WithTimeout(p.parent.ctx, p.parent.cfg.ConnectTimeout)
	defer cancel()
	moves := p.target.moves.Load()
	hc, err := p.target.login(ctx, p.key)
	if err != nil {
		p.loginFailed(err)
		return
	}
	conn := wire.NewConn(hc.Conn)
	b := &Backend{
		Key: p.key, PID: hc.PID, conn: conn, hijacked: hc, pool: p, owner: p, moves: moves,
		Reader: wire.NewReader(conn, backendTypes, maxBackendMessage),
		held:   newHeld(p.parent.cfg.Prepared, p.parent.cfg.PreparedBytes),
		params: hc.ParameterStatuses, born: time.Now(),
	}
	b.Writer.SetConn(conn)
	if !p.parent.track(b) {
		b.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.total--
		p.dialing--
		p.handOver(nil, errClosed())
		return
	}
	b.start(p.parent.cfg.Loops)
	p.mu.Lock()
	p.dialing--
	p.reached()
	p.mu.Unlock()
	p.put(b)
	p.dialForAll()
}

func (p *Pool) loginFailed(err error) {
	p.parent.cfg.Log.Warn("login to server failed", "target", p.key.Target, "user", p.key.User, "database", p.key.Database, "error", err)
	away := unreachable(err) && p.parent.ctx.Err() == nil
	if away {
		p.parent.trouble(p.key.Target)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	p.dialing--
	switch {
	case away && p.target.awaited():
		p.tryLater(err)
	case p.total == 0: // else those in line wait for one of the others
		p.handOver(nil, err)
		p.dialIfWanted() // the next in line gets an answer of its own
	}
}

// put gives b to whoever waits longest, or keeps it idle.
func (p *Pool) put(b *Backend) {
	p.mu.Lock()
	kept := !b.outdated() && !p.removed
	if kept && (p.waiters.Len() == 0 || !p.handOver(b, nil)) {
		b.idleAt = time.Time{} // expire looks at the clock, so that not every transaction has to
		p.idle = append(p.idle, b)
	}
	p.mu.Unlock()
	if !kept {
		b.Close()
	}
}

// handOver serves the first in line. The caller holds the mutex.
func (p *Pool) handOver(b *Backend, err error) bool {
	first := p.waiters.Front()
	if first == nil {
		return false
	}
	r := p.waiters.Remove(first).(*Request)
	r.place = nil
	r.serve(b, err)
	return true
}

// gone is called once when b's connection has ended.
func (p *Pool) gone(b *Backend) {
	p.parent.untrack(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if i := slices.Index(p.idle, b); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.dialIfWanted()
}

// expire closes what has been idle or alive for too long.
func (p *Pool) expire(now time.Time) {
	cfg := p.parent.cfg
	p.mu.Lock()
	var old []*Backend
	p.idle = slices.DeleteFunc(p.idle, func(b *Backend) bool {
		if b.idleAt.IsZero() {
			b.idleAt = now
		}
		stale := cfg.Idle > 0 && now.Sub(b.idleAt) > cfg.Idle || cfg.Lifetime > 0 && now.Sub(b.born) > cfg.Lifetime
		if stale {
			old = append(old, b)
		}
		return stale
	})
	p.mu.Unlock()
	for _, b := range old {
		b.Close()
	}
}

func errClosed() error {
	return pgerr.Fatal(pgerr.AdminShutdown, "pgshunt is shutting down").In("Acquire")
}
