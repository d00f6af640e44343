package proxy

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
)

// expect notes that a reply is owed for a message that is about to be sent. It
// reports false where the server is skipping to a Sync and will ignore the message.
func (s *session) expect(r *reply) bool {
	s.untouched = false
	s.mu.Lock()
	will := s.enqueue(r)
	s.mu.Unlock()
	return will
}

// enqueue is expect for a caller who holds mu.
func (s *session) enqueue(r *reply) bool {
	if s.inflight.len() >= maxInflight {
		s.thinOut()
	}
	if s.current == nil && s.to != nil && r.action != fake && (r.kind == 'S' || !s.phase.skipping.is()) {
		s.unanswerable(r)
		return false
	}
	switch {
	case r.kind == 'S':
		s.setOpen(false)
		s.phase.skipping.set(false)
	case s.phase.skipping.is():
		return false
	case r.kind != 'Q' && r.kind != 'F':
		s.setOpen(true)
	}
	if r.statement == nil && runs[r.kind] || r.statement != nil && !r.statement.Plain {
		s.steady = false
	}
	s.inflight.push(r)
	return true
}

// runs has the messages that run something.
var runs = [256]bool{'E': true, 'Q': true, 'F': true}

// thinOut waits until fewer replies are expected. The caller holds mu.
func (s *session) thinOut() {
	open := s.open() && !s.phase.copyIn.is()
	s.mu.Unlock()
	if open { // the server keeps its answers until the Sync, which may be far
		_ = s.sendMessage(&pgproto3.Flush{})
	}
	_ = s.flush() // what is waited for must have been sent
	_ = s.flushFakes()
	var w *watch
	s.mu.Lock()
	for s.inflight.len() >= maxInflight && s.end == nil {
		w = s.waitWatched(w)
	}
	w.drop()
}

// expectAndPass passes m on unless the server is skipping to a Sync and would ignore it. A
// message that will be skipped changes no names.
func (s *session) expectAndPass(r *reply, m *wire.Message) error {
	s.untouched = false
	s.mu.Lock()
	if !s.enqueue(r) {
		s.undoName(r.name, skipped)
		s.mu.Unlock()
		s.passing = false
		return nil
	}
	s.mu.Unlock()
	return s.pass(m)
}

// expectChange is expect for a message that may change names: one that will be
// skipped changes nothing.
func (s *session) expectChange(r *reply) bool {
	s.untouched = false
	s.mu.Lock()
	will := s.enqueue(r)
	if !will {
		s.undoName(r.name, skipped)
	}
	s.mu.Unlock()
	return will
}
