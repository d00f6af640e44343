package pool

import (
	"container/list"
	"context"
	"time"
)

// Request is a place in the line for a backend.
type Request struct {
	pool   *Pool
	answer func(*Backend, error)
	timer  *time.Timer   // nil where the wait has no bound
	place  *list.Element // guarded by the pool's mutex; nil when no longer in line
}

// Ask gets in line for a backend, for at most Config.Wait. answer is called once,
// possibly before Ask returns, with a backend or an error as Acquire gives them,
// unless Withdraw comes first. It runs under the pool's mutex: it must not wait and
// not call the pool.
func (p *Pool) Ask(answer func(*Backend, error)) *Request {
	r := &Request{pool: p, answer: answer}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		b := p.idle[n-1]
		p.idle = p.idle[:n-1]
		answer(b, nil)
		return r
	}
	if p.removed {
		answer(nil, errRemoved(p.key.Target))
		return r
	}
	r.place = p.waiters.PushBack(r)
	if wait := p.parent.cfg.Wait; wait > 0 {
		r.timer = time.AfterFunc(wait, r.expire)
	}
	p.dialIfWanted()
	return r
}

// Withdraw gives up the place in line. It reports false where the answer has been
// given already.
func (r *Request) Withdraw() bool {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.place == nil {
		return false
	}
	p.waiters.Remove(r.place)
	r.place = nil
	if r.timer != nil {
		r.timer.Stop()
	}
	return true
}

// expire ends a wait that has been in vain.
func (r *Request) expire() {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.place != nil {
		p.waiters.Remove(r.place)
		r.place = nil
		r.answer(nil, p.errInVain())
	}
}

// serve answers a request that has been taken out of line. The caller holds the
// pool's mutex.
func (r *Request) serve(b *Backend, err error) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.answer(b, err)
}

// Acquire returns a backend, waiting for one in order of arrival for at most
// Config.Wait. The error is a *pgerr.Error: what the server answered to the
// login, 08001, or 53300 when the wait was in vain; or the cause of ctx.
func (p *Pool) Acquire(ctx context.Context) (*Backend, error) {
	type result struct {
		b   *Backend
		err error
	}
	answered := make(chan result, 1)
	r := p.Ask(func(b *Backend, err error) { answered <- result{b, err} })
	select {
	case got := <-answered:
		return got.b, got.err
	case <-ctx.Done():
	}
	if !r.Withdraw() { // it was handed over in the same moment: the next in line gets it
		if got := <-answered; got.b != nil {
			p.put(got.b)
		}
	}
	return nil, context.Cause(ctx)
}
