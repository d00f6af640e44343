package proxy

import "time"

// watchAfter is when a client begins to be watched whose session waits. Most waits are over
// before, and cost a timer only.
const watchAfter = time.Second

// watch looks after the client while the session's goroutine waits for servers and
// reads nothing. One that has ended its side of the connection for lingerTimeout ends the
// session, and with it what is under way.
type watch struct {
	s *session
	// Guarded by link.mu.
	timer  *time.Timer
	forget func() // ends what OnHangUp has begun; nil where there is nothing
	over   bool
}

// watch begins a watch, which the caller stops. The caller holds mu.
func (s *session) watch() *watch {
	w := &watch{s: s}
	w.timer = time.AfterFunc(watchAfter, w.begin)
	return w
}

// stop is drop for a caller that does not hold mu.
func (w *watch) stop() {
	if w != nil {
		w.s.mu.Lock()
		w.drop()
		w.s.mu.Unlock()
	}
}

// drop ends the watch. A nil one has not begun. The caller holds mu.
func (w *watch) drop() {
	if w == nil {
		return
	}
	w.over = true
	w.timer.Stop()
	if w.forget != nil {
		w.forget()
	}
}

func (w *watch) begin() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if !w.over {
		w.forget = w.s.client.OnHangUp(w.gone)
	}
}

// gone is called when the client has ended its side. It may still read, as in linger.
func (w *watch) gone() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if !w.over {
		w.timer = time.AfterFunc(lingerTimeout, w.end)
	}
}

func (w *watch) end() {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.over || !s.inLine() && s.hasMore() {
		return
	}
	if s.end == nil {
		s.end = errLeft
	}
	s.stopWaiting(s.end)
	s.changed.Broadcast()
	s.client.Wake()
}

// hasMore tells whether a client that has ended its side has said more before than goodbye,
// which a server would still do. Of a connection with TLS that cannot be told: an alert
// belongs to the end of it. The caller holds mu.
func (s *session) hasMore() bool {
	if !s.client.Joined() {
		return false
	}
	var next [6]byte
	n := s.client.Peek(next[:])
	return n > 0 && string(next[:n]) != "X\x00\x00\x00\x04"
}

// waitWatched is wait for what may take long. w is nil the first time, and the caller stops
// what it returns. The caller holds mu, and is the session's goroutine.
func (s *session) waitWatched(w *watch) *watch {
	if w == nil {
		w = s.watch()
	}
	s.wait()
	return w
}
