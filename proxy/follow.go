package proxy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// A READ ONLY transaction may follow a replica whole (router.Decision.Whole). Its own block
// stays on the primary, idle, which has the say about its status; a block of the same level
// is opened on the replica, and what reads runs there. modes is what a transaction is;
// guarded by link.mu.
type modes struct {
	// snapshot is set in a transaction whose reads all see one state of the data, serial in
	// one that is SERIALIZABLE, committed in one whose level is known to be another.
	// snapshots: those that are told nothing are of the first kind.
	snapshot, serial, committed, snapshots bool
	// locked is set in a transaction that has locked rows or relations.
	locked bool
	// readOnly is set in a transaction that was begun or made READ ONLY.
	readOnly bool
	// begun is set where something of it may have taken a snapshot on the primary.
	begun bool
	// follows is the replica that the transaction runs on, "" for none; fresh is what its
	// snapshot has, and lost is set where that is gone.
	follows string
	fresh   router.Freshness
	lost    bool
}

// sending notes what a part that is on its way may make of the transaction.
func (m *modes) sending(p *parser.Part) {
	switch {
	case p.ReadOnlyTx:
		m.readOnly = true
	case p.ReadWriteTx:
		m.readOnly = false
	}
	switch {
	case oneSnapshot(p.Isolation):
		m.snapshot = true
		m.serial = m.serial || strings.EqualFold(p.Isolation, "serializable")
	case p.Isolation != "":
		m.committed = true
	}
	m.begun = m.begun || takesSnapshot(p)
	m.locked = m.locked || p.Locks || p.Kind == parser.LockTable
}

// takesSnapshot tells whether PostgreSQL may take a snapshot for a statement
// (PlannedStmtRequiresSnapshot in tcop/pquery.c).
func takesSnapshot(p *parser.Part) bool {
	switch p.Kind {
	case parser.Begin, parser.Commit, parser.Rollback, parser.Savepoint, parser.Release, parser.RollbackTo, parser.PrepareTransaction,
		parser.Set, parser.Reset, parser.Show, parser.Listen, parser.Unlisten, parser.Notify, parser.Close, parser.Deallocate, parser.Discard:
		return false
	}
	return true
}

// setting notes a parameter that is on its way and may be one of the modes. A function cannot
// set them, since it is called by a query.
func (m *modes) setting(set *parser.Setting) {
	switch set.Name {
	case "transaction_isolation":
		m.snapshot = m.snapshot || set.Unknown || oneSnapshot(set.Value)
		m.serial = m.serial || set.Unknown || strings.EqualFold(set.Value, "serializable")
	case "transaction_read_only":
		on, known := parseBool(set.Value)
		m.readOnly = on && known && !set.Unknown
	}
	for i := range set.Also {
		m.setting(&set.Also[i])
	}
}

// beginning completes the modes of a transaction whose BEGIN has succeeded by the
// defaults in force.
func (t *state) beginning(p *parser.Part) {
	m := &t.modes
	m.sending(p) // again: the transaction before it may have ended meanwhile
	if !m.snapshot && !m.committed {
		level := t.defaultOf("default_transaction_isolation", t.login.isolation)
		m.snapshot, m.committed = oneSnapshot(level), !oneSnapshot(level)
		m.serial = strings.EqualFold(level, "serializable")
	}
	if !p.ReadOnlyTx && !p.ReadWriteTx && !m.readOnly {
		m.readOnly = t.readsOnly()
	}
}

// readsOnly tells whether transactions that are told nothing are READ ONLY.
func (t *state) readsOnly() bool {
	on, _ := parseBool(t.defaultOf("default_transaction_read_only", t.login.readOnly))
	return on
}

// defaultOf is the session's value of a parameter, or the login's.
func (t *state) defaultOf(name, login string) string {
	if set, ok := t.local.Get(name); ok && set.Value != "" {
		return set.Value
	}
	return login
}

// ended forgets the modes of a transaction that is over. With AND CHAIN the next one has
// the same, and has not begun.
func (m *modes) ended(chained bool) {
	if !chained {
		*m = modes{snapshots: m.snapshots}
		return
	}
	m.locked, m.begun, m.follows, m.fresh, m.lost = false, false, "", router.Freshness{}, false
}

// view puts the modes into what the router sees. The caller holds mu.
func (m *modes) view(v *router.View) {
	v.Snapshot = v.InTransaction && (m.snapshot || m.snapshots && !m.committed)
	v.Serializable = v.Snapshot && (m.serial || !m.snapshot)
	v.ReadOnly, v.Locked = v.InTransaction && m.readOnly, m.locked
	v.Begun, v.Follows = m.begun, ""
	if v.InTransaction && (v.Snapshot || !m.begun) {
		v.Follows, v.FollowsFresh, v.FollowsLost = m.follows, m.fresh, m.lost
	}
}

// ranOnPrimary notes that a statement of class is about to run on the primary, whose snapshot
// counts from then on.
func (s *session) ranOnPrimary(class router.Class) {
	if s.view.ReadOnly && class != router.Session {
		s.mu.Lock()
		s.state.modes.begun = true
		s.mu.Unlock()
	}
}

// openBlock opens a block on the current replica, for cursors or, where d says so, for the
// whole transaction, and gives it the savepoints that there are. One in which something has
// run already is ended before.
func (s *session) openBlock(d router.Decision, b *pool.Backend) error {
	s.mu.Lock()
	open := s.phase.openReplica
	sql := "BEGIN"
	m := &s.state.modes
	if d.Whole {
		sql = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
		if m.snapshot {
			sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
		}
		m.follows, m.fresh, m.lost = b.Key.Target, d.Freshness, false
	} else {
		m.begun = true
	}
	for _, p := range s.state.savepoints {
		sql += "; SAVEPOINT " + quoteName(p.name)
	}
	s.keep.block, s.keep.whole, s.keep.label = true, d.Whole, b.Settings
	s.mu.Unlock()
	if open {
		s.expect(&reply{kind: 'S', action: skip})
		if err := s.sendMessage(&pgproto3.Sync{}); err != nil {
			return err
		}
		if err := s.takeBackNames(); err != nil {
			return err
		}
	}
	s.expect(&reply{kind: 'Q', action: mute, seldom: &seldom{block: true}})
	return s.sendMessage(&pgproto3.Query{String: sql})
}

// catchUp repeats on the replica what has become of savepoints since it was used last. Settings
// that were changed in the block may be others then.
func (s *session) catchUp(b *pool.Backend) error {
	s.mu.Lock()
	k := &s.keep
	behind := k.behind
	if k.undoes && (k.changed || b.Settings != k.label) {
		k.changed = true
		b.Settings = b.Settings.Doubted(k.label)
	}
	k.behind, k.undoes = nil, false
	s.mu.Unlock()
	if len(behind) == 0 {
		return nil
	}
	s.expect(&reply{kind: 'Q', action: mute, seldom: &seldom{block: true}})
	return s.sendMessage(&pgproto3.Query{String: strings.Join(behind, "; ")})
}

// blockFailed is the end of a replica that has not opened a block, or has not followed savepoints, as
// when a cancel request comes too early: what has been sent after that would run outside of
// the transaction, and its answer must not reach the client. The caller holds mu.
func (s *session) blockFailed(b *pool.Backend, m *wire.Message) error {
	e := refusalIn(m)
	if e.Code == pgerr.QueryCanceled {
		s.canceled = b
	}
	return fmt.Errorf("a block was not opened or followed: %w", e)
}

// completedBlock notes what a statement that has succeeded on the primary means for a
// transaction, and for a block on the replica. The caller holds mu.
func (s *session) completedBlock(p *parser.Part) {
	k := &s.keep
	ends := p.Kind == parser.Commit || p.Kind == parser.Rollback || p.Kind == parser.PrepareTransaction
	if ends { // what is on its way already may take a snapshot of the next transaction
		later := -1
		s.inflight.each(func(r *reply) {
			if r.kind != 'S' {
				later++
			}
		})
		s.state.modes.begun = s.state.modes.begun || later > 0
	}
	if !k.block {
		return
	}
	switch {
	case ends:
		k.over = true
	case p.Kind == parser.Savepoint:
		k.behind = append(k.behind, "SAVEPOINT "+quoteName(p.Name))
	case p.Kind == parser.Release:
		k.behind = append(k.behind, "RELEASE "+quoteName(p.Name))
	case p.Kind == parser.RollbackTo:
		k.behind = append(k.behind, "ROLLBACK TO "+quoteName(p.Name))
		k.undoes = true
	}
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

// end is what has to happen to b, which is kept for a block.
func (k *keep) end(b *pool.Backend) pool.State {
	if k.whole && k.pin == "" && !k.changed && b.Settings == k.label {
		return pool.InBlock
	}
	return pool.InTransaction
}

// loosen gives up the block on the replica for a statement that needs another one, where
// nothing but the transaction's place is lost by that.
func (s *session) loosen() (bool, error) {
	s.mu.Lock()
	loose := s.keep.whole && s.keep.pin == "" && !s.state.modes.snapshot
	s.mu.Unlock()
	for _, d := range s.made.cursors {
		loose = loose && !d.Block
	}
	if !loose {
		return false, nil
	}
	if err := s.leaveReplica(); err != nil {
		return true, err
	}
	s.mu.Lock()
	s.keep.over = true
	s.state.modes.begun = true
	s.mu.Unlock()
	s.endBlock()
	return true, nil
}

// backToBlock turns to the replica that the transaction follows, or that has p in a block, where
// a portal outlives its batch. It reports false where there is none, or where the client's transaction
// has failed, which that replica need not know of: then nobody may run the portal, and done
// means that the message has been answered.
func (s *session) backToBlock(p *portal, kind byte) (there, done bool, err error) {
	if err := s.settle(); err != nil || s.phaseSkipping() {
		return false, true, err
	}
	at := slices.Index(s.portals, p)
	s.mu.Lock()
	b := s.replica
	there = (s.keep.whole || at >= 0 && s.keep.block) && !s.keep.over && b != nil
	failed := s.status == 'E'
	if there && !failed {
		s.turnTo(b)
	}
	s.mu.Unlock()
	switch {
	case failed && at >= 0 && kind != 'C':
		return false, true, s.fail(errBlockFailed(), false)
	case failed && at >= 0:
		s.portals = slices.Delete(s.portals, at, at+1)
	}
	if !there || failed {
		return false, false, nil
	}
	return true, false, s.catchUp(b)
}

// lose notes that a replica has been lost; whole tells whether the transaction followed it.
func (m *modes) lose(whole bool) {
	if whole {
		m.lost = true
		m.begun = m.begun || !m.snapshot
	}
}

// unlooked is the error for a message that nobody here can read, in a transaction whose
// snapshot is a replica's; nil in others, which have begun on the primary with it.
func (s *session) unlooked() *pgerr.Error {
	s.look()
	if s.view.Follows != "" && s.view.Snapshot {
		d := s.plan.Policy.Decide(unreadable, &s.view, s.plan.fleet)
		return d.Err
	}
	s.ranOnPrimary(router.Opaque)
	return nil
}
