package fleet

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// reading is one answer of a server about its progress.
type reading struct {
	// start and end are when the question was sent and the answer had come.
	start, end time.Time
	// insert is where the primary writes next, and flushed up to where that is on disk and
	// can be sent to others.
	insert, flushed uint64
	slots           map[string]slot // the primary's, those of logical replication
	// replayed is how far a standby is, on timeline.
	replayed uint64
	timeline int64
}

// slot is how far a subscriber is.
type slot struct {
	applied uint64 // it has committed everything before
	active  bool   // it is connected
}

// waiter waits for a reading whose question was sent after it had come.
type waiter struct {
	// done reports whether the waiting is over, and how it ends. It is called by one
	// goroutine, perhaps once more after wait has returned.
	done func(*reading) (bool, error)
	// once is set if an error of the question ends the waiting too.
	once  bool
	ended chan error // of capacity 1
}

// progress asks one server how far it is, for all who wait together: one question at a
// time, and none while nobody waits.
type progress struct {
	server *server
	ask    func(context.Context, *pgx.Conn, *reading) error
	// push asks for one flush of what the primary has written, see flushQuery.
	push atomic.Bool

	mu      sync.Mutex
	waiters map[*waiter]struct{}
	urgent  chan struct{} // of capacity 1: there is a new waiter

	// For run alone.
	conn *pgx.Conn
	seat *seat // that conn goes to
}

// The pace of questions while somebody waits; slower while the server does not answer.
const (
	pace        = 15 * time.Millisecond
	paceTrouble = 250 * time.Millisecond
)

func newProgress(s *server, ask func(context.Context, *pgx.Conn, *reading) error) *progress {
	return &progress{server: s, ask: ask, waiters: make(map[*waiter]struct{}), urgent: make(chan struct{}, 1)}
}

// wait returns what done says of the first reading that it accepts, or why ctx or the
// watcher ended.
func (p *progress) wait(ctx context.Context, w *waiter) error {
	w.ended = make(chan error, 1)
	p.mu.Lock()
	p.waiters[w] = struct{}{}
	p.mu.Unlock()
	select {
	case p.urgent <- struct{}{}:
	default:
	}
	select {
	case err := <-w.ended:
		return err
	case <-ctx.Done():
		p.leave(w)
		return context.Cause(ctx)
	case <-p.server.w.ctx.Done():
		p.leave(w)
		return context.Cause(p.server.w.ctx)
	}
}

func (p *progress) leave(all ...*waiter) (others int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range all {
		delete(p.waiters, w)
	}
	return len(p.waiters)
}

func (p *progress) joined() []*waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*waiter, 0, len(p.waiters))
	for w := range p.waiters {
		all = append(all, w)
	}
	return all
}

// read returns a reading that began after the call.
func (p *progress) read(ctx context.Context) (*reading, error) {
	var got *reading
	err := p.wait(ctx, &waiter{once: true, done: func(r *reading) (bool, error) {
		got = r
		return true, nil
	}})
	if err != nil {
		return nil, err
	}
	return got, nil
}

// run answers until the watcher ends.
func (p *progress) run() {
	defer p.hangUp()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.server.w.ctx.Done():
			return
		case <-p.urgent:
		case <-timer.C:
		}
		joined := p.joined()
		if len(joined) == 0 {
			continue
		}
		r, err := p.question()
		next := pace
		if err != nil {
			next = paceTrouble
		}
		if p.answer(joined, r, err) > 0 {
			timer.Reset(next)
		}
	}
}

// answer ends the waiting of those who are content, and returns how many others there are.
func (p *progress) answer(joined []*waiter, r *reading, err error) (others int) {
	var over []*waiter
	for _, w := range joined {
		done, result := w.once, err
		if err == nil {
			done, result = w.done(r)
		}
		if done {
			w.ended <- result
			over = append(over, w)
		}
	}
	return p.leave(over...)
}

// question asks on the connection there is, and on a new one if that fails.
func (p *progress) question() (*reading, error) {
	seat := p.server.w.seat.Load()
	if p.server.Replica {
		seat = nil
	} else if seat == nil {
		return nil, errNoPrimary
	}
	if seat != p.seat {
		p.hangUp()
		p.seat = seat
	}
	had := p.conn != nil
	r, err := p.try()
	if err != nil && had && p.server.w.ctx.Err() == nil {
		r, err = p.try()
	}
	return r, err
}

func (p *progress) try() (*reading, error) {
	ctx, cancel := context.WithTimeout(p.server.w.ctx, p.server.w.cfg.Timeout)
	defer cancel()
	if p.conn == nil {
		at := ""
		if p.seat != nil {
			at = p.seat.host.at
		}
		conn, err := p.server.connect(ctx, at, "")
		if err != nil {
			return nil, err
		}
		p.conn = conn
	}
	r := &reading{start: time.Now()}
	if err := p.ask(ctx, p.conn, r); err != nil {
		p.hangUp()
		return nil, err
	}
	r.end = time.Now()
	return r, nil
}

func (p *progress) hangUp() {
	hangUp(p.conn)
	p.conn = nil
}
