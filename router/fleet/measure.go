package fleet

import (
	"context"
	"time"
)

// lag is the result of a measurement.
type lag struct {
	atMost time.Duration
	known  bool
	at     time.Time // of the measurement
}

// overdue is how much longer than the interval a measurement may take before its age counts.
const overdue = time.Second

// now is the most that the lag can be, interval after interval: where a server is slow to
// answer the next question, it may have grown by all the time since.
func (l lag) now(interval time.Duration) time.Duration {
	if age := time.Since(l.at); l.known && age > interval+overdue {
		return l.atMost + age
	}
	return l.atMost
}

// measure tells the lag every interval, until the watcher ends.
func (s *server) measure() {
	w := s.w
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	for _, h := range append(s.hosts, w.primary.hosts...) { // nothing can be told before
		if !await(w.ctx, h.looked) {
			return
		}
	}
	if !w.settled(w.ctx) {
		return
	}
	for first := true; ; first = false {
		found := s.measureOnce()
		s.mu.Lock()
		s.lag = found
		s.mu.Unlock()
		w.change()
		if first {
			close(s.lagged)
		}
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			return
		}
	}
}

// measureOnce takes the primary's position and gives the replica a moment to get there,
// since under traffic nobody is ever quite there at the first look. A replica that does
// not is behind by the age of the newest position that it has passed.
func (s *server) measureOnce() lag {
	w := s.w
	ctx, cancel := context.WithTimeout(w.ctx, w.cfg.Interval+w.cfg.Timeout)
	defer cancel()
	gauge, err := s.gauge()
	if err != nil {
		return lag{}
	}
	now, err := w.readPrimary(ctx)
	if err != nil {
		return lag{}
	}
	r := now
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		if gauge != w.primary.progress || pause > 10*time.Millisecond {
			if r, err = gauge.read(ctx); err != nil {
				return lag{}
			}
		}
		applied, err := s.applied(r)
		if err != nil {
			return lag{}
		}
		since, ok := w.history.since(applied)
		if applied >= now.flushed || pause > w.cfg.Interval/4 {
			return lag{atMost: r.end.Sub(since), known: ok, at: r.end}
		}
		pauseOver := time.NewTimer(pause)
		select {
		case <-pauseOver.C:
		case <-ctx.Done():
			pauseOver.Stop()
			return lag{}
		}
	}
}
