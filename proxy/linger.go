package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// errHalfClosed is errLeft where the client may still read.
var errHalfClosed = fmt.Errorf("%w", errLeft)

// left is the end of the session because of what reading the client has come to.
func left(err error) error {
	if errors.Is(err, io.EOF) {
		return errHalfClosed
	}
	if errors.Is(err, net.ErrClosed) {
		return errLeft
	}
	return errors.Join(errLeft, err)
}

// leave notes that the client has said goodbye: a server would end before it has flushed
// the answers to a batch that is still open.
func (s *session) leave() {
	s.mu.Lock()
	s.phase.leaving = true
	s.withholdIfLeaving()
	s.mu.Unlock()
}

// withholdIfLeaving is for a batch that is open. The caller holds mu.
func (s *session) withholdIfLeaving() {
	if s.phase.leaving {
		s.inflight.withhold()
	}
}

// outputBuffer is how much a server gathers before it sends without being asked
// (PQ_SEND_BUFFER_SIZE in libpq/pqcomm.c).
const outputBuffer = 8 << 10

// walkLate is walk for a session whose client has said goodbye. What is for the client
// comes to be due; what is late is withheld until the server says something that it
// flushes. The caller holds mu.
func (s *session) walkLate(b *pool.Backend) (more bool, err error) {
	var m wire.Message
	for !s.inflight.fakeFirst() {
		ok, err := b.Reader.Next(&m)
		if err != nil || !ok {
			return false, err
		}
		first, late := s.inflight.first(), false
		if m.Type == 'E' || m.Type == 'N' {
			s.flushWithheld()
		} else {
			late = first != nil && first.late || len(s.withheld) > 0
		}
		pass, err := s.accept(b, &m)
		switch {
		case err != nil:
			return false, err
		case pass && late:
			s.withheld = append(s.withheld, m.Data...)
			if len(s.withheld) > outputBuffer {
				s.flushWithheld()
			}
		case pass:
			s.state.due = append(s.state.due, m.Data...)
		}
	}
	return true, nil
}

// flushWithheld has the client given what has been withheld. The caller holds mu.
func (s *session) flushWithheld() {
	s.state.due = append(s.state.due, s.withheld...)
	s.withheld = nil
}

// lingerTimeout is how long a client that has ended its side of the connection
// may be owed an answer. PostgreSQL notices the end only after it has answered; but
// a client that has gone altogether looks the same, and shall not leave a query behind.
const lingerTimeout = 2 * time.Second

// linger lets a client that has ended its side of the connection have the answers
// to what it sent before.
func (s *session) linger() {
	s.leave()
	if s.probeInterrupted() != nil {
		return
	}
	over := false
	timer := time.AfterFunc(lingerTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		over = true
		s.changed.Broadcast()
	})
	defer timer.Stop()
	s.recordIdle()
	hangingUp := false
	for again := true; again; {
		open, err := s.askForAnswers()
		if err != nil {
			return
		}
		s.mu.Lock()
		for (!s.quiet() || hangingUp) && !s.phase.again && s.end == nil && !s.deaf && !over && !s.phase.copyIn.is() && s.open() == open {
			s.wait()
		}
		repeat := s.phase.again
		again = repeat || s.open() != open
		var b *pool.Backend
		if s.phase.copyIn.is() && s.end == nil {
			b = s.current
			s.phase.copyIn.set(false)
		}
		s.mu.Unlock()
		if b != nil { // it complains that copy data do not end like this, and hangs up
			hangingUp, again = b.CloseWrite() == nil, true
		}
		if repeat && s.repeatIfAsked() != nil {
			return
		}
	}
}
