package proxy

import (
	"errors"
	"io"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/pool"
	"pgshunt/router"
)

// line is a session's place in the line for a backend of the primary. A session
// that a loop serves has no goroutine while it waits there: the message at hand is
// put back, and read again when there is an answer. Guarded by link.mu.
type line struct {
	request  *pool.Request // nil when not in line; changed by the session's goroutine only
	answered bool
	b        *pool.Backend
	err      error
	limit    *time.Timer // of statement_timeout; nil where there is none
	since    time.Time   // when it got in line
	// until is when a client that has ended its side of the connection is given up.
	until time.Time
	// watch looks after one that has said more, which is not read while it is in line.
	watch *watch
}

// errInLine takes the message at hand back to advance, which puts it off.
var errInLine = errors.New("in line for a backend")

// obtain returns a backend of p, or an error for the client. Where nothing has been
// done yet about the message at hand it may return errInLine instead of waiting.
func (s *session) obtain(p *pool.Pool, target string) (*pool.Backend, error) {
	if target == primaryTarget && s.inLine() {
		return s.leaveLine()
	}
	if b := p.TryAcquire(s.last); b != nil {
		return b, nil
	}
	if target == primaryTarget && s.untouched {
		s.getInLine(p)
		return nil, errInLine
	}
	return s.waitFor(p)
}

// getInLine takes a place in the line for a backend of p. What statement_timeout allows a
// statement runs from when the server has it, which is here; curb takes the wait off.
func (s *session) getInLine(p *pool.Pool) {
	r := p.Ask(s.served)
	var limit *time.Timer
	if most := s.statementTimeout(router.Decision{}); most > 0 {
		limit = time.AfterFunc(most, func() {
			if r.Withdraw() {
				s.served(nil, errStatementTimeout)
			}
		})
	}
	s.mu.Lock()
	s.line.request, s.line.limit, s.line.since = r, limit, time.Now()
	s.mu.Unlock()
}

// served takes the answer to the session's request, under the pool's mutex.
func (s *session) served(b *pool.Backend, err error) {
	s.mu.Lock()
	s.line.b, s.line.err, s.line.answered = b, err, true
	s.mu.Unlock()
	s.client.Wake()
}

// inLine is for the session's goroutine, the only one that changes request.
func (s *session) inLine() bool { return s.line.request != nil }

// stepInLine is step for a session in line: it goes on when there is an answer.
func (s *session) stepInLine() error {
	s.mu.Lock()
	answered, end, until := s.line.answered, s.end, s.line.until
	s.mu.Unlock()
	switch {
	case answered:
		s.client.Pause(false)
		return s.advance()
	case end != nil:
		return end
	case !until.IsZero() && !time.Now().Before(until):
		return errLeft
	}
	switch err := s.client.Alive(); {
	case err == nil:
	case !errors.Is(err, io.EOF):
		return left(err)
	case until.IsZero(): // it may still read, and is owed what it has asked for
		s.mu.Lock()
		s.line.until = time.Now().Add(lingerTimeout)
		s.mu.Unlock()
		time.AfterFunc(lingerTimeout, s.wake)
	}
	s.client.Pause(true) // what else it has to say must wait
	s.mu.Lock()
	if s.line.watch == nil && !s.line.answered {
		s.line.watch = s.watch()
	}
	s.mu.Unlock()
	return nil
}

// leaveLine returns the answer that has come.
func (s *session) leaveLine() (*pool.Backend, error) {
	s.mu.Lock()
	l := s.line
	s.line = line{}
	l.watch.drop()
	s.mu.Unlock()
	if l.limit != nil {
		l.limit.Stop()
	}
	s.waited, s.stood = time.Since(l.since), true
	if l.err != nil {
		return nil, noBackend(l.err)
	}
	return l.b, nil
}

// quitLine gives up the session's place, or what it was given there.
func (s *session) quitLine() {
	s.mu.Lock()
	r := s.line.request
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.Withdraw()
	if b, err := s.leaveLine(); err == nil && b != nil {
		s.srv.pools.Release(b, pool.Clean)
	}
}

// cancelLine answers the session's request with an error. Any goroutine may call it.
func (s *session) cancelLine(e *pgerr.Error) {
	s.mu.Lock()
	r := s.line.request
	s.mu.Unlock()
	if r != nil && r.Withdraw() {
		s.served(nil, e)
	}
}

// noBackend is the error for a client whose statement found no backend.
func noBackend(err error) error {
	e := *pgerr.From(err)
	e.Severity = "ERROR" // the session itself goes on
	return &attachError{&e}
}
