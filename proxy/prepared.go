package proxy

import (
	"pgshunt/pool"
)

// ensure has the current backend prepare a named statement unless it has it, and
// returns what the backend has. Where it must be prepared anew and the session's
// settings have changed since the client's Parse, it is another statement, which
// those who still have the old settings must not be given.
func (s *session) ensure(st statement) (*pool.Prepared, error) {
	p := st.prepared
	if borrows(st.facts) {
		if err := s.settle(); err != nil {
			return p, err
		}
		if s.currentStatus() != 'E' { // nothing can be prepared in a failed transaction
			st.since = s.srv.catalog.Tick() // another session's copy has the columns of another statement
		}
	}
	if has, err := s.has(p.Name, st); has || err != nil {
		return p, err
	}
	if err := s.settleSettings(); err != nil {
		return p, err
	}
	if under := s.signature(); under != p.Under {
		p = s.srv.catalog.Prepared([]byte(p.Body), under)
		st.prepared = p
		if has, err := s.has(p.Name, st); has || err != nil {
			return p, err
		}
	}
	if e := s.foreignType(p); e != nil {
		return p, &attachError{e}
	}
	return p, s.inject(p)
}

// has tells whether the current backend has a statement under a name, in a copy
// that is young enough. A copy that was sent in an earlier batch is waited for.
func (s *session) has(name string, st statement) (bool, error) {
	since := s.usableSince(st)
	has, uncertain := s.to.Has(name, st.prepared, since, s.names.batch+1)
	if !uncertain {
		return has, nil
	}
	if err := s.settle(); err != nil {
		return false, err
	}
	has, _ = s.to.Has(name, st.prepared, since, s.names.batch+1)
	return has, nil
}

// describing notes that the client asks for the columns of a statement.
func describing(described *bool) {
	if described != nil {
		*described = true
	}
}

// willHold notes that a message about to be sent has the current backend prepare p.
func (s *session) willHold(name string, p *pool.Prepared) {
	s.to.Hold(name, p, s.srv.catalog.Now(), s.names.batch+1)
}

// ensureUnnamed makes the backend's unnamed statement the session's own, also
// when the session has none: another session's must not be run in its place.
func (s *session) ensureUnnamed(st statement) error {
	p := st.prepared
	if same, err := s.hasUnnamed(p, s.usableSince(st)); same || err != nil {
		return err
	}
	if p == nil {
		if !s.expectUnnamed(reply{kind: 'C', action: skip}, nil) {
			return nil
		}
		return s.sendMessage(closeStatement(""))
	}
	if err := s.settleSettings(); err != nil {
		return err
	}
	if under := s.signature(); under != p.Under {
		p = s.srv.catalog.Prepared([]byte(p.Body), under)
		s.names.unnamed.prepared = p
	}
	if e := s.foreignType(p); e != nil {
		return &attachError{e}
	}
	if !s.expectUnnamed(reply{kind: 'P', action: skip}, p) {
		return nil
	}
	return s.send(parseMessage("", p.Body))
}

// hasUnnamed tells whether the current backend has p as its unnamed statement, in a copy
// that dates from since or later. What an earlier batch makes of it is waited for.
func (s *session) hasUnnamed(p *pool.Prepared, since uint64) (bool, error) {
	if l := &s.laid; l.p == p && l.b == s.to && l.batch == s.names.batch && l.at >= since && p != nil {
		return true, nil
	}
	s.mu.Lock()
	same := s.to.Unnamed == p && s.to.UnnamedAt >= since
	uncertain := same && s.replacedIn != s.names.batch+1 && s.inflight.replacing(s.replaced)
	s.mu.Unlock()
	if !uncertain {
		return same, nil
	}
	if err := s.settle(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Unnamed == p && s.to.UnnamedAt >= since, nil
}

// laid is the unnamed statement that has been sent last, as long as nothing sent later
// replaces it: what follows in the same batch finds it there, or is skipped together with it.
type laid struct {
	b         *pool.Backend
	p         *pool.Prepared
	at, batch uint64
}

// expectUnnamed is expectChange for a message that makes p the unnamed statement of the
// current backend; where the message is going to be skipped, nobody knows what that is.
func (s *session) expectUnnamed(r reply, p *pool.Prepared) bool {
	s.untouched = false
	s.mu.Lock()
	s.replaced++
	r.unnamed, s.replacedIn = s.replaced, s.names.batch+1
	will := s.enqueue(&r)
	s.laid = laid{}
	if will {
		at := s.srv.catalog.Now()
		s.to.Unnamed, s.to.UnnamedAt = p, at
		s.laid = laid{b: s.to, p: p, at: at, batch: s.names.batch}
	} else {
		s.undoName(r.name, skipped)
	}
	s.mu.Unlock()
	return will
}

// setUnnamed notes what the unnamed statement of the current backend is going to
// be. The backend's goroutine takes it back where that fails.
func (s *session) setUnnamed(p *pool.Prepared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaced++
	s.laid = laid{}
	s.to.Unnamed, s.to.UnnamedAt = p, s.srv.catalog.Now()
}

// inject sends a Parse of ours. A Close goes before it, since a name of which we
// do not know may still be there from a Parse that was thought to have failed.
func (s *session) inject(p *pool.Prepared) error {
	if !s.expect(&reply{kind: 'C', action: skip}) {
		return nil
	}
	if err := s.sendMessage(closeStatement(p.Name)); err != nil {
		return err
	}
	s.willHold(p.Name, p)
	if err := s.evict(skip); err != nil {
		return err
	}
	return s.sendHeld(reply{kind: 'P', action: skip, seldom: creates(p, p.Name)}, parseMessage(p.Name, p.Body))
}

// evict closes what had to make room on the current backend.
func (s *session) evict(act action) error {
	if s.pinnedHere() {
		return nil // its statements are the client's own business
	}
	for _, name := range s.to.Excess(s.names.batch + 1) {
		if err := s.closeHeld(name, act); err != nil {
			return err
		}
	}
	return nil
}

// sendHeld sends the message that has the current backend prepare what r creates. Where the
// server is skipping to a Sync, of which we may have heard just now, it will not have it.
func (s *session) sendHeld(r reply, m []byte) error {
	if !s.expectChange(&r) {
		s.to.Forget(r.seldom.heldAs, r.seldom.held)
		return nil
	}
	return s.send(m)
}

// closeHeld closes a statement of the current backend that is counted on no more.
func (s *session) closeHeld(name string, act action) error {
	if !s.expect(&reply{kind: 'C', action: act, seldom: creates(nil, name)}) {
		s.to.Forget(name, nil)
		return nil
	}
	return s.sendMessage(closeStatement(name))
}
