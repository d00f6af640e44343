package proxy

import (
	"encoding/binary"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// parse handles a Parse message: the statement is prepared where it will run.
func (s *session) parse(m *wire.Message) error {
	name, body, ok := cut(m)
	if !ok || !m.Whole() {
		s.pin("statement too large to be carried")
		s.change(name, statement{}).fate = kept
		return s.passLarge(m, string(name))
	}
	last := &s.names.unnamed
	p, st, lasting := last.prepared, last.facts, last.lasting
	again := lasting && p.SameBody(body) // many send one text again and again
	if !again {
		text, _, _ := cutString(body)
		if text == nil {
			text = []byte{} // which is a text that can be read
		}
		st, lasting = s.lastingFacts(text)
	}
	if st.Question != nil {
		return s.parseQuestion(string(name), body, st)
	}
	if done, err := s.place(st, nil, nil); done || err != nil {
		return err
	}
	if err := s.settleSettings(); err != nil {
		return err
	}
	if !s.onReplicaNow() { // the server looks at what EXECUTE returns
		if _, refused, err := s.borrow(st, skip); err != nil || refused {
			return err
		}
	}
	if under := s.signature(); len(name) > 0 || !again || p.Under != under {
		p = s.srv.catalog.Prepared(body, under)
	}
	if e := s.foreignType(p); e != nil {
		return s.fail(e, false)
	}
	known := statement{facts: st, prepared: p, since: s.srv.catalog.Tick(), lasting: lasting}
	if len(name) == 0 {
		if !s.expectUnnamed(reply{kind: 'P', name: s.change(nil, known)}, p) {
			return nil
		}
		return s.pass(m)
	}
	return s.parseNamed(m, string(name), known)
}

// passLarge passes a Parse on under the client's own name.
func (s *session) passLarge(m *wire.Message, name string) error {
	if e := s.unlooked(); e != nil {
		return s.fail(e, false)
	}
	if done, err := s.stay(); done || err != nil {
		return err
	}
	if _, err := s.closeStrange(name, skip); err != nil {
		return err
	}
	return s.passToPrimary(m, 'P')
}

// parseNamed prepares a statement that the client gives a name.
func (s *session) parseNamed(m *wire.Message, name string, known statement) error {
	known.described = new(bool)
	inUse, err := s.known([]byte(name))
	if err != nil {
		return err
	}
	here := s.stayHere()
	if inUse.prepared != nil && !(inUse.verbatim && here) {
		return s.parseAgain(m, name)
	}
	if e := s.roomFor(name, known); e != nil {
		return s.fail(e, false)
	}
	if here { // names that SQL gives are of the same kind, and the server compares
		known.verbatim = true
		if inUse.prepared == nil {
			if _, err := s.closeStrange(name, skip); err != nil {
				return err
			}
		}
		return s.expectAndPass(&reply{kind: 'P', name: s.change([]byte(name), known)}, m)
	}
	// The client's Parse always reaches the server: whether the text is right is the
	// server's to say, today as when it was first prepared.
	if !s.expect(&reply{kind: 'C', action: skip}) {
		return nil
	}
	p := known.prepared
	if err := s.sendMessage(closeStatement(p.Name)); err != nil {
		return err
	}
	s.willHold(p.Name, p)
	if err := s.evict(skip); err != nil {
		return err
	}
	return s.sendHeld(reply{kind: 'P', seldom: creates(p, p.Name), name: s.change([]byte(name), known)}, parseMessage(p.Name, p.Body))
}

// roomFor is the error for a session that keeps too much prepared, or nil.
func (s *session) roomFor(name string, st statement) *pgerr.Error {
	if most := s.by.limits.Prepared; s.names.bytes+st.size(name) > most {
		return pgerr.New(pgerr.ProgramLimit, "too many prepared statements in this session").
			WithDetail("Their names and texts have %d bytes, and limits.prepared is %d.", s.names.bytes, most).
			WithHint("Close statements that are not needed any more (DEALLOCATE), or raise limits.prepared.").In("roomFor")
	}
	return nil
}

// parseAgain handles a Parse of a name that the session has in use. The server
// is made to have it in use too until the Sync, so that the complaint is its own.
func (s *session) parseAgain(m *wire.Message, name string) error {
	if !s.expect(&reply{kind: 'C', action: skip}) {
		return nil
	}
	if err := s.sendMessage(closeStatement(name)); err != nil {
		return err
	}
	s.to.Forget(name, nil)
	s.expect(&reply{kind: 'P', action: skip})
	if err := s.send(parseMessage(name, "\x00\x00\x00")); err != nil {
		return err
	}
	s.names.lent = append(s.names.lent, name)
	return s.expectAndPass(&reply{kind: 'P'}, m)
}

// bind handles a Bind message, whose statement's name is replaced by the name it
// has on servers.
func (s *session) bind(m *wire.Message) error {
	portalName, rest, ok := cut(m)
	name, params, ok2 := cutString(rest)
	if !ok || !ok2 {
		return s.passToPrimary(m, 'B')
	}
	known, err := s.known(name)
	if err != nil {
		return err
	}
	if known.inquiry != nil {
		return s.bindQuestion(m, string(portalName), known)
	}
	if len(portalName) > 0 && s.lives(s.names.portal(portalName).asked) {
		return s.fail(errDuplicatePortal(string(portalName)), false)
	}
	if done, err := s.placeStatement(known, m); done || err != nil {
		return err
	}
	p := portal{facts: known.facts, described: known.described, onReplica: s.onReplicaNow(), unseen: s.unseen, timeout: s.bounded}
	if known.facts != nil {
		p.trains = s.toTrain
	}
	if known.facts != nil && !p.onReplica {
		if _, refused, err := s.borrow(known.facts, skip); err != nil || refused {
			return err
		}
	}
	if known.facts != nil && parametric(known.facts) {
		p.bound = boundSettings(known, m)
	}
	s.names.bind(portalName, p)
	if p.onReplica && len(portalName) > 0 && len(s.portals) < maxPortals {
		s.portals = append(s.portals, s.names.portal(portalName))
	}
	s.passing = true
	own := known.prepared == nil || known.verbatim && s.pinnedHere()
	if len(name) > 0 && !own && !known.prepared.SQL {
		return s.bindNamed(m, known, portalName, params)
	}
	s.rec.cannot()
	switch {
	case len(name) == 0:
		err = s.ensureUnnamed(known)
	case known.prepared == nil:
		_, err = s.closeStrange(string(name), skip)
	case !own:
		_, err = s.lend(string(name), known, skip)
	}
	if err != nil {
		return s.failAttach(err, false)
	}
	return s.expectAndPass(&reply{kind: 'B'}, m)
}

// bindNamed handles a Bind of a statement that has a name of ours on servers.
func (s *session) bindNamed(m *wire.Message, known statement, portalName, params []byte) error {
	p, err := s.ensure(known)
	if err != nil {
		return s.failAttach(err, false)
	}
	first := s.recordBind(m, known, portalName, params)
	if !s.expect(&reply{kind: 'B', uses: p, usedAs: known.name, recorded: first}) {
		s.passing = false
		return nil
	}
	return s.sendBind(m, portalName, p.Name, params)
}

// sendBind sends a Bind under another statement name. params may be only the
// first piece of what follows; the rest is passed on as it comes.
func (s *session) sendBind(m *wire.Message, portalName []byte, name string, params []byte) error {
	size := len(portalName) + 1 + len(name) + 1 + len(params) + m.Rest
	head := emptyMessage + len(portalName) + 1 + len(name) + 1
	if s.to == nil || m.Rest > 0 || head+len(params) > wire.MaxRoom {
		if err := s.send(appendBind(make([]byte, 0, head), size, portalName, name)); err != nil {
			return err
		}
		return s.send(params)
	}
	room, err := s.to.Writer.Room(s.turn, head+len(params))
	if err != nil {
		return s.backendWrite(s.to, err)
	}
	copy(room[len(appendBind(room[:0], size, portalName, name)):], params)
	return nil
}

// appendBind appends the head of a Bind message whose body has size bytes.
func appendBind(b []byte, size int, portalName []byte, name string) []byte {
	b = binary.BigEndian.AppendUint32(append(b, 'B'), uint32(size+4))
	b = append(append(b, portalName...), 0)
	return append(append(b, name...), 0)
}

// describe handles a Describe message.
func (s *session) describe(m *wire.Message) error {
	kind, name, ok := object(m)
	if !ok {
		return s.passToPrimary(m, 'D')
	}
	if kind == 'P' {
		p := s.names.portal(name)
		if p.asked != nil {
			return s.describeAsked(p.asked, string(name))
		}
		describing(p.described)
		if done, err := s.followPortal(p, 'D'); done || err != nil {
			return err
		}
		return s.expectAndPass(&reply{kind: 'D'}, m)
	}
	known, err := s.known(name)
	if err != nil {
		return err
	}
	if known.inquiry != nil {
		return s.describeQuestion(known.inquiry)
	}
	describing(known.described)
	if done, err := s.placeStatement(known, nil); done || err != nil {
		return err
	}
	switch {
	case len(name) == 0:
		if err := s.ensureUnnamed(known); err != nil {
			return s.failAttach(err, false)
		}
	case known.prepared == nil:
		if _, err := s.closeStrange(string(name), skip); err != nil {
			return err
		}
	case known.verbatim && s.pinnedHere():
	case known.prepared.SQL:
		if _, err := s.lend(string(name), known, skip); err != nil {
			return err
		}
	default:
		p, err := s.ensure(known)
		if err != nil {
			return s.failAttach(err, false)
		}
		if !s.expect(&reply{kind: 'D', uses: p, usedAs: known.name}) {
			return nil
		}
		return s.send(nameMessage('D', p.Name))
	}
	return s.expectAndPass(&reply{kind: 'D'}, m)
}

// execute handles an Execute message; it goes where the portal is.
func (s *session) execute(m *wire.Message) error {
	name, rest, ok := cut(m)
	if !ok {
		return s.passToPrimary(m, 'E')
	}
	p := s.names.portal(name)
	if p.asked != nil && len(rest) == 4 {
		return s.executeAsked(p.asked, string(name), binary.BigEndian.Uint32(rest))
	}
	s.rec.spent = s.rec.spent || !s.rec.on
	if done, err := s.followPortal(p, 'E'); done || err != nil {
		return err
	}
	if p.facts != nil && !p.onReplica && s.ordersChanges(p.facts) {
		if err := s.settle(); err != nil || s.phaseSkipping() {
			return err
		}
		if err := s.order(p.facts, !s.ran); err != nil {
			return s.failAttach(err, false)
		}
	} else if s.ordering != nil {
		return s.failAttach(s.order(p.facts, false), false)
	}
	s.ran = true
	p.spent = p.spent || len(rest) == 4 && binary.BigEndian.Uint32(rest) == 0
	r := reply{kind: 'E'}
	if p.facts != nil {
		if err := s.curbPortal(p); err != nil {
			return s.failAttach(err, false)
		}
		runs := p.facts
		if !p.onReplica {
			runs = s.runs(p.facts)
			var err error
			if r.name, err = s.dropAll(runs); err != nil {
				return err
			}
		}
		r.statement, r.follow = runs, changesState(runs)
		if p.bound != nil {
			s.reset = true
			r.seldom = &seldom{bound: p.bound}
		} else {
			r.seldom = p.trains.sent()
		}
		s.sending(p)
		s.sentFor(p.facts, runs)
		if r.unseen = p.unseen && !p.onReplica; r.unseen {
			s.sentUnseen(true)
		}
	} else if !s.onReplicaNow() {
		s.mu.Lock()
		s.state.sendingUnseen()
		s.mu.Unlock()
	}
	return s.expectAndPass(&r, m)
}

// closeName handles a Close message. A statement is shared with other sessions,
// so that only the session's own name for it goes; the answer is made here.
func (s *session) closeName(m *wire.Message) error {
	kind, name, ok := object(m)
	if !ok {
		return s.passToPrimary(m, 'C')
	}
	if kind == 'S' && len(name) > 0 && !s.pinnedHere() {
		known, err := s.known(name)
		if err != nil {
			return err
		}
		if known.prepared == nil || known.verbatim && s.pinnedHere() {
			return s.closeOnServer(m, kind, name)
		}
		s.expectChange(&reply{kind: 'C', action: fake, name: s.change(name, statement{})})
		return nil
	}
	return s.closeOnServer(m, kind, name)
}

// closeOnServer passes a Close on.
func (s *session) closeOnServer(m *wire.Message, kind byte, name []byte) error {
	if kind == 'P' {
		p := s.names.portal(name)
		if p.asked != nil {
			return s.closeAsked(string(name))
		}
		if done, err := s.followPortal(p, 'C'); done || err != nil {
			return err
		}
		p.spent = true
		return s.expectAndPass(&reply{kind: 'C'}, m)
	}
	if done, err := s.stay(); done || err != nil {
		return err
	}
	r := reply{kind: 'C'}
	if kind == 'S' {
		r.name = s.change(name, statement{})
		if len(name) == 0 {
			s.setUnnamed(unsure) // a server that is skipping to a Sync keeps it
		} else {
			s.to.Forget(string(name), nil)
		}
	}
	return s.expectAndPass(&r, m)
}

// emptyMessage is the size of a message without a body.
const emptyMessage = 5

var _ pool.Owner = (*session)(nil)
