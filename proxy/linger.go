package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
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

// lingerTimeout is how long a client that has ended its side of the connection
// may be owed an answer. PostgreSQL notices the end only after it has answered; but
// a client that has gone altogether looks the same, and shall not leave a query behind.
const lingerTimeout = 2 * time.Second

// linger lets a client that has ended its side of the connection have the answers
// to what it sent before.
func (s *session) linger() {
	s.mu.Lock()
	s.inflight.withhold()
	s.mu.Unlock()
	over := false
	timer := time.AfterFunc(lingerTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		over = true
		s.changed.Broadcast()
	})
	defer timer.Stop()
	s.recordIdle()
	for again := true; again; {
		open, err := s.askForAnswers()
		if err != nil {
			return
		}
		s.mu.Lock()
		for !s.quiet() && !s.phase.again && s.end == nil && !s.deaf && !over && !s.phase.copyIn.is() && s.open() == open {
			s.wait()
		}
		repeat := s.phase.again
		again = repeat || s.open() != open
		s.mu.Unlock()
		if repeat && s.repeatIfAsked() != nil {
			return
		}
	}
}
