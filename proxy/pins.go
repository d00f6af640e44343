package proxy

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
	"pgshunt/parser"
)

// pins is why a session may not leave its backend. A reason is noted when the
// statement that may make it true is sent. It goes with DISCARD ALL, or with proof:
// where a statement may have ended what pins the session, the server is asked whether
// anything is left (session.prove), and only its word lets the session go. What
// functions have made out of sight is thus not lost, and the next session gets a
// backend without traces.
type pins struct {
	// text has all reasons, "" where there is none.
	text    string
	reasons []string
	// marks counts the statements that gave a reason: a proof that was asked for before
	// one of them is worth nothing.
	marks int
	// doubt: something may have ended since the last proof.
	doubt bool
	// begins, ends, copies: what the batch being sent does to the transaction block, or
	// that the server will expect copy data.
	begins, ends, copies bool
	// discarded: DISCARD SEQUENCES has run since the sequence state was noted.
	discarded bool
	// moved is set while there is a reason, or any of begins, ends and copies.
	moved mark
}

// pinSession is the pin of pool.mode session; nothing but the end of the session removes it.
const pinSession = "session mode"

// pinTemporaryPath is the pin of a session whose search_path names pg_temp: what it
// creates is temporary without saying so.
const pinTemporaryPath = "pg_temp in search_path"

// searching notes a setting that is on its way.
func (p *pins) searching(set *parser.Setting) {
	if set.Name == "search_path" && strings.Contains(set.Value, "pg_temp") {
		p.add(pinTemporaryPath)
	}
	for i := range set.Also {
		p.searching(&set.Also[i])
	}
}

// nothing holds, for each reason that the server can judge, an expression that is true
// when it has gone. They hold in any search_path. What DISCARD TEMP drops is what
// depends on the schema of temporary objects (pg_namespace is 2615 in every version).
var nothing = map[string]string{
	parser.PinTemporary: "NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615::pg_catalog.oid" +
		" AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
	parser.PinListen:     "NOT EXISTS (SELECT FROM pg_catalog.pg_listening_channels())",
	parser.PinHoldCursor: "NOT EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)",
	parser.PinAdvisoryLock: "NOT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'" +
		" AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
	parser.PinSequence: "true", // see discarded
}

func (p *pins) add(reason string) {
	p.marks++
	p.moved.set(true)
	p.doubt = p.doubt && len(p.reasons) > 0
	if reason == parser.PinSequence {
		p.discarded = false
	}
	if !slices.Contains(p.reasons, reason) {
		p.reasons = append(p.reasons, reason)
		p.text = strings.Join(p.reasons, ", ")
	}
}

// clear removes all reasons but those that only the end of the session removes.
func (p *pins) clear() {
	forever := slices.Contains(p.reasons, pinSession)
	p.text, p.reasons = "", nil
	p.doubt, p.begins, p.ends, p.copies, p.discarded = false, false, false, false, false
	p.moved.set(false)
	if forever {
		p.add(pinSession)
	}
}

// remove removes one reason.
func (p *pins) remove(reason string) {
	if i := slices.Index(p.reasons, reason); i >= 0 {
		p.reasons = slices.Delete(p.reasons, i, i+1)
		p.text = strings.Join(p.reasons, ", ")
	}
}

// sending notes what a part that is on its way may mean for the reasons.
func (p *pins) sending(part *parser.Part) {
	if part.Pin != "" && part.Pin != parser.PinPrepare { // which sqlnames.go carries
		p.add(part.Pin)
	}
	switch part.Kind {
	case parser.Rollback, parser.RollbackTo, parser.Close, parser.Unlisten, parser.Discard:
		p.doubt = true
	default:
		p.doubt = p.doubt || part.Drops || part.Unlocks
	}
}

// within notes what a part of the batch being sent does to the transaction block.
func (p *pins) within(part *parser.Part) {
	switch part.Kind {
	case parser.Begin:
		p.begins = true
	case parser.Commit, parser.Rollback:
		p.ends = p.ends || !part.Chain
		p.begins = p.begins || part.Chain
	case parser.CopyFrom:
		p.copies = true
	default:
		return
	}
	p.moved.set(true)
}

// question is the SQL that asks whether every reason has gone, "" where that cannot
// be asked or would not help.
func (p *pins) question() string {
	var b strings.Builder
	for _, reason := range p.reasons {
		gone, known := nothing[reason]
		if !known || reason == parser.PinSequence && !p.discarded {
			return ""
		}
		if b.Len() == 0 {
			b.WriteString("SELECT ")
		} else {
			b.WriteString(" AND ")
		}
		b.WriteString(gone)
	}
	return b.String()
}

// proof is a question of ours to the primary, whose answer the client does not see.
// Guarded by link.mu.
type proof struct {
	marks int
	yes   bool
}

// prove asks the primary whether the session may leave it, behind the message that
// ends a batch; it does so only where that leaves no transaction block open, which
// must not be disturbed, and where the message is certain not to be skipped.
func (s *session) prove() error {
	if !s.state.pins.moved.is() {
		return nil
	}
	s.mu.Lock()
	p := &s.state.pins
	idle := s.status == 'I' || p.ends
	question := ""
	if p.doubt && idle && !s.open() && !p.begins && !p.copies && s.current == s.primary && s.batches() == 1 {
		question = p.question()
	}
	p.begins, p.ends, p.copies = false, false, false
	p.moved.set(p.text != "")
	marks := p.marks
	s.mu.Unlock()
	if question == "" || !s.names.certain(s) {
		return nil
	}
	if err := s.closeVerbatim(); err != nil {
		return err
	}
	s.setUnnamed(nil) // a simple query drops it
	s.expect(&reply{kind: 'Q', action: mute, seldom: &seldom{proof: &proof{marks: marks}}})
	return s.sendMessage(&pgproto3.Query{String: question})
}

// batches counts the ends of batches of the client that are still to be answered. The caller holds mu.
func (s *session) batches() (n int) {
	s.inflight.each(func(r *reply) {
		if (r.kind == 'S' || r.kind == 'Q' || r.kind == 'F') && r.action != mute {
			n++
		}
	})
	return n
}

// hear takes a message of the answer to a question of ours. The caller holds mu.
func (p *proof) hear(m *wire.Message) {
	const column = 2 + 4 // the number of columns, the length of the only one
	if body := m.Body(); m.Type == 'D' && len(body) == column+1 {
		p.yes = body[column] == 't'
	}
}

// proved ends a question of ours. The caller holds mu.
func (s *session) proved(p *proof, status byte) {
	t := &s.state
	if p.marks != t.pins.marks || t.pins.text == "" {
		return // another reason has come, and with it perhaps another doubt
	}
	if status != 'I' || s.status != 'I' {
		return
	}
	t.pins.doubt = false
	if p.yes {
		s.log.Debug("session unpinned", "reason", t.pins.text)
		t.pins.clear()
		t.temporary = nil
	}
}

// closeVerbatim gives up the names of the client's own that the backend has, since
// the session may be about to leave it.
func (s *session) closeVerbatim() error {
	closed := false
	for name, st := range s.names.statements {
		if !st.verbatim {
			continue
		}
		st.verbatim = false
		s.names.statements[name] = st
		s.expect(&reply{kind: 'C', action: mute})
		if err := s.sendMessage(closeStatement(name)); err != nil {
			return err
		}
		closed = true
	}
	if !closed {
		return nil
	}
	s.expect(&reply{kind: 'S', action: mute})
	return s.sendMessage(&pgproto3.Sync{})
}

// certain tells whether no message on its way may still change a named statement, and
// then forgets those that have.
func (n *names) certain(s *session) bool {
	s.undoNames()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range n.log {
		if c.fate != kept && (c.all || c.name != "") {
			return false
		}
	}
	n.log = slices.DeleteFunc(n.log, func(c *nameChange) bool { return c.fate == kept })
	return true
}

// pinnedHere tells whether the current backend serves this session alone, so that
// statements have the client's own names on it.
func (s *session) pinnedHere() bool {
	s.mu.Lock()
	is := s.state.pins.text != "" && s.current != nil && s.current == s.primary
	s.mu.Unlock()
	return is
}

// stayHere is pinnedHere before the backend is given a name of the client's own: a
// proof on its way, asked for before that, must not let the session leave.
func (s *session) stayHere() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	here := s.state.pins.text != "" && s.current != nil && s.current == s.primary
	if here {
		s.state.pins.marks++
	}
	return here
}

// The parameters of pgshunt itself. A server hears of them only what SQL says of them.
const (
	ownPrefix        = "pgshunt."
	pinParameter     = "pgshunt.pin" // answered with SHOW: why the session may not leave its backend
	routeParameter   = "pgshunt.route"
	explainParameter = "pgshunt.explain" // each statement is announced
)

// foresee prepares the primary for a statement that asks for what only pgshunt knows, or
// would otherwise be told what belongs to another session.
func (s *session) foresee(st *parser.Statement) error {
	if st.Plain && !s.stranger {
		return nil
	}
	s.stranger = s.stranger && st.Unparsed == ""
	for i := range st.Parts {
		p := &st.Parts[i]
		if p.Kind == parser.Show && len(p.Name) > len(ownPrefix) && strings.EqualFold(p.Name[:len(ownPrefix)], ownPrefix) {
			return s.tellOwn(strings.ToLower(p.Name))
		}
		if s.stranger && p.Pin == parser.PinSequence {
			// An error of PostgreSQL's is better than another session's currval.
			s.stranger = false
			return s.aside("DISCARD SEQUENCES")
		}
		s.stranger = s.stranger && !mayDraw(p)
	}
	return nil
}

// mayDraw tells whether a statement may take a value from a sequence, as far as anybody
// can see. That a table which is read is a view that does so is not expected.
func mayDraw(p *parser.Part) bool {
	switch p.Kind {
	case parser.Begin, parser.Commit, parser.Rollback, parser.Savepoint, parser.Release, parser.RollbackTo,
		parser.Set, parser.Reset, parser.Show, parser.Close, parser.Listen, parser.Unlisten, parser.Notify, parser.Discard:
		return false
	case parser.Select, parser.Values, parser.Declare:
		return len(p.Writes) > 0 || slices.ContainsFunc(p.Calls, func(c parser.Call) bool {
			return !c.Builtin || c.Name == "nextval" || c.Name == "setval"
		})
	}
	return true
}

// aside sends a statement of ours, whose answer nobody waits for. Within a batch it fails
// as part of that.
func (s *session) aside(sql string) error {
	s.mu.Lock()
	open := s.phase.openPrimary
	s.mu.Unlock()
	if open {
		_, err := s.runInBatch(sql, skip, reply{kind: 'E'})
		return err
	}
	s.setUnnamed(nil) // a simple query drops it
	s.expect(&reply{kind: 'Q', action: mute, seldom: &seldom{proof: &proof{marks: -1}}})
	return s.sendMessage(&pgproto3.Query{String: sql})
}

// tellOwn has the primary answer SHOW of a parameter of ours, in either protocol.
func (s *session) tellOwn(name string) error {
	s.mu.Lock()
	open := s.phase.openPrimary
	s.mu.Unlock()
	if open {
		return nil
	}
	if err := s.settle(); err != nil { // a proof may be on its way
		return err
	}
	if err := s.onPrimary(); err != nil {
		return err
	}
	s.mu.Lock()
	set, _ := s.state.local.Get(name)
	text, known := set.Value, true
	switch name {
	case pinParameter:
		text = s.state.pins.text
		if s.keep.pin != "" && s.replica != nil {
			text = s.keep.pin + " on " + s.replica.Key.Target
		}
	case explainParameter:
		text = map[bool]string{false: "off", true: "on"}[switchedOn(set.Value)]
	case routeParameter:
	default:
		known = false
	}
	s.mu.Unlock()
	if !known {
		return nil
	}
	return s.aside(setConfig(name, text))
}
