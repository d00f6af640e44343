package proxy

import (
	"bytes"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
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
	p := s.srv.catalog.Prepared(body)
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
	here := s.pinnedHere()
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
	s.names.bind(string(portalName), portal{facts: known.facts, onReplica: s.onReplicaNow()})
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
	if err := s.ensure(known.prepared); err != nil {
		return err
	}
	if !s.expect(reply{kind: 'B'}) {
		s.passing = false
		return nil
	}
	return s.sendBind(m, portalName, known.prepared.Name, params)
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
		if err := s.ensure(known.prepared); err != nil {
			return err
		}
		return s.expectAndSend(reply{kind: 'D'}, nameMessage('D', known.prepared.Name))
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
		var err error
		if r.name, err = s.giveNames(p.facts, true); err != nil {
			return err
		}
		r.statement, r.follow = p.facts, changesState(p.facts)
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
		if s.expectChange(reply{kind: 'C', action: fake, name: s.change(name, statement{})}) {
			return s.flushFakes()
		}
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

// sync handles a Sync message, the end of a batch.
func (s *session) sync(m *wire.Message) error {
	s.names.batch++
	s.mu.Lock()
	if s.phase.copyIn {
		s.mu.Unlock()
		return nil // the server ignores it, and so it owes no answer
	}
	s.skipForLost()
	onReplica := s.current != nil && s.current == s.replica
	onPrimary := s.primary != nil && (s.current == s.primary || s.phase.openPrimary)
	block := s.primary != nil && (s.status != 'I' || s.phase.openPrimary)
	s.mu.Unlock()
	switch {
	case s.refused:
		s.refused = false
		return s.finishFailed()
	case onReplica && block:
		return s.syncBeside(m)
	case onReplica:
		s.hold()
	case onPrimary, len(m.Data) != emptyMessage: // what is wrong with it is the server's to say
		if err := s.onPrimary(); err != nil {
			return err
		}
	default:
		s.expect(reply{kind: 'S', action: fake})
		return s.flushFakes()
	}
	if err := s.expectAndSend(reply{kind: 'S'}, m.Data); err != nil {
		return err
	}
	return s.takeBackNames()
}

// emptyMessage is the size of a message without a body.
const emptyMessage = 5

// syncBeside ends a batch that ran on a replica beside the client's transaction.
func (s *session) syncBeside(m *wire.Message) error {
	if err := s.leaveReplica(); err != nil {
		return err
	}
	s.mu.Lock()
	failed, open := s.refused || s.phase.failed, s.phase.openPrimary
	s.phase.failed = false
	s.mu.Unlock()
	s.refused = false
	switch {
	case failed:
		return s.finishFailed()
	case !open:
		return s.answer(fakeReply('S', s.currentStatus()))
	}
	if err := s.onPrimary(); err != nil {
		return err
	}
	s.expect(reply{kind: 'S'})
	return s.send(m.Data)
}

// flushMessage passes a Flush on; it has no answer of its own.
func (s *session) flushMessage(m *wire.Message) error {
	if len(m.Data) != emptyMessage {
		return s.passToPrimary(m, 'E')
	}
	s.mu.Lock()
	attached := s.current != nil && s.open() && !s.phase.copyIn
	s.mu.Unlock()
	if !attached {
		return nil
	}
	s.hold()
	return s.send(m.Data)
}

// place decides where the message about st goes and turns to that server. bind is
// the Bind message where it is one. done means that the message has been dealt with.
func (s *session) place(st *parser.Statement, bind *wire.Message) (done bool, err error) {
	d, err := s.decide(st)
	if err != nil {
		return true, err
	}
	if d.Place == router.Replica && d.ProjectParam > 0 && d.Target == "" {
		d.Target = router.HomeOf(textParameter(bind, d.ProjectParam), s.srv.fleet.Load())
	}
	if s.phaseSkipping() {
		return true, nil
	}
	switch {
	case d.Place == router.Refused:
		return true, s.fail(d.Err, false)
	case d.Place != router.Replica:
		err = s.onPrimary()
	default:
		if err = s.beforeReplica(d); err == nil {
			err = s.onReplica(d)
		}
		if err == nil {
			s.sentToReplica(st, d)
		}
	}
	if err != nil {
		return true, s.failAttach(err, false)
	}
	return s.refused, nil
}

// beforeReplica settles what is on its way elsewhere before the session turns to
// a replica, and says so when training leaves the client's transaction.
func (s *session) beforeReplica(d router.Decision) error {
	if s.onReplicaNow() {
		return nil
	}
	if err := s.settle(); err != nil {
		return err
	}
	if d.Detached {
		return s.answer(detachedNotice())
	}
	return nil
}

// stay keeps the session where it is, or on the primary.
func (s *session) stay() (done bool, err error) {
	if s.phaseSkipping() {
		return true, nil
	}
	if s.onReplicaNow() {
		s.hold()
		return false, nil
	}
	if err := s.onPrimary(); err != nil {
		return true, s.failAttach(err, false)
	}
	return false, nil
}

// followPortal turns to the server that has a portal.
func (s *session) followPortal(name []byte) (done bool, err error) {
	p := s.names.portal(name)
	if p.facts == nil || p.onReplica && s.onReplicaNow() {
		return s.stay()
	}
	if s.phaseSkipping() {
		return true, nil
	}
	if err := s.onPrimary(); err != nil {
		return true, s.failAttach(err, false)
	}
	return s.refused, nil
}

// passToPrimary sends a message that could not be understood; its rejection is
// the server's.
func (s *session) passToPrimary(m *wire.Message, kind byte) error {
	if done, err := s.stay(); done || err != nil {
		return err
	}
	s.passing = true
	return s.expectAndSend(reply{kind: kind}, m.Data)
}

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

// cut splits the body of a message after its first string.
func cut(m *wire.Message) (name, rest []byte, ok bool) {
	return bytes.Cut(m.Body(), []byte{0})
}

// object reads the body of Describe and Close: S or P, and a name.
func object(m *wire.Message) (kind byte, name []byte, ok bool) {
	body := m.Body()
	if len(body) < 2 || body[0] != 'S' && body[0] != 'P' || bytes.IndexByte(body, 0) != len(body)-1 {
		return 0, nil, false
	}
	return body[0], body[1 : len(body)-1], true
}

func nameMessage(typ byte, name string) []byte {
	out := append(make([]byte, 0, 7+len(name)), typ, 0, 0, 0, 0, 'S')
	out = append(out, name...)
	out = append(out, 0)
	putLength(out)
	return out
}

var _ pool.Owner = (*session)(nil)

// textParameter returns the value of parameter n of a Bind message as text, or ""
// where it has none. Text in binary format is the same bytes. No bind is none.
func textParameter(bind *wire.Message, n int) string {
	if bind == nil || !bind.Whole() {
		return ""
	}
	var b pgproto3.Bind
	if b.Decode(bind.Body()) != nil || n > len(b.Parameters) {
		return ""
	}
	return string(b.Parameters[n-1])
}
