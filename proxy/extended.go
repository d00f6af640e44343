package proxy

import (
	"bytes"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// parse handles a Parse message: the statement is prepared where it will run.
func (s *session) parse(m *wire.Message) error {
	name, body, ok := cut(m)
	if !ok || !m.Whole() {
		s.pin("statement too large to be carried")
		s.change(name, statement{}).fate = kept
		return s.passToPrimary(m, 'P')
	}
	text, _, _ := bytes.Cut(body, []byte{0})
	st := s.facts(text)
	if done, err := s.place(st, nil); done || err != nil {
		return err
	}
	if err := s.settleSettings(); err != nil {
		return err
	}
	if err := s.giveNames(st, true); err != nil { // the server looks at what EXECUTE returns
		return err
	}
	p := s.srv.catalog.Prepared(body, s.signature())
	known := statement{facts: st, prepared: p}
	b := s.to
	if len(name) == 0 {
		if !s.expectChange(reply{kind: 'P', held: p, name: s.change(nil, known)}) {
			return nil
		}
		s.setUnnamed(p)
		return s.send(m.Data)
	}
	inUse, err := s.known(name)
	if err != nil {
		return err
	}
	here := s.stayHere()
	switch {
	case inUse.prepared != nil && !(inUse.verbatim && here):
		return s.parseAgain(m, string(name))
	case here: // names that SQL gives are of the same kind, and the server compares
		known.verbatim = true
		return s.expectAndSend(reply{kind: 'P', name: s.change(name, known)}, m.Data)
	}
	// The client's Parse always reaches the server: whether the text is right is the
	// server's to say, today as when it was first prepared.
	if !s.expect(reply{kind: 'C', action: skip}) {
		return nil
	}
	if err := s.sendMessage(closeStatement(p.Name)); err != nil {
		return err
	}
	if err := s.evict(b.Hold(p)); err != nil {
		return err
	}
	if !s.expectChange(reply{kind: 'P', held: p, name: s.change(name, known)}) {
		b.Forget(p) // the error came just now
		return nil
	}
	return s.send(parseMessage(p.Name, p.Body))
}

// parseAgain handles a Parse of a name that the session has in use. The server
// is made to have it in use too until the Sync, so that the complaint is its own.
func (s *session) parseAgain(m *wire.Message, name string) error {
	if !s.expect(reply{kind: 'C', action: skip}) {
		return nil
	}
	if err := s.sendMessage(closeStatement(name)); err != nil {
		return err
	}
	s.expect(reply{kind: 'P', action: skip})
	if err := s.send(parseMessage(name, "\x00\x00\x00")); err != nil {
		return err
	}
	s.names.lent = append(s.names.lent, name)
	return s.expectAndSend(reply{kind: 'P'}, m.Data)
}

// bind handles a Bind message, whose statement's name is replaced by the name it
// has on servers.
func (s *session) bind(m *wire.Message) error {
	portalName, rest, ok := cut(m)
	name, params, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 {
		return s.passToPrimary(m, 'B')
	}
	known, err := s.known(name)
	if err != nil {
		return err
	}
	if known.facts != nil {
		if done, err := s.place(known.facts, m); done || err != nil {
			return err
		}
	} else if done, err := s.stay(); done || err != nil {
		return err
	}
	if known.facts != nil {
		if err := s.giveNames(known.facts, true); err != nil {
			return err
		}
	}
	p := portal{facts: known.facts, onReplica: s.onReplicaNow()}
	if known.facts != nil && parametric(known.facts) {
		p.bound = boundSettings(known, m)
	}
	s.names.bind(string(portalName), p)
	s.passing = true
	if len(name) == 0 {
		if err := s.ensureUnnamed(known.prepared); err != nil {
			return err
		}
		return s.expectAndSend(reply{kind: 'B'}, m.Data)
	}
	if known.prepared == nil || known.verbatim {
		return s.expectAndSend(reply{kind: 'B'}, m.Data)
	}
	prepared, err := s.ensure(known.prepared)
	if err != nil {
		return err
	}
	known.prepared = prepared
	if !s.expect(reply{kind: 'B', named: known}) {
		s.passing = false
		return nil
	}
	return s.sendBind(m, portalName, prepared.Name, params)
}

// sendBind sends a Bind under another statement name. params may be only the
// first piece of what follows; the rest is passed on as it comes.
func (s *session) sendBind(m *wire.Message, portalName []byte, name string, params []byte) error {
	size := len(portalName) + 1 + len(name) + 1 + len(params) + m.Rest
	head := make([]byte, 0, 128)
	head = append(head, 'B', byte((size+4)>>24), byte((size+4)>>16), byte((size+4)>>8), byte(size+4))
	head = append(head, portalName...)
	head = append(head, 0)
	head = append(head, name...)
	head = append(head, 0)
	if err := s.send(head); err != nil {
		return err
	}
	return s.send(params)
}

// describe handles a Describe message.
func (s *session) describe(m *wire.Message) error {
	kind, name, ok := object(m)
	if !ok {
		return s.passToPrimary(m, 'D')
	}
	if kind == 'P' {
		if done, err := s.followPortal(name); done || err != nil {
			return err
		}
		return s.expectAndSend(reply{kind: 'D'}, m.Data)
	}
	known, err := s.known(name)
	if err != nil {
		return err
	}
	if known.facts == nil {
		if done, err := s.stay(); done || err != nil {
			return err
		}
	} else if done, err := s.place(known.facts, nil); done || err != nil {
		return err
	}
	switch {
	case len(name) == 0:
		if err := s.ensureUnnamed(known.prepared); err != nil {
			return err
		}
	case known.prepared != nil && !known.verbatim:
		p, err := s.ensure(known.prepared)
		if err != nil {
			return err
		}
		known.prepared = p
		return s.expectAndSend(reply{kind: 'D', named: known}, nameMessage('D', p.Name))
	}
	return s.expectAndSend(reply{kind: 'D'}, m.Data)
}

// execute handles an Execute message; it goes where the portal is.
func (s *session) execute(m *wire.Message) error {
	name, _, ok := cut(m)
	if !ok {
		return s.passToPrimary(m, 'E')
	}
	p := s.names.portal(name)
	if done, err := s.followPortal(name); done || err != nil {
		return err
	}
	r := reply{kind: 'E'}
	if p.facts != nil {
		if err := s.giveNames(p.facts, true); err != nil {
			return err
		}
		r.name = s.dropNames(p.facts)
		r.statement, r.follow, r.bound = p.facts, changesState(p.facts), p.bound
		s.sending(&p)
		s.sent(p.facts)
	}
	return s.expectAndSend(r, m.Data)
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
		if known.prepared == nil || known.verbatim {
			return s.closeOnServer(m, kind, name)
		}
		s.expectChange(reply{kind: 'C', action: fake, name: s.change(name, statement{})})
		return nil
	}
	return s.closeOnServer(m, kind, name)
}

// closeOnServer passes a Close on.
func (s *session) closeOnServer(m *wire.Message, kind byte, name []byte) error {
	if kind == 'P' {
		if done, err := s.followPortal(name); done || err != nil {
			return err
		}
		return s.expectAndSend(reply{kind: 'C'}, m.Data)
	}
	if done, err := s.stay(); done || err != nil {
		return err
	}
	r := reply{kind: 'C'}
	if kind == 'S' {
		r.name = s.change(name, statement{})
		if len(name) == 0 {
			s.setUnnamed(unsure) // a server that is skipping to a Sync keeps it
		}
	}
	return s.expectAndSend(r, m.Data)
}

// emptyMessage is the size of a message without a body.
const emptyMessage = 5

// expectAndSend sends p unless the server is skipping to a Sync and would ignore it.
func (s *session) expectAndSend(r reply, p []byte) error {
	if !s.expectChange(r) {
		s.passing = false
		return nil
	}
	return s.send(p)
}

// expectChange is expect for a message that may change names: one that will be
// skipped changes nothing.
func (s *session) expectChange(r reply) bool {
	if s.expect(r) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undoName(r.name, skipped)
	return false
}

var _ pool.Owner = (*session)(nil)
