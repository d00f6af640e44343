package proxy

import (
	"errors"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
)

// attachError is why a backend could not be had; the client is told and goes on.
type attachError struct{ shown *pgerr.Error }

func (e *attachError) Error() string { return e.shown.Error() }
func (e *attachError) Unwrap() error { return e.shown }

// failAttach answers the message at hand with an attachError; any other error
// ends the session.
func (s *session) failAttach(err error, simple bool) error {
	if e := (*attachError)(nil); errors.As(err, &e) {
		return s.fail(e.shown, simple)
	}
	return err
}

// skipForLost has the session itself skip to the Sync where the server that was
// doing so has been lost. The session's goroutine only; the caller holds mu.
func (s *session) skipForLost() {
	if s.current == nil && s.phase.skipping.is() {
		s.refused = true
		s.phase.skipping.set(false)
	}
}

// fail answers the message at hand with an error made here, as the server would:
// a transaction block fails with it, and in the extended protocol everything up
// to the Sync is ignored.
func (s *session) fail(e *pgerr.Error, simple bool) error {
	if err := s.settle(); err != nil {
		return err
	}
	if s.phaseSkipping() {
		return nil // the server has failed the batch already, and said so
	}
	if err := s.answer(appendError(nil, e)); err != nil {
		return err
	}
	if !simple {
		s.refused = true
		return nil
	}
	return s.finishFailed()
}

func (s *session) phaseSkipping() bool { return s.phase.skipping.is() }

// finishFailed brings the primary's transaction, if there is one, to the state
// that an error leaves it in, and tells the client the status.
func (s *session) finishFailed() error {
	if err := s.leaveReplica(); err != nil {
		return err
	}
	s.mu.Lock()
	inBlock := s.primary != nil && (s.status == 'T' || s.phase.openPrimary)
	status := s.status
	if !inBlock {
		s.phase.failed = false
		s.phase.skipping.set(false)
	}
	s.mu.Unlock()
	if !inBlock {
		return s.answer(fakeReply('S', status))
	}
	if err := s.onPrimary(); err != nil {
		return err
	}
	s.expect(&reply{kind: 'P', action: mute})
	s.expect(&reply{kind: 'S'})
	if err := s.sendMessage(&pgproto3.Parse{Name: "pgshunt_fail", Query: failStatement}); err != nil {
		return err
	}
	return s.sendMessage(&pgproto3.Sync{})
}

// failStatement is a text that no server accepts; its error fails the
// transaction block. It explains itself to whoever finds it in the server's log.
const failStatement = "/* pgshunt fails this transaction because a statement of it failed on another server */ FAIL"
