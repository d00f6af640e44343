package proxy

import (
	"slices"
	"sync"

	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// A replica may be lost while it works on a read. If nothing of the answer has reached the
// client, the same read is sent to another server, once. That is the case where
//
//   - the batch does nothing but read, on this replica alone: no training, no COPY, nothing
//     that would stay there;
//   - the session is outside a transaction block, and keeps nothing on the replica;
//   - the batch is the last thing sent, and is short enough to have been kept;
//   - the router would have been content with another replica, or with the primary.
//
// Nothing else is ever sent twice. attempt is such a read, kept as the client sent it
// until its answer begins.
type attempt struct {
	// Only for the session's goroutine: on while a batch is being kept, sent from its end
	// until the next message. d is the decision for its first statement, with the target
	// only where it must be that one, made by plan; at is where it has been sent.
	on, sent bool
	d        router.Decision
	plan     *plan
	at       string

	// Guarded by link.mu: sealed from the end of the batch until its answer is complete;
	// answered once something has been written to the client; idle where the session's
	// goroutine sends nothing after it; to is where it goes instead; buf from sealed on.
	sealed, answered, idle bool
	to                     string
	buf                    *[]byte
}

// records holds buffers for attempts.
var records = sync.Pool{New: func() any { b := make([]byte, 0, maxRecord); return &b }}

// attempting begins to keep the batch whose first message is about to be sent to the
// replica of d, if it is one that may be tried elsewhere.
func (s *session) attempting(st *parser.Statement, d router.Decision) {
	t := &s.try
	if t.on {
		if !repeatable(st, d) || d.Target != t.at {
			t.cannot()
		}
		return
	}
	if s.rec.repeating || t.to != "" || !repeatable(st, d) {
		return
	}
	t.at = d.Target
	if s.free {
		d.Target = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != 'I' || s.phase.openPrimary || s.phase.openReplica || s.keep.why() != "" || s.another(d, s.plan, t.at) == "" {
		return
	}
	t.on, t.answered, t.d, t.plan = true, false, d, s.plan
	t.buf = records.Get().(*[]byte)
	*t.buf = (*t.buf)[:0]
}

// repeatable tells whether a statement does nothing but read.
func repeatable(st *parser.Statement, d router.Decision) bool {
	if d.MayWrite {
		return false
	}
	switch d.Class {
	case router.Training, router.Write, router.Schema, router.Opaque:
		return false
	}
	for i := range st.Parts {
		p := &st.Parts[i]
		switch p.Kind {
		case parser.Select, parser.Values, parser.Explain, parser.Show:
		default:
			return false
		}
		if p.Pin != "" || p.Locks || p.Setting != nil || p.Volatile && !p.Clock || len(p.Writes)+len(p.Defines) > 0 {
			return false
		}
	}
	return len(st.Parts) > 0
}

// another is the server that may take the place of one for a decision made by p, "" if there is none.
// Its load is not asked for: the pools have locks of their own.
func (s *session) another(d router.Decision, p *plan, lost string) string {
	if d.Target == "" {
		if other := router.Pick(d, without(s.srv.latest(p), lost), nil); other != "" {
			return other
		}
	}
	if d.OrPrimary {
		return primaryTarget
	}
	return ""
}

// without is a fleet in which some servers are down.
func without(f *router.Fleet, names ...string) *router.Fleet {
	out := *f
	out.Targets = slices.Clone(f.Targets)
	for i := range out.Targets {
		if t := &out.Targets[i]; slices.Contains(names, t.Name) {
			t.Healthy = false
		}
	}
	return &out
}

// cannot gives up keeping a batch.
func (t *attempt) cannot() {
	t.on = false
	records.Put(t.buf)
	t.buf = nil
}

// keepAttempt keeps a message that has just been dealt with.
func (s *session) keepAttempt(m *wire.Message) {
	t := &s.try
	if !m.Whole() || len(*t.buf)+len(m.Data) > maxRecord || s.refused || !s.onReplicaNow() {
		t.cannot()
		return
	}
	*t.buf = append(*t.buf, m.Data...)
	if m.Type == 'S' || m.Type == 'Q' {
		t.on, t.sent = false, true
		s.mu.Lock()
		t.sealed, t.idle = true, false
		s.mu.Unlock()
	}
}

// drop forgets a batch that has been answered. The caller holds mu.
func (t *attempt) drop() {
	if t.sealed && t.to == "" {
		t.sealed = false
		records.Put(t.buf)
		t.buf = nil
	}
}

// tryElsewhere tells whether what a lost replica owed is sent to another server by the
// session's goroutine. kept tells whether the session had something there. The caller
// holds mu.
func (s *session) tryElsewhere(b *pool.Backend, kept bool) bool {
	t := &s.try
	switch {
	case !t.sealed, t.answered, kept, s.status != 'I', s.phase.openPrimary, s.end != nil, s.cancels > 0, s.deaf:
		return false
	case s.phase.writing && !t.idle, s.batches() != 1:
		return false // something is on its way already that would then run before it
	}
	to := s.another(t.d, t.plan, b.Key.Target)
	if to == "" {
		return false
	}
	s.inflight.each(func(r *reply) { s.undo(b, r) })
	s.inflight = inflight{}
	s.phase.skipping.set(false)
	s.phase.copyIn.set(false)
	s.phase.failed = false
	t.to, s.phase.again = to, true
	s.client.Wake()
	return true
}

// take returns the batch that must be sent to another server. The caller holds mu.
func (t *attempt) take() (batch []byte) {
	if t.to != "" {
		batch, t.buf, t.sealed = *t.buf, nil, false
	}
	return batch
}

// instead sends a decision where the batch goes that is being sent again.
func (t *attempt) instead(d router.Decision) router.Decision {
	switch {
	case t.to == "" || d.Place != router.Replica:
	case t.to == primaryTarget:
		d.Place, d.Target = router.Primary, ""
	default:
		d.Target = t.to
	}
	return d
}
