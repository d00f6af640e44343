package pool

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
)

// Config is what all pools have in common.
type Config struct {
	// Size bounds the backends of one Key; further sessions wait.
	Size int
	// Wait bounds the wait; 0 means no bound.
	Wait time.Duration
	// ConnectTimeout bounds a login to a server.
	ConnectTimeout time.Duration
	// Idle and Lifetime close backends unused or alive for that long; 0 means never.
	Idle, Lifetime time.Duration
	// Prepared and PreparedBytes bound the prepared statements that a backend holds.
	Prepared, PreparedBytes int
	// NoReuse closes a backend when its session lets go of it.
	NoReuse bool
	// Loops serve the connections to servers; nil where each has a goroutine.
	Loops *wire.Loops
	Log   *slog.Logger
	// Trouble is told of a target that cannot be logged in to, or has ended an idle connection;
	// nil where nobody wants to know. It must not wait.
	Trouble func(target string)
}

// Pools holds a Pool for every Key in use. Safe for concurrent use.
type Pools struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // dials, backends and the janitor

	mu      sync.RWMutex
	targets map[string]*Target    // guarded by mu
	pools   map[Key]*Pool         // guarded by mu
	all     map[*Backend]struct{} // guarded by mu; nil once closed
}

// New returns pools for the targets. Close ends them.
func New(cfg Config, targets []*Target) *Pools {
	ctx, cancel := context.WithCancel(context.Background())
	ps := &Pools{
		cfg: cfg, targets: make(map[string]*Target), ctx: ctx, cancel: cancel,
		pools: make(map[Key]*Pool), all: make(map[*Backend]struct{}),
	}
	for _, t := range targets {
		ps.targets[t.Name] = t
	}
	ps.work.Go(ps.janitor)
	return ps
}

// Get returns the pool of a key, for use with TryAcquire and Acquire. Without such a target
// it is one that has only an error to give: 57P03.
func (ps *Pools) Get(key Key) *Pool {
	ps.mu.RLock()
	p := ps.pools[key]
	ps.mu.RUnlock()
	if p != nil {
		return p
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p = ps.pools[key]; p != nil {
		return p
	}
	p = &Pool{key: key, target: ps.targets[key.Target], parent: ps}
	if p.target == nil {
		p.removed = true
		return p
	}
	ps.pools[key] = p
	return p
}

// TryAcquire returns an idle backend without waiting, or nil. It prefers last, the
// one that the session had before: its settings need no replay, and whatever
// state nobody can see, such as currval, is most likely still there.
func (p *Pool) TryAcquire(last *Backend) *Backend { return p.tryAcquire(last) }

func (p *Pool) errWait() error {
	return pgerr.New(pgerr.TooManyConnections, "no connection to server %q became free within %s", p.key.Target, p.parent.cfg.Wait).
		WithDetail("All %d connections for user %q and database %q are in use.", p.parent.cfg.Size, p.key.User, p.key.Database).
		WithHint("Raise pool.size or pool.wait, or look for sessions that keep transactions open.").In("Acquire")
}

// State says what has to happen to a backend before the next session may have it.
type State uint8

const (
	// Clean backends are idle, outside a transaction, with their labels true.
	Clean State = iota
	// Dirty ones are idle but hold session state that must go: DISCARD ALL.
	Dirty
	// InTransaction ones are idle inside a transaction: ROLLBACK, then DISCARD ALL.
	InTransaction
	// InBlock ones are idle inside a transaction block whose end leaves nothing behind:
	// COMMIT. Their labels are true.
	InBlock
	// Finished ones are idle inside a transaction block that is to be committed, and hold session
	// state: COMMIT, then DISCARD ALL.
	Finished
	// Broken ones are busy, or in a state that nobody knows: they are closed.
	Broken
)

// Release gives b back. The caller must not use it afterwards.
func (ps *Pools) Release(b *Backend, s State) {
	if s == Clean && b.Stale {
		s = Dirty
	}
	if s == InBlock && b.Stale {
		s = InTransaction
	}
	if ps.cfg.NoReuse || b.outdated() {
		s = Broken
	}
	switch s {
	case Clean:
		if b.Attach(b.pool) {
			b.pool.put(b)
		}
	case InBlock:
		b.finish(false, "COMMIT")
	case Finished:
		b.reset("COMMIT", discard, resetRole)
	case Dirty:
		b.reset(discard, resetRole)
	case InTransaction:
		b.reset("ROLLBACK", discard, resetRole)
	default:
		_ = b.Attach(b.pool)
		b.Close()
	}
}

// Close ends all backends and waits for their goroutines.
func (ps *Pools) Close() {
	ps.cancel()
	ps.mu.Lock()
	all := ps.all
	ps.all = nil
	ps.mu.Unlock()
	for b := range all {
		b.Close()
	}
	ps.work.Wait()
}

func (ps *Pools) trouble(target string) {
	if ps.cfg.Trouble != nil {
		ps.cfg.Trouble(target)
	}
}

// track registers b for Close; it reports false after Close.
func (ps *Pools) track(b *Backend) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.all == nil {
		return false
	}
	ps.all[b] = struct{}{}
	return true
}

func (ps *Pools) untrack(b *Backend) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.all, b)
}

// janitorInterval is how often idle backends are looked at.
const janitorInterval = 30 * time.Second

func (ps *Pools) janitor() {
	tick := time.NewTicker(janitorInterval)
	defer tick.Stop()
	for {
		select {
		case <-ps.ctx.Done():
			return
		case now := <-tick.C:
			ps.mu.RLock()
			pools := make([]*Pool, 0, len(ps.pools))
			for _, p := range ps.pools {
				pools = append(pools, p)
			}
			ps.mu.RUnlock()
			for _, p := range pools {
				p.expire(now)
			}
		}
	}
}

// Warm reports whether a backend of key is idle, with whatever it has in memory.
func (ps *Pools) Warm(key Key) bool {
	ps.mu.RLock()
	p := ps.pools[key]
	ps.mu.RUnlock()
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle) > 0
}

// Load is how many backends of a target are in use or waited for.
func (ps *Pools) Load(target string) int {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	n := 0
	for key, p := range ps.pools {
		if key.Target == target {
			p.mu.Lock()
			n += p.total - len(p.idle) + p.waiters.Len()
			p.mu.Unlock()
		}
	}
	return n
}
