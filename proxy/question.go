package proxy

import (
	"bytes"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/parser"
)

// A question (parser.Question) is answered here and no server hears of it. In the
// extended protocol it is a prepared statement and a portal like any other to the
// client; each of its messages is answered at once, after all that came before.

// inquiry is a prepared statement that asks pgshunt.
type inquiry struct {
	*parser.Question
	// types are what Parse said of the parameters of the text that is asked about.
	types []uint32
}

// asked is the portal of an inquiry.
type asked struct {
	inquiry *inquiry
	// bind is the Bind message; formats are those that it asks for.
	bind    wire.Message
	formats []int16
	// rows are still to be sent, once answered is set.
	rows     [][]byte
	answered bool
	// batch and block tell how long the portal lasts: as PostgreSQL's, to the end of its
	// transaction.
	batch uint64
	block bool
	after uint64 // how many transactions had ended
}

// errBlockFailed has PostgreSQL's words.
func errBlockFailed() *pgerr.Error {
	return pgerr.New(pgerr.InFailedTransaction, "current transaction is aborted, commands ignored until end of transaction block").In("beforeAnswer")
}

// beforeAnswer waits until everything before a question has been answered. done means that
// the message has been dealt with: the server skips it, or the transaction has failed.
func (s *session) beforeAnswer(simple bool) (done bool, err error) {
	s.rec.cannot()
	if err := s.settle(); err != nil {
		return true, err
	}
	if s.phaseSkipping() {
		return true, nil
	}
	s.endBlock()
	s.look()
	if s.view.Failed {
		return true, s.fail(errBlockFailed(), simple)
	}
	return false, nil
}

// answerQuery answers a Query message that is a question.
func (s *session) answerQuery(q *parser.Question) error {
	if done, err := s.beforeAnswer(true); done || err != nil {
		return err
	}
	if c := s.dropUnnamed(nil); c != nil {
		c.fate = kept
	}
	rows, e := s.rowsFor(&inquiry{Question: q}, nil, nil)
	if e != nil {
		return s.fail(e, true)
	}
	out := describeAnswer(q, nil)
	for _, row := range rows {
		out = append(out, row...)
	}
	if err := s.answer(append(out, completeAnswer(q)...)); err != nil {
		return err
	}
	return s.readyAfterAnswer()
}

// readyAfterAnswer ends a Query. A batch of the extended protocol that was open before
// ends with it, as on a server.
func (s *session) readyAfterAnswer() error {
	if err := s.leaveReplica(); err != nil {
		return err
	}
	s.mu.Lock()
	open := s.primary != nil && s.phase.openPrimary
	s.mu.Unlock()
	if !open {
		return s.answer(fakeReply('S', s.currentStatus()))
	}
	if err := s.onPrimary(); err != nil {
		return err
	}
	s.expect(&reply{kind: 'S'})
	return s.sendMessage(&pgproto3.Sync{})
}

// parseQuestion handles a Parse message. A server that is to know the statement by SQL
// gets one in its place that fails when it is executed.
func (s *session) parseQuestion(name string, body []byte, st *parser.Statement) error {
	if done, err := s.beforeAnswer(false); done || err != nil {
		return err
	}
	inUse, err := s.known([]byte(name))
	if err != nil {
		return err
	}
	if name != "" && inUse.prepared != nil {
		return s.fail(pgerr.New(pgerr.DuplicateStatement, "prepared statement %q already exists", name).In("parseQuestion"), false)
	}
	inPlace := "EXPLAIN (ROUTE) SELECT " + quoteLiteral(st.Question.Text) + "\x00\x00\x00"
	known := statement{
		facts: st, prepared: s.srv.catalog.Prepared([]byte(inPlace), s.signature()), since: s.srv.catalog.Tick(), described: new(bool),
		inquiry: &inquiry{Question: st.Question, types: parameterTypes(string(body))},
	}
	if e := s.roomFor(name, known); e != nil && name != "" {
		return s.fail(e, false)
	}
	s.change([]byte(name), known).fate = kept
	return s.answer([]byte{'1', 0, 0, 0, 4})
}

// bindQuestion handles a Bind message. Its parameters are those of the text that is
// asked about, and may be anything.
func (s *session) bindQuestion(m *wire.Message, portalName string, known statement) error {
	if done, err := s.beforeAnswer(false); done || err != nil {
		return err
	}
	if portalName != "" {
		if done, err := s.claimPortal(portalName); done || err != nil {
			return err
		}
	}
	var b pgproto3.Bind
	if !m.Whole() {
		return s.fail(pgerr.New(pgerr.ProgramLimit, "the parameters are too long to be explained").In("bindQuestion"), false)
	}
	if b.Decode(m.Body()) != nil {
		return pgerr.Fatal(pgerr.ProtocolViolation, "invalid Bind message").In("bindQuestion")
	}
	if have, want := len(b.Parameters), s.parametersOf(known.inquiry); have != want {
		return s.fail(pgerr.New(pgerr.ProtocolViolation, "bind message supplies %d parameters, but prepared statement %q requires %d",
			have, known.name, want).In("bindQuestion"), false)
	}
	if have, want := len(b.ResultFormatCodes), len(columnsOf(known.inquiry.Question)); have > 1 && have != want {
		return s.fail(pgerr.New(pgerr.ProtocolViolation, "bind message has %d result formats but query has %d columns", have, want).
			In("bindQuestion"), false)
	}
	s.names.bind([]byte(portalName), portal{asked: &asked{
		inquiry: known.inquiry, formats: slices.Clone(b.ResultFormatCodes), batch: s.names.batch, block: s.inBlock(), after: s.transactions(),
		bind: wire.Message{Type: m.Type, First: true, Data: bytes.Clone(m.Data)},
	}})
	return s.answer([]byte{'2', 0, 0, 0, 4})
}

// lives tells whether the portal is still there.
func (s *session) lives(p *asked) bool {
	return p != nil && (p.batch == s.names.batch || p.block && s.inBlock() && p.after == s.transactions())
}

// transactions counts those that have ended.
func (s *session) transactions() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.ended
}

// errDuplicatePortal has PostgreSQL's words.
func errDuplicatePortal(name string) *pgerr.Error {
	return pgerr.New(pgerr.DuplicateCursor, "cursor %q already exists", name).In("claimPortal")
}

// claimPortal fails where a portal or cursor has the name already. Those of the server it knows
// best itself: it is asked by a Bind of ours. done means that the batch has failed.
func (s *session) claimPortal(name string) (done bool, err error) {
	if s.lives(s.names.portal([]byte(name)).asked) {
		return true, s.fail(errDuplicatePortal(name), false)
	}
	s.mu.Lock()
	here := s.open() || s.primary != nil && s.status == 'T'
	s.mu.Unlock()
	if !here {
		return false, nil
	}
	if done, err := s.stay(); done || err != nil {
		return done, err
	}
	for _, step := range [...]struct {
		kind byte
		m    pgproto3.FrontendMessage
	}{
		{'C', closeStatement(lender)},
		{'P', &pgproto3.Parse{Name: lender}},
		{'B', &pgproto3.Bind{DestinationPortal: name, PreparedStatement: lender}},
		{'C', &pgproto3.Close{ObjectType: 'P', Name: name}},
		{'C', closeStatement(lender)},
	} {
		if !s.expect(&reply{kind: step.kind, action: skip}) {
			return true, nil
		}
		if err := s.sendMessage(step.m); err != nil {
			return true, err
		}
	}
	if err := s.settle(); err != nil {
		return true, err
	}
	return s.phaseSkipping(), nil
}

// parametersOf counts the parameters of the text that is asked about.
func (s *session) parametersOf(q *inquiry) int {
	n := len(q.types)
	st := s.facts([]byte(q.Text))
	for i := range st.Parts {
		n = max(n, st.Parts[i].Parameters)
	}
	return n
}

// describeQuestion handles a Describe message of a statement. The types of parameters
// that Parse has left open stay so: no server has been asked what they are.
func (s *session) describeQuestion(q *inquiry) error {
	if done, err := s.beforeAnswer(false); done || err != nil {
		return err
	}
	types := make([]uint32, s.parametersOf(q))
	copy(types, q.types)
	out, err := (&pgproto3.ParameterDescription{ParameterOIDs: types}).Encode(nil)
	if err != nil {
		panic("BUG: " + err.Error()) // 65,535 parameters are no 1 GB
	}
	return s.answer(append(out, describeAnswer(q.Question, nil)...))
}

// describeAsked handles a Describe message of a portal.
func (s *session) describeAsked(p *asked, name string) error {
	if done, err := s.beforeAsked(p, name); done || err != nil {
		return err
	}
	return s.answer(describeAnswer(p.inquiry.Question, p.formats))
}

// beforeAsked is beforeAnswer for a portal, which may have gone with its transaction.
func (s *session) beforeAsked(p *asked, name string) (done bool, err error) {
	if done, err := s.beforeAnswer(false); done || err != nil {
		return true, err
	}
	if !s.lives(p) {
		return true, s.fail(pgerr.New(pgerr.UndefinedPortal, "portal %q does not exist", name).In("beforeAsked"), false)
	}
	return false, nil
}

// executeAsked handles an Execute message: most rows at a time, all where that is 0.
func (s *session) executeAsked(p *asked, name string, most uint32) error {
	if done, err := s.beforeAsked(p, name); done || err != nil {
		return err
	}
	if !p.answered {
		rows, e := s.rowsFor(p.inquiry, &p.bind, p.formats)
		if e != nil {
			return s.fail(e, false)
		}
		p.rows, p.answered = rows, true
	}
	n := len(p.rows)
	if most > 0 {
		n = min(n, int(min(most, 1<<30)))
	}
	var out []byte
	for _, row := range p.rows[:n] {
		out = append(out, row...)
	}
	if p.rows = p.rows[n:]; most > 0 && n == int(most) {
		return s.answer(append(out, 's', 0, 0, 0, 4))
	}
	return s.answer(append(out, completeAnswer(p.inquiry.Question)...))
}

// closeAsked handles a Close message of a portal.
func (s *session) closeAsked(name string) error {
	s.rec.cannot()
	if err := s.settle(); err != nil || s.phaseSkipping() {
		return err
	}
	s.names.bind([]byte(name), portal{})
	return s.answer(fakeReply('C', 0))
}

// completeAnswer is the CommandComplete of an answer.
func completeAnswer(q *parser.Question) []byte {
	tag := "EXPLAIN"
	if q.Show {
		tag = "SHOW"
	}
	out, _ := (&pgproto3.CommandComplete{CommandTag: []byte(tag)}).Encode(nil) // fails only above 1 GB
	return out
}
