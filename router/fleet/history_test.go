package fleet

import (
	"testing"
	"time"

	"pgshunt/router"
)

func TestHistoryTellsWhenAPositionWasReached(t *testing.T) {
	var h history
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	if _, ok := h.since(100); ok {
		t.Error("an empty history knows")
	}
	h.note(nil, 100, at(1))
	h.note(nil, 100, at(2)) // a quiet primary
	h.note(nil, 200, at(3))
	h.note(nil, 150, at(4)) // an answer that was overtaken
	for _, c := range []struct {
		position uint64
		second   int // 0: not known
	}{{99, 0}, {100, 2}, {199, 2}, {200, 3}, {1000, 3}} {
		got, ok := h.since(c.position)
		if ok != (c.second > 0) || ok && !got.Equal(at(c.second)) {
			t.Errorf("position %d: %v, %v", c.position, got.Sub(begin), ok)
		}
	}
	h.reset(new(seat))
	h.note(nil, 300, at(5)) // of the server before
	if _, ok := h.since(1000); ok {
		t.Error("something outlives a reset")
	}
}

// A history that is full answers for old positions less exactly, and never too well.
func TestHistoryForgetsDetails(t *testing.T) {
	var h history
	begin := time.Now()
	const n = 10 * maxSamples
	for i := range n {
		h.note(nil, uint64(i), begin.Add(time.Duration(i)*time.Second))
	}
	if len(h.samples) > maxSamples {
		t.Errorf("%d samples", len(h.samples))
	}
	for i := range n {
		got, ok := h.since(uint64(i))
		if age := time.Duration(i) * time.Second; !ok || got.Sub(begin) > age {
			t.Fatalf("position %d of %v: %v, %v", i, age, got.Sub(begin), ok)
		}
	}
	if got, _ := h.since(n - 10); got.Sub(begin) != (n-10)*time.Second {
		t.Error("what is young is not exact")
	}
}

// While a server does not answer the next question, the last lag is not the present one.
func TestLagGrowsUntilItIsMeasuredAgain(t *testing.T) {
	w := New(Config{Servers: []Server{{Name: "ml1", Replica: true, Feed: router.FeedLogical, Login: login()}}})
	defer w.Close()
	s := w.byName["ml1"]
	for age, want := range map[time.Duration]time.Duration{0: 0, time.Minute: time.Minute, time.Hour: time.Hour} {
		s.lag = lag{known: true, at: time.Now().Add(-age)}
		if got, known := s.behind(finding{}); !known || got < want || got > 2*want {
			t.Errorf("measured %v ago: %v, %v", age, got, known)
		}
	}
}

func TestLagIsShownCoarsely(t *testing.T) {
	for from, want := range map[time.Duration]time.Duration{
		0: 0, 99 * time.Millisecond: 0, 100 * time.Millisecond: 100 * time.Millisecond, 101 * time.Millisecond: 200 * time.Millisecond,
		1001 * time.Millisecond: 2 * time.Second, 61 * time.Second: 2 * time.Minute, 61 * time.Minute: 2 * time.Hour,
	} {
		if got := coarse(from); got != want {
			t.Errorf("%v is shown as %v, want %v", from, got, want)
		}
	}
}
