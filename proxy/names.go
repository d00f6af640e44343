package proxy

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/parser"
	"pgshunt/pool"
)

// statement is what a session knows of a prepared statement.
type statement struct {
	facts    *parser.Statement
	prepared *pool.Prepared
	// verbatim: the primary knows it by the client's own name, since the backend
	// serves this session alone.
	verbatim bool
}

// portal is a bound statement. The facts are those of its statement; onReplica
// says where it lives.
type portal struct {
	facts     *parser.Statement
	onReplica bool
}

// names holds a session's prepared statements and portals. Statements are known
// on servers under names of ours, so that sessions that prepare the same text
// share it; portals keep the client's names. The session's goroutine only.
type names struct {
	statements map[string]statement
	unnamed    statement // prepared is nil when there is none
	portals    map[string]portal
	blank      portal // the unnamed portal
}

// nameChange is what a message does to the names, kept so that it can be undone
// when the server skips the message or refuses it.
type nameChange struct {
	name   string
	before statement // prepared is nil where there was none
}

// maxPortals bounds what is remembered of portals. One that is forgotten, or no
// longer there, is the current server's to judge.
const maxPortals = 1000

// bind notes a portal.
func (n *names) bind(name string, p portal) {
	if name == "" {
		n.blank = p
		return
	}
	if n.portals == nil || len(n.portals) >= maxPortals {
		n.portals = make(map[string]portal)
	}
	n.portals[name] = p
}

// portal returns what is known of a portal; the zero portal has no facts.
func (n *names) portal(name []byte) portal {
	if len(name) == 0 {
		return n.blank
	}
	return n.portals[string(name)]
}

// set notes a statement and returns what undoes that.
func (n *names) set(name []byte, st statement) *nameChange {
	if len(name) == 0 {
		change := &nameChange{"", n.unnamed}
		n.unnamed = st
		return change
	}
	change := &nameChange{string(name), n.statements[string(name)]}
	if st.prepared == nil {
		delete(n.statements, string(name))
		return change
	}
	if n.statements == nil {
		n.statements = make(map[string]statement)
	}
	n.statements[change.name] = st
	return change
}

// undo takes back the changes that failed on the server, the latest first.
func (s *session) undoNames() {
	s.mu.Lock()
	undone := s.undone
	s.undone = nil
	s.mu.Unlock()
	for i := len(undone) - 1; i >= 0; i-- {
		c := undone[i]
		before := c.before
		if c.name == "" {
			before = statement{} // a failed Parse leaves no unnamed statement
		}
		s.names.set([]byte(c.name), before)
	}
}

// lookup returns a prepared statement; prepared is nil if there is none.
func (s *session) lookup(name []byte) statement {
	s.undoNames()
	if len(name) == 0 {
		return s.names.unnamed
	}
	return s.names.statements[string(name)]
}

// ensure has the current backend prepare a named statement unless it has it.
func (s *session) ensure(p *pool.Prepared) error {
	b := s.to
	if b.Has(p) {
		return nil
	}
	return s.inject(b, p.Name, p)
}

// ensureUnnamed makes the backend's unnamed statement the session's own, also
// when the session has none: another session's must not be run in its place.
func (s *session) ensureUnnamed(p *pool.Prepared) error {
	b := s.to
	if b.Unnamed == p {
		return nil
	}
	if p == nil {
		b.Unnamed = nil
		if s.expect(reply{kind: 'C', action: skip}) {
			return s.sendMessage(closeStatement(""))
		}
		return nil
	}
	b.Unnamed = p
	if s.expect(reply{kind: 'P', action: skip, held: p}) {
		return s.send(parseMessage("", p.Body))
	}
	return nil
}

// inject sends a Parse of ours. A Close goes before it, since a name of which we
// do not know may still be there from a Parse that was thought to have failed.
func (s *session) inject(b *pool.Backend, name string, p *pool.Prepared) error {
	if !s.expect(reply{kind: 'C', action: skip}) {
		return nil
	}
	if err := s.sendMessage(closeStatement(name)); err != nil {
		return err
	}
	if err := s.evict(b.Hold(p)); err != nil {
		return err
	}
	s.expect(reply{kind: 'P', action: skip, held: p})
	return s.send(parseMessage(name, p.Body))
}

// evict closes a statement that had to make room on the current backend.
func (s *session) evict(p *pool.Prepared) error {
	if p == nil || !s.expect(reply{kind: 'C', action: skip}) {
		return nil
	}
	return s.sendMessage(closeStatement(p.Name))
}

// materialize gives a statement the name the client knows it by on the current
// backend, for SQL that refers to it: EXECUTE, DEALLOCATE, PREPARE. PostgreSQL
// itself then finds it, runs it, drops it or complains that it exists. Before a
// Query it takes a Sync, without which an error would make the server skip the
// Query; within a batch an error is one that the client's own message would meet.
func (s *session) materialize(name string, p *pool.Prepared, inBatch bool) error {
	act := mute
	if inBatch {
		act = skip
	}
	if !s.expect(reply{kind: 'C', action: act}) {
		return nil
	}
	s.expect(reply{kind: 'P', action: act})
	if err := s.sendMessage(closeStatement(name)); err != nil {
		return err
	}
	if err := s.send(parseMessage(name, p.Body)); err != nil || inBatch {
		return err
	}
	s.expect(reply{kind: 'S', action: act})
	return s.sendMessage(&pgproto3.Sync{})
}

func closeStatement(name string) *pgproto3.Close {
	return &pgproto3.Close{ObjectType: 'S', Name: name}
}

// parseMessage builds a Parse message from a name and a Prepared's body.
func parseMessage(name, body string) []byte {
	out := make([]byte, 0, 6+len(name)+len(body))
	out = append(out, 'P', 0, 0, 0, 0)
	out = append(out, name...)
	out = append(out, 0)
	out = append(out, body...)
	putLength(out)
	return out
}

// putLength writes the length of the message in p, which has one type byte.
func putLength(p []byte) {
	n := uint32(len(p) - 1)
	p[1], p[2], p[3], p[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
}
