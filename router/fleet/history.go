package fleet

import (
	"sort"
	"sync"
	"time"
)

// history notes where the primary was when. The zero value is empty.
type history struct {
	mu      sync.Mutex
	of      *seat    // whose positions these are
	samples []sample // both fields grow, or stay
}

// sample says that all that was committed before at lies up to position.
type sample struct {
	position uint64
	at       time.Time
}

// maxSamples bounds a history. The older half is then thinned out, so that the time
// between two samples is in proportion to their age.
const maxSamples = 2048

func (h *history) note(of *seat, position uint64, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if of != h.of {
		return // the question was overtaken by a failover
	}
	n := len(h.samples)
	if n > 0 {
		last := &h.samples[n-1]
		switch {
		case position < last.position || at.Before(last.at):
			return // an answer that was overtaken
		case position == last.position:
			last.at = at
			return
		}
	}
	if n == maxSamples {
		kept := h.samples[:0]
		for i, s := range h.samples {
			if i >= n/2 || i%2 == 0 {
				kept = append(kept, s)
			}
		}
		h.samples = kept
	}
	h.samples = append(h.samples, sample{position, at})
}

// reset forgets everything, since another server's positions begin.
func (h *history) reset(of *seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of, h.samples = of, h.samples[:0]
}

// since returns a time before which everything committed lies up to position; ok is
// false if position lies before all that was noted.
func (h *history) since(position uint64) (at time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := sort.Search(len(h.samples), func(i int) bool { return h.samples[i].position > position })
	if i == 0 {
		return time.Time{}, false
	}
	return h.samples[i-1].at, true
}
