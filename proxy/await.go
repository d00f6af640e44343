package proxy

import (
	"context"
	"time"

	"pgshunt/pool"
	"pgshunt/router"
)

// await runs a part of the session that waits for something outside of it, such as a free
// backend. Its context ends, with the reason as its cause, on a cancel request, with the
// session, when the client has gone, and when the grace of a shutdown is over.
func (s *session) await(part func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(s.srv.ctx)
	defer cancel(nil)
	s.mu.Lock()
	if s.end != nil {
		cancel(s.end)
	}
	s.stopWait = cancel
	w := s.watch()
	s.mu.Unlock()
	defer w.stop()
	s.turn.Block()
	s.stood = true
	err := part(ctx)
	s.mu.Lock()
	s.stopWait = nil
	s.mu.Unlock()
	return err
}

// ended is why the session must end, or nil.
func (s *session) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// stopWaiting ends what await runs. The caller holds mu.
func (s *session) stopWaiting(why error) {
	if s.stopWait != nil {
		s.stopWait(why)
	}
}

// waitFor waits for a backend of p, for no longer than statement_timeout.
func (s *session) waitFor(p *pool.Pool) (b *pool.Backend, err error) {
	since := time.Now()
	defer func() { s.waited = time.Since(since) }()
	err = s.await(func(ctx context.Context) (err error) {
		if most := s.statementTimeout(router.Decision{}); most > 0 {
			var done context.CancelFunc
			ctx, done = context.WithTimeoutCause(ctx, most, errStatementTimeout)
			defer done()
		}
		b, err = p.Acquire(ctx)
		return err
	})
	switch end := s.ended(); {
	case err == nil:
		return b, nil
	case end != nil:
		return nil, end
	}
	return nil, noBackend(err)
}
