package proxy

import "pgshunt/internal/wire"

// sync handles a Sync message, the end of a batch.
func (s *session) sync(m *wire.Message) error {
	s.names.batch++
	s.waited, s.stood, s.rec.spent, s.ran = 0, false, false, false
	if s.phase.copyIn.is() {
		return nil // the server ignores it, and so it owes no answer
	}
	if s.refused || !s.atPrimary() {
		if done, err := s.syncElsewhere(m); done || err != nil {
			if err == nil {
				err = s.follow()
			}
			return err
		}
	}
	if err := s.expectAndPass(&reply{kind: 'S'}, m); err != nil {
		return err
	}
	if err := s.takeBackNames(); err != nil || !s.toPrimary {
		return err
	}
	if err := s.prove(); err != nil {
		return err
	}
	return s.follow()
}

// syncElsewhere turns to the server that a Sync is for, or answers it.
func (s *session) syncElsewhere(m *wire.Message) (done bool, err error) {
	s.mu.Lock()
	s.skipForLost()
	onReplica := s.current != nil && s.current == s.replica
	onPrimary := s.primary != nil && (s.current == s.primary || s.phase.openPrimary)
	block := s.primary != nil && (s.status != 'I' || s.phase.openPrimary)
	if s.status == 'I' { // they end with the batch
		s.portals = nil
	}
	s.mu.Unlock()
	switch {
	case s.refused:
		s.refused = false
		return true, s.finishFailed()
	case onReplica && block:
		return true, s.syncBeside(m)
	case onReplica:
		s.hold()
		return false, nil
	case onPrimary, len(m.Data) != emptyMessage: // what is wrong with it is the server's to say
		return false, s.onPrimary()
	default:
		s.expect(&reply{kind: 'S', action: fake})
		return true, s.flushFakes()
	}
}

// syncBeside ends a batch that ran on a replica beside the client's transaction.
func (s *session) syncBeside(m *wire.Message) error {
	if err := s.leaveReplica(); err != nil {
		return err
	}
	s.mu.Lock()
	failed, open := s.refused || s.phase.failed, s.phase.openPrimary
	s.phase.failed = false
	s.mu.Unlock()
	s.refused = false
	switch {
	case failed:
		return s.finishFailed()
	case !open:
		return s.answer(fakeReply('S', s.currentStatus()))
	}
	if err := s.onPrimary(); err != nil {
		return err
	}
	s.expect(&reply{kind: 'S'})
	return s.pass(m)
}

// flushMessage passes a Flush on; it has no answer of its own.
func (s *session) flushMessage(m *wire.Message) error {
	if len(m.Data) != emptyMessage {
		return s.passToPrimary(m, 'E')
	}
	s.mu.Lock()
	attached := s.current != nil && s.open() && !s.phase.copyIn.is()
	s.inflight.markFlushed()
	s.mu.Unlock()
	if err := s.flushFakes(); err != nil {
		return err
	}
	if !attached {
		return nil
	}
	s.hold()
	return s.pass(m)
}
