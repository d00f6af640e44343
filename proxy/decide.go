package proxy

import (
	"maps"
	"slices"

	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// decide asks the router about a statement. Where the answer depends on the state
// of the transaction or on parameters and replies are still to come, it waits for them.
// The decision is valid until the next one, and may be changed only through own.
func (s *session) decide(st *parser.Statement) (*router.Decision, error) {
	s.plan = s.srv.plan.Load()
	quiet := !s.amid(st) && s.look()
	d := s.consult(st)
	if !quiet && !s.goesOnThere(d) && (d.Place == router.Replica || d.Place == router.Refused || s.view.Failed || d.Rule != router.RuleNoReplicas && s.routesMayChange()) {
		if err := s.settle(); err != nil {
			return d, err
		}
		s.look()
		d = s.consult(st)
		if s.copying() { // the statement stands where copy data should: its server complains
			*s.own(&d) = router.Decision{Place: router.Stay, Rule: d.Rule, Reason: "stands among copy data"}
		}
	}
	if s.doubted(d) {
		d = s.consult(st)
	}
	if d.Place == router.Stay && d.Rule == router.RulePinned && s.view.PinnedTo != primaryTarget {
		s.own(&d).Target = s.view.PinnedTo
		d.Place = router.Replica
	}
	if s.try.to != "" {
		*s.own(&d) = s.try.instead(*d)
	}
	s.free = d.Place == router.Replica && d.Target == "" && d.ProjectParam == 0
	if s.free {
		target := s.pick(*d)
		s.own(&d).Target = target
	}
	return d, nil
}

// own makes d a decision that belongs to the session.
func (s *session) own(d **router.Decision) *router.Decision {
	if *d != &s.decision {
		s.decision = **d
		*d = &s.decision
	}
	return *d
}

// goesOnThere tells whether a statement follows others on a replica whose answers cannot
// change where it goes.
func (s *session) goesOnThere(d *router.Decision) bool {
	if d.Place != router.Replica || d.Class == router.Training {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil && s.current == s.replica && s.status == 'I' && !s.phase.openPrimary &&
		!s.phase.again && s.keep.why() == ""
}

// pick chooses the replica for a decision that leaves it open: the one that the
// session is on, or one with a backend at hand, or the least loaded.
func (s *session) pick(d router.Decision) string {
	s.mu.Lock()
	last := ""
	if s.replica != nil {
		last = s.replica.Key.Target
	}
	s.mu.Unlock()
	const stay = 1 << 30 // whatever the load: a turn costs a round trip
	c := router.Chooser{
		Load: s.srv.pools.Load, Warm: s.warm, Random: s.srv.cfg.Random, Zone: s.plan.Zone, Last: last, Slack: stay,
	}
	return c.Choose(d, s.srv.latest(s.plan))
}

// warm tells whether the session could have a backend of a target at once.
func (s *session) warm(target string) bool {
	return s.srv.pools.Warm(pool.Key{Target: target, User: s.who.user, Database: s.who.database})
}

// unreadable stands for a text that nobody here can read.
var unreadable = &parser.Statement{Unparsed: "syntax"}

// unreadableChange is one that changes the schema, where that is ordered.
var unreadableChange = &parser.Statement{Unparsed: "syntax"}

// facts returns what is known of a text; nil is one that cannot be looked at.
func (s *session) facts(text []byte) *parser.Statement {
	if text == nil {
		return unreadable
	}
	if len(text) > parser.DefaultMaxText {
		s.turn.Block() // it is parsed every time, which takes long enough for others to notice
	}
	st := s.srv.parser.Statement(text)
	if s.misread(st, text) {
		if s.ordersTexts() {
			if f := s.finder(); f.Find(text) {
				return unreadableChange
			}
		}
		return unreadable
	}
	return st
}

// lastingFacts is facts, and tells whether they hold for the text whatever the session sets.
func (s *session) lastingFacts(text []byte) (st *parser.Statement, lasting bool) {
	st = s.facts(text)
	return st, st != unreadable && st != unreadableChange && !st.Backslashes && isASCII(text)
}

// consult asks the router, by the session's plan, unless the answer is known.
func (s *session) consult(st *parser.Statement) *router.Decision {
	remembered := st.Serial != 0 && s.usual
	if remembered {
		if d := s.srv.verdicts.find(st, s.alike, s.view.InTransaction, s.plan); d != nil {
			return d
		}
	}
	s.decision = s.plan.Policy.Decide(st, &s.view, s.plan.fleet)
	if remembered && s.decision.Err == nil {
		s.srv.verdicts.keep(&verdict{st: st, alike: s.alike, plan: s.plan, inTransaction: s.view.InTransaction, d: s.decision})
	}
	return &s.decision
}

// look ends what must be ended before a decision, and brings the router's view of the
// session up to date. It reports whether that view is final: no reply is outstanding
// that could change it.
func (s *session) look() (quiet bool) {
	s.mu.Lock()
	if s.keep.over {
		s.mu.Unlock()
		s.endBlock()
		s.mu.Lock()
	}
	if s.usual && s.asUsual() {
		s.view.InTransaction = s.status != 'I' || s.phase.openPrimary
	} else {
		s.lookClosely()
	}
	if len(s.names.log) > 0 {
		s.names.forgetKept() // while mu is held
	}
	quiet = s.quiet()
	s.steady = s.usual && (quiet || s.steady)
	s.mu.Unlock()
	return quiet
}

// amid tells whether st was looked at with a message of the batch at hand that has been sent
// to the primary since, and nothing but that is new: the batch is a transaction by now.
func (s *session) amid(st *parser.Statement) bool {
	if s.parsed.st != st || s.parsed.batch != s.names.batch || !s.steady || !s.usual || !s.atPrimary() {
		return false
	}
	s.view.InTransaction = true
	return true
}

// asUsual tells whether the view of the session is the one it began with, but for
// InTransaction and as long as the settings are those seen last. The caller holds mu.
func (s *session) asUsual() bool {
	t, k := &s.state, &s.keep
	return t.local == s.seen && s.status != 'E' && t.pins.text == "" && len(t.written) == 0 &&
		!t.wroteUnknown && !t.modes.snapshot && !t.modes.snapshots && !t.modes.readOnly && !t.modes.locked && k.pin == "" && !k.block && !k.over && !k.closed
}

// lookClosely makes the view anew. The caller holds mu.
func (s *session) lookClosely() {
	v := &s.view
	v.InTransaction = s.status != 'I' || s.phase.openPrimary
	v.Failed = s.status == 'E'
	if s.keep.why() == "" {
		s.made = made{}
		if !s.phase.openReplica {
			s.portals = nil
		}
	} else if !s.keep.block {
		maps.DeleteFunc(s.made.cursors, func(_ string, d router.Decision) bool { return d.Block })
	}
	v.Temporary = s.made.temporary
	v.Pinned, v.PinnedTo = s.state.pins.text, ""
	switch {
	case v.Pinned != "":
		v.PinnedTo, v.Temporary = primaryTarget, s.state.temporary
	case s.keep.pin != "" && s.replica != nil:
		v.Pinned, v.PinnedTo = s.keep.pin, s.replica.Key.Target
	}
	v.Written, v.WroteUnknown = s.state.written, s.state.wroteUnknown
	if s.state.local != s.seen {
		s.seen = s.state.local
		v.SearchPath = splitPath(s.state.searchPath(s.who.path), s.state.currentUser(s.who.user))
		hint, _ := s.state.local.Get(routeParameter)
		v.Hint = hint.Value
		explain, _ := s.state.local.Get(explainParameter)
		s.explains = switchedOn(explain.Value)
		if app, ok := s.state.local.Get("application_name"); ok {
			v.Application = app.Value
		}
		s.state.modes.snapshots = oneSnapshot(s.state.defaultOf("default_transaction_isolation", s.state.login.isolation))
		s.alike = nil
	}
	s.state.modes.view(v)
	v.ReadsOnly = v.ReadOnly && s.state.readsOnly()
	if s.usual = s.asUsual(); s.usual && s.alike == nil {
		s.alike = s.srv.verdicts.sort(v)
	}
}

// sent notes that a statement is on its way to the primary.
func (s *session) sent(st *parser.Statement) {
	if st.Plain && !mayWrite(&st.Parts[0]) && !st.Parts[0].Locks {
		return
	}
	for i := range st.Parts {
		s.copySent = s.copySent || st.Parts[i].Kind == parser.CopyFrom
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != s.primary {
		return
	}
	s.closeAll(st)
	s.resets = s.resets || s.state.mayReset(st)
	s.reset = s.reset || s.resets
	before := s.state.pins.text
	s.state.sending(st)
	for i := range st.Parts {
		s.state.pins.within(&st.Parts[i])
	}
	if after := s.state.pins.text; after != before {
		s.log.Debug("session pinned", "reason", after)
	}
}

func (s *session) pin(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.pins.add(reason)
}

func (s *session) currentStatus() byte {
	s.mu.Lock()
	is := s.status
	s.mu.Unlock()
	return is
}

// inBlock tells whether a transaction block is open on the primary.
func (s *session) inBlock() bool {
	s.mu.Lock()
	is := s.status != 'I' || s.phase.openPrimary
	s.mu.Unlock()
	return is
}

// openNow tells whether the current backend is within an extended-protocol batch.
func (s *session) openNow() bool {
	s.mu.Lock()
	is := s.open()
	s.mu.Unlock()
	return is
}

func (s *session) onReplicaNow() bool {
	if s.atPrimary() {
		return false
	}
	s.mu.Lock()
	is := s.current != nil && s.current == s.replica
	s.mu.Unlock()
	return is
}

// hold lets the session's goroutine write to the current backend.
func (s *session) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turnTo(s.current)
}

// placeOf answers the router's question where a cursor or a statement prepared by
// SQL is, for those on replicas. It is called while decide runs, on its goroutine.
func placeOf(made *map[string]router.Decision) func(string) (router.Decision, bool) {
	return func(name string) (router.Decision, bool) {
		d, ok := (*made)[name]
		return d, ok
	}
}

// flushFakes writes the replies made here that nothing stands before.
func (s *session) flushFakes() error {
	s.mu.Lock()
	if s.phase.relaying {
		s.mu.Unlock()
		return nil // whoever writes to the client comes to them next
	}
	out := s.takeFakes()
	s.phase.relaying = len(out) > 0
	s.try.answered = s.try.answered || len(out) > 0
	s.mu.Unlock()
	if len(out) == 0 {
		return nil
	}
	s.toClient(s.turn, out)
	s.mu.Lock()
	s.phase.relaying = false
	s.changed.Broadcast()
	s.mu.Unlock()
	return nil
}

// complete applies the statement that has just succeeded; the backend's goroutine
// calls it with each command tag, under mu.
func (s *session) complete(b *pool.Backend, r *reply, tag string) {
	st := r.statement
	s.namesCompleted(b, st, r.part, tag)
	var set *parser.Setting
	switch {
	case len(r.bound()) > 0:
		bound := r.bound()
		for i := range bound {
			s.state.set(&bound[i])
		}
		set = &parser.Setting{Also: bound}
	case r.part < len(st.Parts):
		s.state.completed(&st.Parts[r.part], tag)
		s.completedBlock(&st.Parts[r.part])
		set = st.Parts[r.part].Setting
	}
	if setsDateStyle(set) && s.primary != nil {
		// What the server reported last is right unless it is about to report a change.
		s.state.reported("datestyle", s.primary.Param("DateStyle"))
	}
	if tag == "DEALLOCATE ALL" {
		s.state.pins.remove(parser.PinPrepare)
	}
	if tag == "DISCARD ALL" && s.keep.pin != "" || tag == "DEALLOCATE ALL" && s.keep.pin == parser.PinPrepare {
		s.keep = keep{block: true} // the replica is reset like one with an open block
	}
	r.part++
}

// setsDateStyle tells of the parameter whose value may be given by halves.
func setsDateStyle(set *parser.Setting) bool {
	if set == nil {
		return false
	}
	return set.SQL != "" && set.Name == "datestyle" ||
		slices.ContainsFunc(set.Also, func(also parser.Setting) bool { return also.SQL != "" && also.Name == "datestyle" })
}
