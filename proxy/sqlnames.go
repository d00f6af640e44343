package proxy

import (
	"slices"
	"strings"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
)

// SQL knows prepared statements by the client's own names: PREPARE gives them,
// EXECUTE and DEALLOCATE use them, whether SQL or the protocol has made the statement.
// Before a text with such names is sent, the current backend is made to have under
// each name what the session has, or nothing. So the server runs, drops and complains
// as if the session were alone with it, and the session may leave it afterwards.
// What has become of a PREPARE or DEALLOCATE is read from its command tag.

// giveNames makes the current backend ready for the text of a Query; refused means that
// the text has been answered, or is skipped.
func (s *session) giveNames(st *parser.Statement) (refused bool, err error) {
	if st.Plain {
		return false, nil
	}
	open := usesNames(st) && s.openNow()
	if open { // the batch before may fail, and the server then skips the Query
		if err := s.settle(); err != nil || s.phaseSkipping() {
			return true, err
		}
	}
	lent, refused, err := s.borrow(st, mute)
	if err != nil || refused || !lent {
		return refused, err
	}
	return s.endLending(open)
}

// borrow gives the current backend what a text names. For the extended protocol it is
// called at Parse and at Bind: a server takes the columns of an EXECUTE from what
// the name means then, and crashes if it means something else at Execute.
func (s *session) borrow(st *parser.Statement, act action) (lent, refused bool, err error) {
	if st.Plain {
		return false, false, nil
	}
	return s.borrowFor(st, act, maxExecutes)
}

// maxExecutes is how deep statements may be that EXECUTE others.
const maxExecutes = 8

func (s *session) borrowFor(st *parser.Statement, act action, depth int) (lent, refused bool, err error) {
	for i := range st.Parts {
		p := &st.Parts[i]
		sent := false
		switch {
		case namesStatement(p):
			var e *pgerr.Error
			if sent, e, err = s.lendNamed(p, act); e != nil {
				return false, true, s.fail(e, act == mute)
			}
			if inner := s.executed(p); err == nil && inner != nil && depth > 0 {
				lent = lent || sent
				if sent, refused, err = s.borrowFor(inner, act, depth-1); refused {
					return false, true, err
				}
			}
		case seesNames(p):
			sent, err = s.lendAll(act)
		}
		if err != nil {
			return false, false, err
		}
		lent = lent || sent
	}
	return lent, false, nil
}

// executed is what is known of the statement that a part executes, nil where it
// executes none.
func (s *session) executed(p *parser.Part) *parser.Statement {
	if p.Name == "" || p.Kind != parser.Execute && p.Body != parser.Execute {
		return nil
	}
	return s.lookup([]byte(p.Name)).facts
}

// runs returns what a text does when it runs: with the statements of the protocol or of
// SQL that it executes in place of EXECUTE. They may be anything.
func (s *session) runs(st *parser.Statement) *parser.Statement {
	if st.Plain {
		return st
	}
	for i, depth := 0, maxExecutes; i < len(st.Parts); {
		inner := s.executed(&st.Parts[i])
		if st.Parts[i].Kind != parser.Execute || inner == nil || len(inner.Parts) != 1 || depth == 0 {
			i, depth = i+1, maxExecutes
			continue
		}
		depth--
		if len(st.Parts) == 1 {
			st = inner
			continue
		}
		whole := &parser.Statement{Text: st.Text + ";" + inner.Text, Parts: slices.Clone(st.Parts)}
		part := inner.Parts[0]
		part.Start += len(st.Text) + 1
		part.End += len(st.Text) + 1
		whole.Parts[i] = part
		st = whole
	}
	return st
}

// sentFor notes that a text is on its way, and what it runs.
func (s *session) sentFor(st, runs *parser.Statement) {
	s.sent(st)
	if st.Plain {
		return
	}
	for i := range st.Parts {
		if inner := s.executed(&st.Parts[i]); inner != nil && inner != runs {
			s.sent(inner) // by EXPLAIN ANALYZE and the like
		}
	}
	if runs == st {
		return
	}
	s.sent(runs)
	if parametric(runs) {
		s.pin(parser.PinSetting)
	}
}

// dropAll notes what a text that is about to run does to all names, and that it may
// change some.
func (s *session) dropAll(st *parser.Statement) (all *nameChange, err error) {
	if st.Plain {
		return nil, nil
	}
	for i := range st.Parts {
		switch p := &st.Parts[i]; {
		case p.Kind == parser.Discard && p.Setting != nil, p.Kind == parser.Deallocate && p.Name == "":
			if _, err := s.known(nil); err != nil { // what SQL has made before is among all names
				return nil, err
			}
			all = s.changeAll()
			s.to.ForgetAll()
			s.names.bySQL = true
		case p.Kind == parser.Prepare, p.Kind == parser.Deallocate:
			s.names.bySQL = true
		}
	}
	return all, nil
}

// borrows tells whether the text of a statement names others, so that what a server
// has made of it holds for one session only.
func borrows(st *parser.Statement) bool {
	if st.Plain {
		return false
	}
	for i := range st.Parts {
		if namesStatement(&st.Parts[i]) {
			return true
		}
	}
	return false
}

// usesNames tells whether a text needs the names of the session on its server.
func usesNames(st *parser.Statement) bool {
	return slices.ContainsFunc(st.Parts, func(p parser.Part) bool { return namesStatement(&p) || seesNames(&p) })
}

// namesStatement tells whether a part names a prepared statement.
func namesStatement(p *parser.Part) bool {
	return p.Name != "" && (p.Kind == parser.Execute || p.Kind == parser.Prepare || p.Kind == parser.Deallocate || p.Body == parser.Execute)
}

// seesNames tells whether a part may look at, or run, any prepared statement.
func seesNames(p *parser.Part) bool {
	if p.Opaque || p.Kind == parser.Do {
		return true
	}
	for _, r := range p.Reads {
		if r.Name == "pg_prepared_statements" {
			return true
		}
	}
	for i := range p.Calls {
		if p.Calls[i].Name == "pg_prepared_statement" {
			return true
		}
	}
	return false
}

// namesCompleted follows a statement that has prepared or dropped others; tag is its
// command tag. It runs on the backend's goroutine; the caller holds mu.
func (s *session) namesCompleted(b *pool.Backend, st *parser.Statement, part int, tag string) {
	var c *nameChange
	switch {
	case tag == "DEALLOCATE ALL", tag == "DISCARD ALL":
		b.AllGone()
		b.Unnamed = unsure // perhaps by EXECUTE
		c = &nameChange{all: true}
	case st.Unparsed != "":
		if tag == "PREPARE" {
			s.state.pins.add(parser.PinPrepare) // under a name that nobody here could read
		}
		return
	case part >= len(st.Parts):
		return
	case tag == "DEALLOCATE":
		c = &nameChange{name: st.Parts[part].Name}
		b.Gone(c.name)
	case tag == "PREPARE" && st.Parts[part].Kind == parser.Prepare:
		p := s.srv.catalog.PreparedBySQL(textOf(st, part), s.state.local.Signature())
		now := s.srv.catalog.Tick()
		name := st.Parts[part].Name
		c = &nameChange{name: name, after: statement{name: name, facts: bodyOf(st, part), prepared: p, since: now}}
		b.Hold(c.name, p, now, 0)
	default:
		return
	}
	c.fate = kept
	s.bySQL = append(s.bySQL, c)
	s.renamed.set(true)
}

// textOf is the text of one statement; where it is the only one, with what is around
// it, since pg_prepared_statements shows it.
func textOf(st *parser.Statement, part int) string {
	if len(st.Parts) == 1 {
		return st.Text
	}
	return strings.TrimSpace(st.Text[st.Parts[part].Start:st.Parts[part].End])
}

// bodyOf is the statement that a PREPARE carries.
func bodyOf(st *parser.Statement, part int) *parser.Statement {
	body := st.Parts[part]
	body.Kind, body.Body, body.Name = body.Body, parser.Other, ""
	if body.Pin == parser.PinPrepare {
		body.Pin = ""
	}
	return &parser.Statement{Text: st.Text, Parts: []parser.Part{body}}
}

// placeStatement decides where a message about a prepared statement goes. What SQL
// has prepared is on the primary.
func (s *session) placeStatement(st statement, bind *wire.Message) (done bool, err error) {
	switch {
	case st.facts == nil:
		return s.stay()
	case st.prepared == nil || !st.prepared.SQL:
		return s.place(st.facts, st.prepared, bind)
	case s.phaseSkipping():
		return true, nil
	}
	s.unseen, s.toTrain = true, nil
	if err := s.onPrimary(); err != nil {
		return true, s.failAttach(err, false)
	}
	return s.refused, s.curb(0)
}
