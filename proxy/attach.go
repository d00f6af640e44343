package proxy

import (
	"cmp"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// primaryTarget is the name of the primary among the targets.
const primaryTarget = "primary"

// onPrimary makes the primary current, attaching a backend if the session has
// none. After it the session may write until it parks.
func (s *session) onPrimary() error {
	if s.atPrimary() {
		return nil
	}
	s.mu.Lock()
	for s.canceled != nil && s.canceled == s.primary {
		s.wait()
	}
	if s.current != nil && s.current == s.primary {
		s.turnTo(s.primary)
		bare := (s.resets || len(s.state.bare) > 0 && s.status != 'E') && !s.phase.openPrimary
		s.mu.Unlock()
		if bare {
			return s.restoreStartup()
		}
		return nil
	}
	elsewhere := s.current != nil || s.replica != nil
	if !elsewhere && s.primary == nil {
		s.mu.Unlock()
		return s.attach(primaryTarget, 0)
	}
	s.mu.Unlock()
	if elsewhere {
		if err := s.leaveReplica(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	b := s.primary
	s.turnTo(b)
	s.mu.Unlock()
	if b != nil {
		return nil
	}
	return s.attach(primaryTarget, 0)
}

// turnTo makes b, which is attached, the current backend and lets the session's
// goroutine write to it. The caller holds mu.
func (s *session) turnTo(b *pool.Backend) {
	if b != nil {
		s.current, s.to, s.phase.writing = b, b, true
		s.toPrimary = b == s.primary
		s.phase.parted.set(false)
	}
}

// atPrimary tells without the lock that onPrimary has been called since the session
// parked and would do nothing: what is current can only have been lost meanwhile.
func (s *session) atPrimary() bool {
	return s.to != nil && s.toPrimary && s.phase.writing && !s.reset && !s.phase.parted.is()
}

// onReplica makes a replica that fits the decision current. The session is quiet.
func (s *session) onReplica(d router.Decision, st *parser.Statement) error {
	s.mu.Lock()
	b := s.replica
	fits := b != nil && d.Target == b.Key.Target
	if fits {
		s.turnTo(b)
	}
	kept := s.keep.why()
	s.mu.Unlock()
	if fits { // it may have been kept while the session changed its settings
		if err := s.catchUp(b); err != nil {
			return err
		}
		if err := s.curbHere(b, d.Timeout); err != nil {
			return err
		}
	} else {
		if b != nil && kept != "" {
			if let, err := s.loosen(); err != nil || !let {
				return cmp.Or(err, s.keptElsewhere(b.Key.Target, d, kept))
			}
		}
		s.portals = nil // they keep no replica from giving way to another
		if err := s.leaveReplica(); err != nil {
			return err
		}
		if d.Target == "" {
			return &attachError{pgerr.New(pgerr.CannotConnectNow, "no PostgresML server is available").
				WithHint("Run \"pgshunt check\" to see why.").In("onReplica")}
		}
		if err := s.attach(d.Target, d.Timeout); err != nil {
			return err
		}
	}
	return s.keepReplica(d, st)
}

// attach acquires a backend of a target, brings it to the session's settings and, on a
// replica, a bound for the statement, and makes it current. The error is for the client.
func (s *session) attach(target string, most time.Duration) error {
	p := s.pool(target)
	var b *pool.Backend
	for rule := most; ; {
		var err error
		if b, err = s.obtain(p, target); err != nil {
			return err
		}
		if s.waited > 0 {
			most = s.remaining(rule)
		}
		s.mu.Lock()
		if end := s.end; end != nil { // its transaction has been lost: nothing may run outside of it
			s.mu.Unlock()
			s.srv.pools.Release(b, pool.Clean)
			return end
		}
		if b.Attach(s) {
			break
		}
		s.mu.Unlock()
	}
	if target == primaryTarget {
		s.primary, s.last = b, b
		if s.tenant == nil {
			s.tenant = new(pool.Tenant)
		}
		s.stranger = b.Tenant != s.tenant
		b.Tenant = s.tenant
		s.state.curb = curb{}
	} else {
		s.replica = b
	}
	s.turnTo(b)
	want := s.state.local
	if target != primaryTarget {
		s.state.likePrimary(b)
		want, s.curbedThere = s.there(most), most
	}
	s.mu.Unlock()
	return s.replay(b, want)
}

// pool is where backends of a target come from, remembered for the primary.
func (s *session) pool(target string) *pool.Pool {
	if target == primaryTarget && s.who.pool != nil {
		return s.who.pool
	}
	p := s.srv.pools.Get(pool.Key{Target: target, User: s.who.user, Database: s.who.database})
	if target == primaryTarget {
		s.who.pool = p
	}
	return p
}

// replay sends the statements that bring b to the settings the session wants.
// They go out in one write with what follows them. The client does not hear of them.
//
// A setting that the server refuses does no harm but to the labels. A role is
// different: nothing may run before the server has accepted it.
func (s *session) replay(b *pool.Backend, want *pool.Settings) error {
	if b.Settings.Equal(want) {
		b.Settings = want
		return nil
	}
	statements, sameRole := b.Settings.Replay(want), b.Settings.SameIdentity(want)
	b.Settings = want
	for _, sql := range statements {
		if sql == "" {
			continue // a setting of pgshunt itself
		}
		s.expect(&reply{kind: 'Q', action: mute})
		if err := s.sendMessage(&pgproto3.Query{String: sql}); err != nil {
			return err
		}
		s.setUnnamed(nil) // a simple query drops it
	}
	if sameRole {
		return nil
	}
	if err := s.settle(); err != nil {
		return err
	}
	s.mu.Lock()
	stale, refusal := b.Stale, s.refusal
	if stale {
		s.takeOff(b)
	}
	s.mu.Unlock()
	if !stale {
		return nil
	}
	s.srv.pools.Release(b, pool.Broken)
	if refusal == nil {
		refusal = pgerr.New(pgerr.ConnectionFailure, "the server did not accept the session's settings").In("replay")
	}
	return &attachError{refusal}
}

// takeOff forgets a backend that the session has not used yet. The caller holds mu.
func (s *session) takeOff(b *pool.Backend) {
	if s.primary == b {
		s.primary = nil
	}
	if s.replica == b {
		s.replica, s.keep = nil, keep{}
	}
	s.current, s.to, s.refusal = nil, nil, nil
}

// sendMessage encodes and sends a message made here.
func (s *session) sendMessage(m pgproto3.FrontendMessage) error {
	out, err := m.Encode(nil)
	if err != nil {
		return pgerr.New(pgerr.ProgramLimit, "message too large").Because(err)
	}
	return s.send(out)
}

// settle waits until everything sent has been answered. Within an open batch it
// asks the server to answer now.
func (s *session) settle() error {
	var w *watch
	defer func() { w.stop() }()
	for {
		open, err := s.askForAnswers()
		if err != nil {
			return err
		}
		s.mu.Lock()
		for !s.quiet() && s.end == nil && !s.phase.copyIn.is() && s.open() == open {
			w = s.waitWatched(w)
		}
		done, end := s.quiet() || s.end != nil || s.phase.copyIn.is(), s.end
		s.mu.Unlock()
		if done {
			return end
		}
	}
}

// askForAnswers has the server answer what has been sent, also within an open batch.
// open tells whether the batch was open then: one that turns out to have lost its Sync
// among copy data is open only later, and the server must be asked once more.
func (s *session) askForAnswers() (open bool, err error) {
	s.mu.Lock()
	open = s.open()
	ask := open && s.inflight.len() > 0 && !s.phase.copyIn.is()
	if ask {
		s.turnTo(s.current)
	}
	s.mu.Unlock()
	if ask {
		if err := s.sendMessage(&pgproto3.Flush{}); err != nil {
			return open, err
		}
	}
	if err := s.flush(); err != nil {
		return open, err
	}
	return open, s.flushFakes()
}

// leaveReplica ends what the session does on a replica. In an open batch the
// replica gets a Sync of its own, whose ReadyForQuery is not for the client.
func (s *session) leaveReplica() error {
	if err := s.settle(); err != nil {
		return err
	}
	s.mu.Lock()
	s.skipForLost()
	b := s.replica
	open, failed := s.phase.openReplica, s.phase.skipping.is()
	if open {
		s.turnTo(b)
	}
	s.mu.Unlock()
	if b == nil {
		return nil
	}
	if open {
		if !failed {
			if err := s.keepPortals(b); err != nil {
				return err
			}
		}
		s.expect(&reply{kind: 'S', action: skip})
		if err := s.sendMessage(&pgproto3.Sync{}); err != nil {
			return err
		}
		if err := s.takeBackNames(); err != nil {
			return err
		}
		if err := s.settle(); err != nil {
			return err
		}
		s.refused = s.refused || failed
	}
	s.mu.Lock()
	s.awaitCancels()
	b = s.replica
	if s.current == b {
		s.current = nil
	}
	if s.keep.why() != "" {
		b = nil
	} else {
		s.replica = nil
		s.letGo(b)
	}
	s.mu.Unlock()
	s.release(parting{clean: b})
	return nil
}

// letGo has the session's goroutine not write to b any more, which is about to be given
// back and may be another session's at once.
func (s *session) letGo(b *pool.Backend) {
	if s.to == b {
		s.to = nil
	}
}

// parting holds backends that have been taken off a session and are still to be
// given back, which is done without the lock.
type parting struct {
	clean *pool.Backend // outside a transaction
	block *pool.Backend // in a transaction block, which ends with this as end says
	end   pool.State
}

// detachIfDone takes off the session what nothing keeps there: every reply is
// in, no transaction is open and nothing pins it. The caller holds mu and passes
// the result to release after unlocking.
func (s *session) detachIfDone() (p parting) {
	b := s.current
	if s.phase.writing || s.open() || s.cancels > 0 || s.inflight.len() > 0 || s.phase.relaying {
		return p
	}
	if s.keep.block && s.keep.pin == "" && (s.status == 'I' && !s.phase.openPrimary || s.keep.over) {
		p.block, p.end = s.replica, s.keep.end(s.replica)
		s.keep, s.replica = keep{}, nil
		if b == p.block {
			s.current = s.primary
			return p
		}
	}
	switch {
	case b == nil:
	case b == s.replica:
		s.current = s.primary
		if s.keep.why() == "" {
			s.replica, p.clean = nil, b
		}
	case s.status == 'I' && s.state.pins.text == "" && s.end == nil:
		s.primary, s.current = nil, nil
		b.Settings = s.state.bounded(s.state.label())
		p.clean = b
	}
	return p
}

func (s *session) release(p parting) {
	if p.clean != nil {
		s.srv.pools.Release(p.clean, pool.Clean)
	}
	if p.block != nil {
		s.srv.pools.Release(p.block, p.end)
	}
}
