package proxy

import (
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/parser"
	"pgshunt/pool"
)

// statement is what a session knows of a prepared statement.
type statement struct {
	name     string // the client's
	facts    *parser.Statement
	prepared *pool.Prepared
	// verbatim: the primary knows it by the client's own name, since the backend
	// serves this session alone.
	verbatim bool
	// lasting: the facts are those of the text whatever the session's settings become.
	lasting bool
	// since is the moment of the client's Parse: a copy on a server that is older may
	// have been made under another schema.
	since uint64
	// described is set once the client has asked for the columns.
	described *bool
	// inquiry is set where pgshunt answers; no server has the statement then.
	inquiry *inquiry
}

// size is what a statement counts for in the bound on those of a session.
func (st statement) size(name string) int {
	if st.prepared == nil {
		return 0
	}
	return len(name) + st.prepared.Size()
}

// portal is a bound statement. The facts are those of its statement; onReplica
// says where it lives.
type portal struct {
	facts     *parser.Statement
	described *bool // of the statement
	onReplica bool
	// spent: it has been run to its end, or closed.
	spent bool
	// unseen is set where it may write more than its text shows.
	unseen bool
	// trains is what it trains, or nil.
	trains *training
	// timeout is the bound that a rule sets.
	timeout time.Duration
	// bound is what a statement sets that is parametric; nil where that is not known.
	bound []parser.Setting
	// asked is set in the portal of an inquiry.
	asked *asked
}

// names holds a session's prepared statements and portals. Statements are known
// on servers under names of ours, so that sessions that prepare the same text
// share it, but for those that SQL refers to (sqlnames.go); portals keep the
// client's names. The session's goroutine only.
type names struct {
	statements map[string]statement
	bytes      int // of statements
	// bySQL is set where SQL that prepares or drops statements has been sent.
	bySQL bool
	// signed is the signature of the settings signedOf.
	signed   string
	signedOf *pool.Settings
	unnamed  statement // prepared is nil when there is none
	portals  map[string]*portal
	blank    portal        // the unnamed portal
	log      []*nameChange // those that may still fail, and what came after them
	spare    *nameChange   // one that is certain and can be used again
	batch    uint64        // counts Syncs, up to which an error makes the server skip
	lent     []string      // names that the current backend has in use for a complaint
}

// nameChange is what a message does to the names, kept until it is known whether
// the server accepts, refuses or skips the message.
type nameChange struct {
	name          string
	all           bool // every named statement goes, as by DEALLOCATE ALL
	before, after statement
	beforeAll     map[string]statement
	bytesBefore   int         // all only
	fate          fate        // guarded by link.mu
	also          *nameChange // another change by the same message
	batch         uint64
}

// fate is what became of a message that changes names.
type fate uint8

const (
	pending fate = iota
	kept
	skipped
	refused
)

// maxPortals bounds what is remembered of portals. One that is forgotten, or no
// longer there, is the current server's to judge.
const maxPortals = 1000

// bind notes a portal.
func (n *names) bind(name []byte, p portal) {
	if len(name) == 0 {
		n.blank = p
		return
	}
	n.bindNamed(string(name), p)
}

func (n *names) bindNamed(name string, p portal) {
	if n.portals == nil || len(n.portals) >= maxPortals {
		n.portals = make(map[string]*portal)
	}
	n.portals[name] = &p
}

// portal returns what is known of a portal; the zero portal has no facts.
func (n *names) portal(name []byte) *portal {
	if len(name) == 0 {
		return &n.blank
	}
	if p := n.portals[string(name)]; p != nil {
		return p
	}
	return &portal{}
}

// get returns a statement; prepared is nil where there is none.
func (n *names) get(name string) statement {
	if name == "" {
		return n.unnamed
	}
	return n.statements[name]
}

func (n *names) put(name string, st statement) {
	if name == "" {
		n.unnamed = st
		return
	}
	n.bytes += st.size(name) - n.statements[name].size(name)
	if st.prepared == nil {
		delete(n.statements, name)
		return
	}
	if n.statements == nil {
		n.statements = make(map[string]statement)
	}
	n.statements[name] = st
}

func (n *names) apply(c *nameChange) {
	if c.all {
		c.beforeAll, n.statements = n.statements, nil
		c.bytesBefore, n.bytes = n.bytes, 0
		return
	}
	c.before = n.get(c.name)
	n.put(c.name, c.after)
}

// change notes what a message that is about to be sent does to a name.
func (s *session) change(name []byte, st statement) *nameChange {
	st.name = string(name)
	c := s.names.spare
	if c == nil {
		c = new(nameChange)
	}
	s.names.spare = nil
	c.name, c.after, c.fate, c.also = st.name, st, pending, nil
	return s.note(c)
}

// changeAll notes that a message is about to drop every named statement.
func (s *session) changeAll() *nameChange { return s.note(&nameChange{all: true}) }

func (s *session) note(c *nameChange) *nameChange {
	s.undoNames()
	n := &s.names
	if len(n.log) >= 8 { // look has not come by
		s.mu.Lock()
		n.forgetKept()
		s.mu.Unlock()
	}
	c.batch = n.batch
	n.apply(c)
	n.log = append(n.log, c)
	return c
}

// forgetKept forgets the oldest changes as far as they are certain. The caller holds mu.
func (n *names) forgetKept() {
	done := 0
	for done < len(n.log) && n.log[done].fate == kept {
		if c := n.log[done]; !c.all {
			n.spare = c // its message has been answered: nobody else knows it
		}
		done++
	}
	if done == len(n.log) {
		n.log = n.log[:0]
	} else {
		n.log = n.log[done:]
	}
}

// undoName records that the server has refused a message or is going to skip it.
// The caller holds mu.
func (s *session) undoName(c *nameChange, f fate) {
	for ; c != nil; c = c.also {
		if c.fate != refused {
			c.fate = f
			s.undone = append(s.undone, c)
			s.renamed.set(true)
		}
	}
}

// undoNames takes back the changes that have failed on the server. Others may have
// been noted since, so all that are not certain are taken back, the latest first,
// and those that did not fail are made again.
func (s *session) undoNames() {
	if !s.renamed.is() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renamed.set(false)
	if len(s.undone) > 0 {
		s.undone = nil
		s.names.repeat()
	}
	for _, c := range s.bySQL {
		s.names.apply(c)
		if len(s.names.log) > 0 {
			s.names.log = append(s.names.log, c)
		}
	}
	s.bySQL = nil
}

// repeat makes the changes that have not failed once more. The caller holds mu.
func (n *names) repeat() {
	for i := len(n.log) - 1; i >= 0; i-- {
		if c := n.log[i]; c.all {
			n.statements, n.bytes = c.beforeAll, c.bytesBefore
		} else {
			n.put(c.name, c.before)
		}
	}
	log := n.log
	n.log = nil
	for _, c := range log {
		switch {
		case c.fate == refused && !c.all && c.name == "":
			c.after = statement{} // a Parse that fails leaves no unnamed statement
		case c.fate == refused, c.fate == skipped:
			continue
		}
		n.apply(c)
		n.log = append(n.log, c)
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

// known is lookup for a message that is about to be sent. A change that an earlier
// batch makes is waited for; one of the same batch fails only together with the message.
func (s *session) known(name []byte) (statement, error) {
	if s.names.bySQL || len(s.names.log) > 0 && s.uncertain(string(name)) {
		if err := s.settle(); err != nil {
			return statement{}, err
		}
		s.names.bySQL = false
	}
	return s.lookup(name), nil
}

func (s *session) uncertain(name string) bool {
	if s.names.log[0].batch == s.names.batch { // and so are those that came later
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names.forgetKept()
	for _, c := range s.names.log {
		if c.fate == pending && c.batch < s.names.batch && (c.name == name || c.all && name != "") {
			return true
		}
	}
	return false
}

// takeBackNames closes the names that were lent to the current backend, in a batch
// of its own: the one before may have failed.
func (s *session) takeBackNames() error {
	if len(s.names.lent) == 0 {
		return nil
	}
	for _, name := range s.names.lent {
		s.expect(&reply{kind: 'C', action: mute})
		if err := s.sendMessage(closeStatement(name)); err != nil {
			return err
		}
	}
	s.names.lent = nil
	s.expect(&reply{kind: 'S', action: mute})
	return s.sendMessage(&pgproto3.Sync{})
}

// signature is that of the settings that the next Parse meets.
func (s *session) signature() string {
	local := s.seen
	if !s.steady {
		s.mu.Lock()
		local = s.state.local
		s.mu.Unlock()
	}
	if s.names.signedOf != local {
		s.names.signedOf, s.names.signed = local, local.Signature()
	}
	return s.names.signed
}

// settleSettings waits for statements on their way that may change the settings.
func (s *session) settleSettings() error {
	if s.steady {
		return nil
	}
	s.mu.Lock()
	changing := false
	s.inflight.each(func(r *reply) {
		if !r.follow {
			return
		}
		changing = changing || s.state.local != s.state.before // an end of the transaction would undo them
		for i := range r.statement.Parts {
			changing = changing || r.statement.Parts[i].Setting != nil
		}
	})
	s.mu.Unlock()
	if !changing {
		return nil
	}
	return s.settle()
}

// unsure stands for the unnamed statement of a backend of which it is not known what
// it is: perhaps another session's, which must not be run.
var unsure = new(pool.Prepared)
