package proxy

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/pool"
)

// lendNamed makes the name of one part mean on the current backend what it means to
// the session. sent tells whether messages of ours are on their way.
func (s *session) lendNamed(p *parser.Part, act action) (sent bool, e *pgerr.Error, err error) {
	known, err := s.known([]byte(p.Name))
	if err != nil {
		return false, nil, err
	}
	if known.prepared != nil {
		sent, err = s.lend(p.Name, known, act)
		return sent, nil, err
	}
	if p.Kind == parser.Prepare {
		if e := s.roomFor(p.Name, statement{prepared: &pool.Prepared{Body: p.Name}}); e != nil {
			return false, e, nil
		}
	}
	sent, err = s.closeStrange(p.Name, act)
	return sent, nil, err
}

// closeStrange closes what the current backend has under a name that the session has
// given to nothing: another session has left it there.
func (s *session) closeStrange(name string, act action) (sent bool, err error) {
	batch := s.names.batch + 1
	if !s.to.Taken(name, batch) {
		return false, nil
	}
	s.to.Closing(name, batch)
	return true, s.closeHeld(name, act)
}

// lend gives a statement the name by which the client knows it on the current backend,
// unless it has it there. It is prepared anew in the way in which it was made.
func (s *session) lend(name string, st statement, act action) (sent bool, err error) {
	if st.verbatim && s.pinnedHere() || s.currentStatus() == 'E' {
		return false, nil // in a failed transaction nothing can be prepared, and nothing runs
	}
	if has, err := s.has(name, st); has || err != nil {
		return false, err
	}
	if err := s.settleSettings(); err != nil {
		return false, err
	}
	p := st.prepared
	if under := s.signature(); under != p.Under {
		p = s.srv.catalog.Again(p, under)
		st.prepared = p
		if has, err := s.has(name, st); has || err != nil {
			return false, err
		}
	}
	if act == mute {
		_ = s.forgetComplaint() // of an earlier one
	}
	if !s.expect(&reply{kind: 'C', action: act}) {
		return false, nil
	}
	if err := s.sendMessage(closeStatement(name)); err != nil {
		return false, err
	}
	s.willHold(name, p)
	if err := s.evict(act); err != nil {
		return false, err
	}
	if p.SQL {
		return true, s.prepareBySQL(name, p, act)
	}
	return true, s.sendHeld(reply{kind: 'P', action: act, seldom: creates(p, name)}, parseMessage(name, p.Body))
}

// lender names the statement and the portal that run a statement of ours within a batch.
const lender = "pgshunt_prepare"

// prepareBySQL runs a PREPARE statement again.
func (s *session) prepareBySQL(name string, p *pool.Prepared, act action) error {
	will, err := s.runInBatch(p.Body, act, reply{kind: 'E', seldom: creates(p, name)})
	if !will && err == nil {
		s.to.Forget(name, p)
	}
	return err
}

// runInBatch runs a statement of ours in the extended protocol, so that it may stand
// within a batch. execute is the reply to its Execute; will is false where the server is
// skipping and will not see that.
func (s *session) runInBatch(sql string, act action, execute reply) (will bool, err error) {
	for _, step := range [...]struct {
		r reply
		m pgproto3.FrontendMessage
	}{
		{reply{kind: 'C'}, closeStatement(lender)},
		{reply{kind: 'P'}, &pgproto3.Parse{Name: lender, Query: sql}},
		{reply{kind: 'B'}, &pgproto3.Bind{DestinationPortal: lender, PreparedStatement: lender}},
		{execute, &pgproto3.Execute{Portal: lender}},
		{reply{kind: 'C'}, &pgproto3.Close{ObjectType: 'P', Name: lender}},
		{reply{kind: 'C'}, closeStatement(lender)},
	} {
		step.r.action = act
		if !s.expect(&step.r) {
			return will, nil
		}
		if err := s.sendMessage(step.m); err != nil {
			return will, err
		}
		will = will || step.r.kind == 'E'
	}
	return true, nil
}

// lendAll gives the current backend every statement of the session that SQL has
// prepared, and takes away those that others have left there.
func (s *session) lendAll(act action) (sent bool, err error) {
	if _, err := s.known(nil); err != nil {
		return false, err
	}
	here := s.pinnedHere()
	strange := s.to.Strange(s.names.batch+1, func(name string, p *pool.Prepared) bool {
		st := s.names.get(name)
		return st.prepared != nil && (st.prepared == p || st.verbatim && here)
	})
	for _, name := range strange {
		if err := s.closeHeld(name, act); err != nil {
			return false, err
		}
	}
	sent = len(strange) > 0
	for name, st := range s.names.statements {
		if st.prepared.SQL {
			one, err := s.lend(name, st, act)
			if err != nil {
				return false, err
			}
			sent = sent || one
		}
	}
	return sent, nil
}

// endLending waits until the server has what a Query is going to name: its error, if
// it has one, is the answer to the Query. An error makes the server skip to a Sync,
// so that there must be one; but a Sync would end the transaction of an open batch, where
// it comes only after an error.
func (s *session) endLending(open bool) (refused bool, err error) {
	if open {
		if err := s.settle(); err != nil || !s.phaseSkipping() {
			return false, err
		}
	}
	s.expect(&reply{kind: 'S', action: mute})
	if err := s.sendMessage(&pgproto3.Sync{}); err != nil {
		return false, err
	}
	if err := s.settle(); err != nil {
		return false, err
	}
	e := s.forgetComplaint()
	if e == nil {
		return false, nil
	}
	return true, s.fail(e, true)
}

// forgetComplaint returns what a server has said of a statement lent to it.
func (s *session) forgetComplaint() *pgerr.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.complaint
	s.complaint = nil
	return e
}
