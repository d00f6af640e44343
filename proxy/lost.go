package proxy

import (
	"pgshunt/internal/pgerr"
	"pgshunt/pool"
)

// Lost tells the session that a backend is gone. It runs on the backend's goroutine.
func (s *session) Lost(b *pool.Backend, err error) {
	s.log.Warn("connection to server lost", "target", b.Key.Target, "backend", b.PID, "error", err)
	s.srv.Look(b.Key.Target)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	for s.phase.relaying {
		s.changed.Wait()
	}
	busy, needed := b == s.current && s.inflight.len() > 0, s.needs(b)
	if b != s.primary && b != s.replica {
		return
	}
	s.phase.parted.set(true)
	if b == s.current { // before anything is said, since the client may go on at once
		s.current = nil
	}
	if b == s.primary {
		s.primary = nil
		switch {
		case s.canceled == b && busy && !needed && s.inflight.batches() == 1:
			s.failOwed(b)
		case s.canceled == b && (busy || needed):
			s.endWith(terminatedError(), b.Reader.MidMessage())
		case busy || needed:
			s.endWith(lostError(b), b.Reader.MidMessage())
		}
		return
	}
	kept := s.keep.why() != ""
	s.state.modes.lose(s.keep.whole)
	s.replica, s.keep = nil, keep{}
	s.phase.openReplica = false
	if busy && !s.tryElsewhere(b, kept) {
		s.failOwed(b)
	}
}

// unanswerable answers a message that was about to be sent to a backend which has been
// lost since the session turned to it, when nothing was expected from it. The caller
// holds mu, and is the session's goroutine.
func (s *session) unanswerable(r *reply) {
	s.turn.Block()
	for s.phase.relaying {
		s.wait()
	}
	if s.toPrimary {
		s.endWith(lostError(s.to), false)
		return
	}
	s.inflight.push(r)
	s.failOwed(s.to)
}

// needs tells whether the session, with nothing expected from b, still cannot do
// without it: b is its primary and holds something of it. The caller holds mu.
func (s *session) needs(b *pool.Backend) bool {
	return b == s.primary && (s.status != 'I' || s.phase.openPrimary || s.state.pins.text != "")
}

// failOwed answers what a lost server still owed, which the session can do without. The caller holds mu.
func (s *session) failOwed(b *pool.Backend) {
	if s.phase.again {
		s.inflight = inflight{} // the batch goes to another
		return
	}
	if b.Reader.MidMessage() {
		s.endWith(lostError(b), true)
		return
	}
	e := lostError(b)
	e.Severity = "ERROR"
	if s.canceled == b {
		e = pgerr.New(pgerr.QueryCanceled, canceledText).In("Lost")
	}
	var out []byte
	for r := s.inflight.first(); r != nil; r = s.inflight.first() {
		if r.action == mute {
			s.inflight.pop()
			continue
		}
		if !s.phase.failed {
			out = appendError(out, e)
		}
		s.phase.failed = true
		s.undoName(r.name, refused)
		if r.kind != 'Q' && !s.inflight.dropToSync(func(r *reply) { s.undo(b, r) }) {
			s.phase.skipping.set(true)
			break
		}
		if act := s.inflight.pop().action; act == forward || act == fake {
			out = append(out, fakeReply('S', s.status)...)
			s.phase.failed = false
		}
	}
	if b.Key.Target == primaryTarget {
		s.state.rollback()
		s.forgetWritten()
	}
	s.phase.copyIn.set(false)
	s.phase.relaying = true
	s.mu.Unlock()
	s.toClient(nil, out)
	s.mu.Lock()
	s.phase.relaying = false
}

func lostError(b *pool.Backend) *pgerr.Error {
	return pgerr.Fatal(pgerr.ConnectionFailure, "connection to server %q was lost", b.Key.Target).
		WithDetail("The statement in progress may or may not have been executed.").In("Lost")
}

// terminatedError is for a cancel request that has met a training on the primary, in a session
// that had more there than that.
func terminatedError() *pgerr.Error {
	return pgerr.Fatal(pgerr.QueryCanceled, canceledText).
		WithDetail("Training takes no notice of a cancel request, so its server process was ended, and with it the transaction and what else the session had there.").In("Lost")
}

// endWith ends the session with an error as its last words, unless the server
// has had them already or the client is in the middle of a message. The caller
// holds mu; the session's goroutine does the rest.
func (s *session) endWith(e *pgerr.Error, midMessage bool) {
	if s.end != nil {
		return
	}
	s.end = e
	s.stopWaiting(e)
	s.trained = s.current != nil && s.inflight.trains()
	s.inflight = inflight{}
	if s.phase.fatal || midMessage {
		e = nil
	}
	s.phase.relaying = true
	s.mu.Unlock()
	if e != nil {
		s.toClient(nil, appendError(nil, e))
	}
	s.hangUp()
	s.mu.Lock()
	s.phase.relaying = false
	s.changed.Broadcast()
}
