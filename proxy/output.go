package proxy

import (
	"errors"
	"syscall"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// send writes to the current backend.
func (s *session) send(p []byte) error {
	b := s.to
	if b == nil {
		return nil
	}
	if err := b.Writer.Append(s.turn, p); err != nil {
		return s.backendWrite(b, err)
	}
	return nil
}

// pass is send for the message, or piece of one, that the client has just sent. It stays where
// it is until the session has used its input and parks.
func (s *session) pass(m *wire.Message) error {
	b := s.to
	if b == nil || b.Writer.PassNext(s.in, m) {
		return nil
	}
	if err := b.Writer.Pass(s.turn, s.in, m); err != nil {
		return s.backendWrite(b, err)
	}
	return nil
}

func (s *session) flush() error {
	b := s.to
	if b == nil {
		return nil
	}
	if err := b.Writer.Flush(s.turn); err != nil {
		return s.backendWrite(b, err)
	}
	return nil
}

// backendWrite handles a failed write to a backend. Where the server has hung up, it
// may have said why, and whoever reads it comes to that and to the end; otherwise
// the connection is closed here.
func (s *session) backendWrite(b *pool.Backend, err error) error {
	s.log.Debug("write to server failed", "target", b.Key.Target, "error", err)
	b.Writer.Discard()
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		b.Close()
	}
	return nil
}

// toClient writes whole messages to the client within a Turn. The caller holds the
// relaying mark. A client that cannot be written to is on its way out, and its
// session's goroutine is told; what was for it is dropped.
func (s *session) toClient(t *wire.Turn, p []byte) {
	if len(p) == 0 {
		return
	}
	if _, err := s.client.WriteIn(t, p); err != nil {
		s.mu.Lock()
		s.deaf = true
		s.changed.Broadcast()
		s.mu.Unlock()
		s.wake()
	}
}

// answer writes messages made here, once everything before them has been answered.
func (s *session) answer(p []byte) error {
	s.untouched = false
	var w *watch
	s.mu.Lock()
	for !s.quiet() && s.end == nil {
		w = s.waitWatched(w)
	}
	w.drop()
	if end := s.end; end != nil {
		s.mu.Unlock()
		return end
	}
	s.phase.relaying = true
	s.mu.Unlock()
	_, err := s.client.WriteIn(s.turn, p)
	s.mu.Lock()
	s.phase.relaying = false
	s.changed.Broadcast()
	s.mu.Unlock()
	if err != nil {
		return errors.Join(errLeft, err)
	}
	return nil
}
