package proxy

import (
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// keep says why a replica stays attached after a statement. Guarded by link.mu.
type keep struct {
	// pin: it holds state of this session, such as a temporary table.
	pin string
	// block: a transaction block is open there for a cursor or a named portal; it ends with the
	// client's own transaction.
	block bool
	// over: that has ended, and the block is still to be.
	over bool
	// whole: the client's transaction, which is READ ONLY, follows the replica, whose settings
	// were label when the block was opened; changed tells that they have been others since.
	whole, changed bool
	label          *pool.Settings
	// behind is what has become of savepoints since the replica was used last; undoes is set
	// where that takes settings back.
	behind []string
	undoes bool
	// closed: the client has closed all cursors, and the replica has not heard of it.
	closed bool
}

// made is what a session has made on the replica that it keeps: temporary
// relations, and cursors and prepared statements by name.
type made struct {
	temporary         []parser.Relation
	cursors, prepared map[string]router.Decision
}

func (k keep) why() string {
	if k.pin == "" && k.block {
		return "cursor"
	}
	return k.pin
}

// keepReplica prepares the current replica for a statement that leaves something
// behind: a cursor needs a transaction block, other things need the session to
// come back to this very backend.
//
// Outside a transaction block of the client the replica has the say: it refuses.
func (s *session) keepReplica(d router.Decision, st *parser.Statement) error {
	s.mu.Lock()
	closed := s.keep.closed && !s.phase.openReplica
	s.keep.closed = s.keep.closed && !closed
	b, begun := s.replica, s.keep.block
	s.keep.changed = s.keep.changed || begun && b.Settings != s.keep.label
	s.mu.Unlock()
	if closed {
		s.expect(&reply{kind: 'Q', action: mute})
		if err := s.sendMessage(&pgproto3.Query{String: "CLOSE ALL"}); err != nil {
			return err
		}
	}
	if begun || !d.Whole && (!d.Block || holdable(st) || !s.inBlock()) {
		return nil
	}
	return s.openBlock(d, b)
}

// keepPortals makes the batch at hand on the replica a transaction block, where it has named
// portals that are not used up: the Sync that follows would end them. What is sent next may be for
// the primary, or a later batch of the client's transaction may go on with them.
func (s *session) keepPortals(b *pool.Backend) error {
	live := slices.ContainsFunc(s.portals, func(p *portal) bool { return !p.spent })
	s.mu.Lock()
	k := &s.keep
	begun := k.block
	if !begun && live {
		k.block, k.label = true, b.Settings
		s.state.modes.begun = true
		for _, p := range s.state.savepoints {
			k.behind = append(k.behind, "SAVEPOINT "+quoteName(p.name))
		}
	}
	s.mu.Unlock()
	switch {
	case begun: // where they last as long as the block
		return nil
	case !live:
		s.portals = nil
		return nil
	}
	return s.within("BEGIN")
}

// endBlock gives back a replica that was kept for cursors or portals of a transaction which is
// over. detachIfDone does that when the session comes to rest; in a pipeline the next
// statement may be at hand before.
func (s *session) endBlock() {
	s.mu.Lock()
	var p parting
	if s.keep.over && s.keep.pin == "" {
		s.awaitCancels()
	}
	if s.keep.over && s.keep.pin == "" && s.current != s.replica {
		p.block, p.end, s.replica, s.keep = s.replica, s.keep.end(s.replica), nil, keep{}
		s.letGo(p.block)
	}
	s.mu.Unlock()
	s.release(p)
}

// closeAll notes that the client closes all its cursors: those on the replica are
// no longer found, and closed there when the session comes by.
func (s *session) closeAll(st *parser.Statement) {
	for i := range st.Parts {
		if p := &st.Parts[i]; p.Kind == parser.Close && p.Name == "" && len(s.made.cursors) > 0 {
			s.made.cursors = nil
			s.keep.closed = true
		}
	}
}

// sentToReplica notes what a statement leaves behind on the replica that it is on its way to.
func (s *session) sentToReplica(st *parser.Statement, d router.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usual = false // made is no longer what look has left
	s.deploys = s.deploys || d.Class == router.Training || d.Class == router.Schema
	for i := range st.Parts {
		p := &st.Parts[i]
		if p.Pin != "" && s.keep.pin == "" {
			s.keep.pin = p.Pin
		}
		if s.keep.pin != "" {
			s.made.temporary = append(s.made.temporary, temporary(p)...)
		}
		switch p.Kind {
		case parser.Declare:
			d.Block = !holdable(st)
			s.made.cursors = remember(s.made.cursors, p.Name, d)
		case parser.Prepare:
			s.made.prepared = remember(s.made.prepared, p.Name, d)
		}
	}
}

// holdable tells whether st declares a cursor WITH HOLD, which outlives its transaction.
func holdable(st *parser.Statement) bool {
	return len(st.Parts) == 1 && st.Parts[0].Pin == parser.PinHoldCursor
}

// temporary returns the temporary relations that a statement makes.
func temporary(p *parser.Part) []parser.Relation {
	if p.Pin != parser.PinTemporary {
		return nil
	}
	return append(append([]parser.Relation(nil), p.Defines...), p.Writes...)
}

func remember(m map[string]router.Decision, name string, d router.Decision) map[string]router.Decision {
	if m == nil {
		m = make(map[string]router.Decision)
	}
	m[name] = d
	return m
}

// keptElsewhere is the error for a statement that needs another replica than the
// one that the session cannot leave.
func (s *session) keptElsewhere(target string, d router.Decision, why string) error {
	return &attachError{pgerr.New(pgerr.FeatureNotSupported, "the statement runs on PostgresML server %q, and this session is kept on %q", d.Target, target).
		WithDetail("Reason for keeping it there: %s.", why).
		WithHint("End the transaction, run DISCARD ALL, or use another session.").In("onReplica")}
}
