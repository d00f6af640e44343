package proxy

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"pgshunt/parser"
	"pgshunt/router"
)

// RouteCount says how many statements went to a target by a rule for a reason.
type RouteCount struct {
	// Target is the primary or a replica's name, or "refused".
	Target string
	// Rule and Reason are those of the decision, the latter without what it was about.
	Rule, Reason string
	Statements   int64
}

// tallies counts decisions. There are as many counters as the policy has ways to
// decide: nothing that clients send makes one. Safe for concurrent use.
type tallies struct {
	mu    sync.RWMutex
	byKey map[tallyKey]*tally
}

type tallyKey struct{ target, rule, reason string }

type tally struct {
	tallyKey
	n atomic.Int64
}

func (t *tallies) get(key tallyKey) *tally {
	t.mu.RLock()
	one := t.byKey[key]
	t.mu.RUnlock()
	if one != nil {
		return one
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if one = t.byKey[key]; one == nil {
		if t.byKey == nil {
			t.byKey = make(map[tallyKey]*tally)
		}
		one = &tally{tallyKey: key}
		t.byKey[key] = one
	}
	return one
}

// Routes returns how many statements went where since the server was made, and why,
// the most frequent first. A statement of the extended protocol counts each time it
// is bound.
func (srv *Server) Routes() []RouteCount {
	t := &srv.tallies
	t.mu.RLock()
	out := make([]RouteCount, 0, len(t.byKey))
	for key, one := range t.byKey {
		out = append(out, RouteCount{key.target, key.rule, key.reason, one.n.Load()})
	}
	t.mu.RUnlock()
	slices.SortFunc(out, func(a, b RouteCount) int {
		return cmp.Or(cmp.Compare(b.Statements, a.Statements), strings.Compare(a.Target, b.Target),
			strings.Compare(a.Rule, b.Rule), strings.Compare(a.Reason, b.Reason))
	})
	return out
}

// recentTallies are the counters that a session has used last: most sessions go a few
// ways only.
type recentTallies struct {
	one  [2]*tally
	next uint8
	// same is the counter of decision, one of the Server's verdicts.
	same     *tally
	decision *router.Decision
}

// routed counts a statement, and logs it where somebody wants to know. One that has
// stood in line for a backend comes by a second time.
func (s *session) routed(st *parser.Statement, d *router.Decision) {
	if s.putBack {
		return
	}
	r := &s.recentTallies
	if d == r.decision && s.srv.observe == nil {
		r.same.n.Add(1)
		return
	}
	key := tallyKey{d.Target, d.Rule, d.CountedReason()}
	switch d.Place {
	case router.Primary, router.Stay:
		key.target = primaryTarget
	case router.Refused:
		key.target = "refused"
	}
	t := s.tally(key)
	t.n.Add(1)
	if d != &s.decision && d != &s.parsed.own {
		r.same, r.decision = t, d
	}
	if s.srv.observe != nil {
		s.srv.observe(s, st, *d, key)
	}
}

func (s *session) tally(key tallyKey) *tally {
	r := &s.recentTallies
	for _, t := range r.one {
		if t != nil && t.tallyKey == key {
			return t
		}
	}
	t := s.srv.tallies.get(key)
	r.one[r.next%uint8(len(r.one))] = t
	r.next++
	return t
}

// logDecision writes what may be known of any statement: names of functions and
// relations, and none of its values. A refusal may be about a value, such as a hint.
func logDecision(s *session, st *parser.Statement, d router.Decision, key tallyKey) {
	kind, reason := "empty", d.Text()
	if d.Place == router.Refused {
		reason = key.reason
	}
	if len(st.Parts) > 0 {
		kind = st.Parts[0].Kind.String()
	}
	s.log.Debug("statement routed", "role", d.Place.String(), "target", key.target, "class", d.Class.String(),
		"rule", key.rule, "reason", reason, "kind", kind)
}
