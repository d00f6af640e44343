package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// Receive is the backend's side of a session: it walks what the server has sent,
// matches it with what is expected, and writes whole runs to the client. It runs
// on the backend's goroutine.
func (s *session) Receive(b *pool.Backend) (err error) {
	s.mu.Lock()
	locked := true
	defer func() {
		if locked {
			s.mu.Unlock()
		}
		if p := recover(); p != nil {
			s.mu.Lock()
			s.phase.relaying = false
			s.mu.Unlock()
			s.log.Error("panic in relay", "error", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	for {
		for s.phase.relaying { // the session's goroutine is writing a reply of its own
			b.Turn.Block()
			s.changed.Wait()
		}
		if b != s.primary && b != s.replica {
			return pool.ErrNotOwner
		}
		var run []byte
		var more bool
		var wrong error
		if s.phase.leaving {
			more, wrong = s.walkLate(b)
		} else {
			run, more, wrong = s.walk(b)
		}
		var fakes []byte
		if s.owesFakes() {
			fakes = s.takeFakes()
		}
		if len(run) > 0 || len(fakes) > 0 {
			s.phase.relaying, s.try.answered = true, true
			s.mu.Unlock()
			locked = false
			s.toClient(b.Turn, run)
			s.toClient(b.Turn, fakes)
			s.mu.Lock()
			locked = true
			s.phase.relaying = false
		}
		if wrong != nil {
			return wrong // what came before it was right, and is the client's
		}
		if !more && !s.inflight.fakeFirst() {
			break
		}
	}
	s.changed.Broadcast()
	detached := s.detachIfDone()
	idle := s.status == 'I' && s.inflight.len() == 0
	s.mu.Unlock()
	locked = false
	s.release(detached)
	if idle && s.srv.draining.Load() {
		s.wake()
	}
	return nil
}

// walk consumes messages up to the first that is not forwarded after one that
// is, and returns the run to forward. more is false when the buffer is used up.
// The caller holds mu.
func (s *session) walk(b *pool.Backend) (run []byte, more bool, err error) {
	r := b.Reader
	start := r.Pos()
	end := start
	if s.inflight.fakeFirst() {
		return nil, true, nil
	}
	s.skim(b)
	if end = r.Pos(); end > start && s.owesFakes() {
		return r.Span(start, end), true, nil
	}
	var m wire.Message
	for {
		ok, err := r.Next(&m)
		if err != nil || !ok {
			return r.Span(start, end), false, err
		}
		pass, err := s.accept(b, &m)
		switch {
		case err != nil:
			return r.Span(start, end), false, err
		case pass:
			end = r.Pos()
		case end > start:
			return r.Span(start, end), true, nil
		default:
			start = r.Pos()
			end = start
		}
		if s.owesFakes() {
			return r.Span(start, end), true, nil
		}
	}
}

// owesFakes tells whether replies made here are what the client gets next. The
// caller holds mu.
func (s *session) owesFakes() bool { return len(s.state.due) > 0 || s.inflight.fakeFirst() }

// takeFakes encodes the replies made here whose turn has come. The caller holds mu.
func (s *session) takeFakes() []byte {
	out := s.state.due
	s.state.due = nil
	for r := s.inflight.first(); r != nil && r.action == fake; r = s.inflight.first() {
		if r.late {
			s.withheld = append(s.withheld, fakeReply(r.kind, s.status)...)
		} else {
			out = append(out, fakeReply(r.kind, s.status)...)
		}
		s.inflight.pop()
	}
	return out
}

// fakeReply is the answer to a message that no server sees.
func fakeReply(kind, status byte) []byte {
	switch kind {
	case 'C':
		return []byte{'3', 0, 0, 0, 4}
	case 'S':
		return []byte{'Z', 0, 0, 0, 5, status}
	case 'c': // the end of copy data has no answer
		return nil
	}
	panic(fmt.Sprintf("BUG: no fake reply to %q", kind))
}

// accept follows one message and tells whether the client gets it. It is the
// only place that knows which reply ends with which message. The caller holds mu.
func (s *session) accept(b *pool.Backend, m *wire.Message) (pass bool, err error) {
	first := s.inflight.first()
	if b != s.current || first == nil {
		return s.acceptAlone(b, m)
	}
	pass = first.action <= beside
	if m.Rest > 0 {
		return pass || m.Type == 'E' && first.action == skip, nil
	}
	if p := first.proof(); p != nil {
		p.hear(m)
	}
	switch m.Type {
	case 'D', 'd', 'c', 'H', 'V', 't':
		// rows, copy data and what precedes another message of the same reply
	case '1', '2', '3', 'n', 's':
		if first.kind != endsReplyTo[m.Type] {
			return false, fmt.Errorf("server %s sent %q where a reply to %q was expected", b.Key.Target, m.Type, first.kind)
		}
		s.inflight.pop().done(b)
	case 'T':
		if first.kind == 'D' {
			s.inflight.pop()
		}
	case 'C', 'I':
		if first.follow {
			s.complete(b, first, tagOf(m))
		}
		if first.kind == 'E' {
			r := s.inflight.pop()
			r.done(b)
			if t := r.training(); t != nil {
				s.inflight.carry(t)
			}
		}
	case 'G', 'W':
		ended, reopened := s.inflight.dropCopied()
		s.phase.copyIn.set(!ended)
		if reopened {
			s.setOpen(true)
			s.withholdIfLeaving()
		}
	case 'E':
		if first.blocks() && m.Whole() {
			return false, s.blockFailed(b, m)
		}
		instead := first.instead(m)
		if pass := s.acceptError(b, first, m); instead == nil {
			return pass, nil
		}
		s.state.due = append(s.state.due, appendError(nil, instead)...)
		return false, nil
	case 'S':
		return s.acceptParameter(b, m, pass), nil
	case 'Z':
		return s.acceptReady(b, m)
	case 'A':
		s.showNotifier(b, m)
		return first.action != mute, nil
	case 'N':
		return first.action != mute, nil
	default:
		return false, fmt.Errorf("server %s sent an unexpected message of type %q", b.Key.Target, m.Type)
	}
	return pass, nil
}

// endsReplyTo maps the messages that can end only one kind of reply to it.
var endsReplyTo = [256]byte{'1': 'P', '2': 'B', '3': 'C', 'n': 'D', 's': 'E'}

// acceptAlone handles what a server may send by itself: parameters, notices,
// notifications, and the error with which it ends the connection.
func (s *session) acceptAlone(b *pool.Backend, m *wire.Message) (bool, error) {
	switch m.Type {
	case 'S':
		return s.acceptParameter(b, m, b == s.primary), nil
	case 'A':
		s.showNotifier(b, m)
		return b == s.primary && (s.current == nil || s.current == b), nil
	case 'N':
		return b == s.primary && (s.current == nil || s.current == b), nil
	case 'E':
		// A session that does not need the server any more goes on without it.
		needed := s.needs(b) && b != s.canceled
		s.phase.fatal = s.phase.fatal || needed
		return needed, nil
	case 'Z':
		// A Sync that reached the server after an error in copy data, see dropCopied.
		if b == s.current && s.phase.failed {
			return s.acceptReady(b, m)
		}
	}
	return false, fmt.Errorf("server %s sent a message of type %q that nobody asked for", b.Key.Target, m.Type)
}

func (s *session) acceptParameter(b *pool.Backend, m *wire.Message, pass bool) bool {
	if !m.Whole() {
		return pass
	}
	if name, value, ok := pool.ParameterStatus(m.Body()); ok {
		b.SetParam(name, value)
		if pass && b == s.primary {
			return s.state.telling(name, value)
		}
	}
	return pass && b == s.primary
}

// acceptError drops what the server skips after an error.
func (s *session) acceptError(b *pool.Backend, first *reply, m *wire.Message) bool {
	act, uses, usedAs := first.action, first.uses, first.usedAs
	if s.outdated(b, first, m) {
		return false
	}
	s.phase.copyIn.set(false)
	if (b != s.primary || b == s.canceled) && m.Whole() && isFatal(m.Body()) {
		s.log.Debug("server ends the connection", "target", b.Key.Target, "error", errorText(m))
		return false // Lost has the words for the client
	}
	if act == mute {
		if first.proof() != nil {
			if first.seldom.curbs {
				s.state.curb.unsure, b.Stale = true, true
			}
			return false
		}
		if first.kind == 'Q' {
			s.log.Debug("setting not accepted by server", "target", b.Key.Target, "error", errorText(m))
			b.Stale = true
			s.refusal = refusalIn(m)
			return false
		}
		s.complaint = refusalIn(m)
	} else {
		s.phase.failed = true
	}
	if m.Whole() && isFatal(m.Body()) {
		s.phase.fatal = true
	}
	s.undoName(first.name, refused)
	if first.kind == 'Q' || first.kind == 'F' {
		return act != mute
	}
	if first.kind != 'S' { // an error at Sync itself, such as a deferred constraint
		if !s.inflight.dropToSync(func(r *reply) { s.undo(b, r) }) {
			s.phase.skipping.set(true)
			s.setOpen(true) // the Sync that was sent has been lost among copy data
		}
	}
	return act != mute && !s.rename(m, uses, usedAs)
}

// rename puts the client's own name of a statement in place of ours in an error
// that has it. The caller holds mu.
func (s *session) rename(m *wire.Message, ours *pool.Prepared, theirs string) bool {
	if ours == nil || !m.Whole() || !bytes.Contains(m.Body(), []byte(ours.Name)) {
		return false
	}
	renamed := bytes.Replace(m.Data, []byte(ours.Name), []byte(theirs), 1)
	putLength(renamed)
	s.state.due = append(s.state.due, renamed...)
	return true
}

// acceptReady ends a batch: the transaction status is the server's word.
func (s *session) acceptReady(b *pool.Backend, m *wire.Message) (bool, error) {
	body := m.Body()
	if len(body) != 1 || body[0] != 'I' && body[0] != 'T' && body[0] != 'E' {
		return false, errors.New("server sent a malformed ReadyForQuery")
	}
	act := forward
	if r := s.inflight.first(); r != nil {
		if r.kind != 'Q' && r.kind != 'S' && r.kind != 'F' {
			return false, fmt.Errorf("server sent ReadyForQuery where a reply to %q was expected", r.kind)
		}
		popped := s.inflight.pop()
		act = popped.action
		if p := popped.proof(); p != nil {
			s.proved(p, body[0])
		}
	}
	s.deployed(b)
	s.phase.copyIn.set(false)
	if act == mute {
		return false, nil
	}
	if b == s.primary {
		s.status = body[0]
		s.state.ready(s.status, s.phase.failed)
		if s.status == 'I' {
			s.keep.over = s.keep.block
			s.forgetWritten()
		}
	}
	if act != forward {
		return false, nil
	}
	s.phase.failed = false
	s.phase.skipping.set(false)
	if s.inflight.len() == 0 {
		s.dropRecord()
	}
	if b == s.primary && s.state.untrue {
		if reports := s.state.reports(b); len(reports) > 0 {
			s.state.due = append(append(s.state.due, reports...), fakeReply('S', s.status)...)
			return false, nil
		}
	}
	return true, nil
}

// forgetWritten ends what a transaction has written, but for statements that are
// on their way already and belong to the next one. The caller holds mu.
func (s *session) forgetWritten() {
	t := &s.state
	if t.defines {
		t.defines = false
		s.srv.Look(primaryTarget)
	}
	t.curb.inBlock = false
	t.wrote = t.wrote || t.writes
	t.written, t.wroteUnknown, t.writes = t.written[:0], false, false
	t.ended++
	t.modes.ended(false)
	s.inflight.each(func(r *reply) {
		t.modes.begun = t.modes.begun || r.kind == 'P' || r.kind == 'B'
		if r.statement != nil {
			t.sending(r.statement)
		}
		if r.unseen || r.kind == 'F' || r.kind == 'E' && r.statement == nil && r.action == forward {
			t.sendingUnseen()
		}
	})
}

// undo takes back what a message that failed was going to do.
func (s *session) undo(b *pool.Backend, r *reply) {
	if also := r.seldom; also != nil && also.heldAs != "" {
		b.Forget(also.heldAs, also.held)
	}
	if r.unnamed != 0 && r.unnamed == s.replaced { // and nothing has been sent since that replaces it
		b.Unnamed = unsure
	}
	s.undoName(r.name, skipped)
}
