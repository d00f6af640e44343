package proxy

import "time"

// watchInterval is how often a client is looked at whose session waits.
const watchInterval = time.Second

// watch looks after the client while the session's goroutine waits for servers and
// reads nothing. One that has gone for lingerTimeout ends the session, and with it
// what is under way. A connection with TLS cannot be looked at without reading it.
type watch struct {
	s *session
	// Guarded by link.mu.
	timer *time.Timer
	gone  time.Duration
	over  bool
}

// watch begins a watch. The caller holds mu, and stops it without.
func (s *session) watch() *watch {
	w := &watch{s: s}
	if s.client.Joined() {
		w.timer = time.AfterFunc(watchInterval, w.look)
	}
	return w
}

func (w *watch) stop() {
	if w.timer == nil {
		return
	}
	w.s.mu.Lock()
	w.over = true
	w.s.mu.Unlock()
	w.timer.Stop()
}

func (w *watch) look() {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case w.over:
		return
	case s.client.Alive() != nil:
		w.gone += watchInterval
	default:
		w.gone = 0
	}
	if w.gone >= lingerTimeout {
		if s.end == nil {
			s.end = errLeft
		}
		s.stopWaiting(s.end)
		s.changed.Broadcast()
		return
	}
	w.timer.Reset(watchInterval)
}
