package proxy

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
)

// copyData passes copy data and its end on. A client need not wait for the server
// to ask for them, and a server that does not expect them ignores them; so all
// that matters here is that the backend still works for this session.
func (s *session) copyData(m *wire.Message) error {
	s.mu.Lock()
	if s.current == nil || s.inflight.len() == 0 {
		s.mu.Unlock()
		return nil
	}
	s.turnTo(s.current)
	if m.Type != 'd' {
		s.copySent = false
		s.phase.copyIn.set(false)
		s.inflight.pushCopyEnd()
	}
	s.mu.Unlock()
	s.passing = true
	if m.Type == 'd' && m.Whole() {
		s.in.Extend(m, 'd', s.by.unquestioned)
	}
	return s.pass(m)
}

// copying tells whether the server expects copy data.
func (s *session) copying() bool { return s.phase.copyIn.is() }

// interruptCopy passes on a message that has no place among copy data. The server
// complains and, since it cannot know where the next message begins, hangs up.
func (s *session) interruptCopy(m *wire.Message) error {
	s.mu.Lock()
	s.turnTo(s.current)
	s.phase.copyIn.set(false) // an answer is on its way
	s.mu.Unlock()
	s.passing, s.interrupted = true, true
	return s.pass(m)
}

// probeInterrupted has settle wait until the server has hung up, or has shown that it does
// not: its last words may come some time after the error.
func (s *session) probeInterrupted() error {
	if !s.interrupted {
		return nil
	}
	s.hold()
	if s.to == nil {
		return nil
	}
	s.expect(&reply{kind: 'S', action: skip})
	return s.sendMessage(&pgproto3.Sync{})
}
