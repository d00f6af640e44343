package proxy

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/router"
)

// query executes a Query message where it belongs.
func (s *session) query(m *wire.Message) error {
	s.waited, s.stood = 0, false
	st := s.facts(queryText(m))
	if st.Question != nil {
		return s.answerQuery(st.Question)
	}
	d, err := s.decide(st)
	if err != nil {
		return err
	}
	if s.phaseSkipping() {
		return nil
	}
	if skipped, err := s.announce(d); skipped || err != nil {
		return err
	}
	s.routed(st, d)
	switch {
	case d.Place == router.Refused:
		return s.fail(d.Err, true)
	case d.Place == router.Replica && (s.inBlock() || d.Detached):
		return s.queryBeside(m, st, *d)
	case d.Place == router.Replica:
		reached, err := s.reach(*d, st)
		if err != nil {
			return s.failAttach(err, true)
		}
		if s.refused {
			return nil
		}
		if reached.Place == router.Replica {
			if err := s.deserted(&reached); err != nil {
				return err
			}
			s.sentToReplica(st, reached)
			return s.sendQuery(m, reply{kind: 'Q', seldom: trainingBy(&reached).sent()})
		}
	}
	return s.queryPrimary(m, st, d)
}

// queryText is the text of a Query message, or nil where it is too large to be
// looked at or lacks its terminator: the server has the say about those.
func queryText(m *wire.Message) []byte {
	if !m.Whole() {
		return nil
	}
	text, _, ok := cut(m)
	if !ok {
		return nil
	}
	return text
}

// queryPrimary sends a Query to the primary, where it may take as long as d allows.
func (s *session) queryPrimary(m *wire.Message, st *parser.Statement, d *router.Decision) error {
	s.ranOnPrimary(d.Class)
	if err := s.onPrimary(); err != nil {
		return s.failAttach(err, true)
	}
	if s.refused { // the batch before it has failed on the replica that has been left, and lacks its Sync
		return nil
	}
	if !s.ordersChanges(st) {
		if err := s.queryThere(m, st, d); err != nil || s.ordering == nil || !m.Whole() {
			return err // the rest of it has to be sent first, see piece
		}
		return s.follow() // of a batch that this ends in place of a Sync
	}
	if err := s.settle(); err != nil {
		return err
	}
	if err := s.order(st, true); err != nil {
		return s.failAttach(err, true)
	}
	if err := s.queryThere(m, st, d); err != nil {
		return err
	}
	return s.follow()
}

// queryThere sends a Query to the primary, which the session has turned to.
func (s *session) queryThere(m *wire.Message, st *parser.Statement, d *router.Decision) error {
	unseen := d.MayWrite
	if err := s.deserted(d); err != nil {
		return err
	}
	if err := s.curb(d.Timeout); err != nil {
		return err
	}
	if refused, err := s.giveNames(st); err != nil || refused {
		return err
	}
	runs := s.runs(st)
	gone, err := s.dropAll(runs)
	if err != nil {
		return err
	}
	if err := s.foresee(st); err != nil {
		return err
	}
	s.sentFor(st, runs)
	s.sentUnseen(unseen)
	if err := s.sendQuery(m, reply{kind: 'Q', statement: runs, unseen: unseen, follow: changesState(runs), name: gone, seldom: trainingBy(d).sent()}); err != nil || !m.Whole() {
		return err
	}
	return s.prove()
}

// sendQuery sends m to the current backend.
func (s *session) sendQuery(m *wire.Message, r reply) error {
	r.name = s.dropUnnamed(r.name)
	s.passing = true
	if !s.expectUnnamed(r, nil) {
		s.passing = false
		return nil
	}
	return s.pass(m)
}

// dropUnnamed follows the server, which drops the unnamed statement at every
// Query. It returns the change, joined to another that the same message makes.
func (s *session) dropUnnamed(other *nameChange) *nameChange {
	if s.lookup(nil).prepared == nil && len(s.names.log) == 0 {
		return other
	}
	c := s.change(nil, statement{})
	c.also = other
	return c
}

// queryBeside runs a statement on a replica beside the client's transaction. The
// transaction's own server hears of it only if it fails.
func (s *session) queryBeside(m *wire.Message, st *parser.Statement, d router.Decision) error {
	if !m.Whole() {
		panic("BUG: a text that could not be read was sent to a replica")
	}
	if err := s.settle(); err != nil {
		return err
	}
	if d.Detached {
		if err := s.answer(detachedNotice()); err != nil {
			return err
		}
	}
	d, err := s.reach(d, st)
	if err != nil {
		return s.failAttach(err, true)
	}
	if d.Place != router.Replica {
		return s.queryPrimary(m, st, &d)
	}
	if err := s.deserted(&d); err != nil {
		return err
	}
	s.sentToReplica(st, d)
	s.expectUnnamed(reply{kind: 'Q', action: beside, name: s.dropUnnamed(nil), seldom: trainingBy(&d).sent()}, nil)
	if err := s.pass(m); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	return s.finishBeside()
}

// finishBeside answers the ReadyForQuery after a statement beside a transaction.
func (s *session) finishBeside() error {
	s.mu.Lock()
	failed := s.phase.failed
	s.phase.failed = false
	s.mu.Unlock()
	if failed {
		return s.finishFailed()
	}
	return s.readyAfterAnswer()
}

// functionCall passes a FunctionCall to the primary; it is answered like a Query.
func (s *session) functionCall(m *wire.Message) error {
	s.waited = 0
	if s.phaseSkipping() {
		return nil
	}
	if e := s.unlooked(); e != nil {
		return s.fail(e, true)
	}
	if err := s.onPrimary(); err != nil {
		return s.failAttach(err, true)
	}
	if s.refused {
		return nil
	}
	if err := s.curb(0); err != nil {
		return err
	}
	s.mu.Lock()
	s.state.sendingUnseen()
	s.mu.Unlock()
	s.passing = true
	return s.expectAndPass(&reply{kind: 'F'}, m)
}

func detachedNotice() []byte {
	out, err := (&pgproto3.NoticeResponse{
		Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Routine: "queryBeside",
		Message: "training runs in a transaction of its own on the PostgresML server",
		Detail:  "It is committed there whatever becomes of this transaction.",
	}).Encode(nil)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return out
}
