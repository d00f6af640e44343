package proxy

import (
	"strings"

	"pgshunt/parser"
	"pgshunt/pool"
)

// state is what a session has made of itself: its settings with the semantics of
// transactions and savepoints, why it is pinned, and what the current
// transaction has written. Guarded by link.mu.
type state struct {
	// startup holds the settings the client asked for when it connected; RESET goes
	// back to them. now holds those in force, without SET LOCAL, and local with it.
	startup, now, local *pool.Settings
	// before is now as it was when the transaction began; savepoints remember it for ROLLBACK TO.
	before     *pool.Settings
	savepoints []savepoint
	// bare: the server has been told to reset settings, and so has those of our login
	// where the client's startup settings belong.
	// tell: that backend has been left; what the next one is brought to must be
	// reported to the client, who has heard of the reset.
	bare, tell bool
	pins       pins
	// temporary holds the temporary relations that the session has made on the primary.
	temporary []parser.Relation
	// written holds the relations written in the current transaction.
	written      []parser.Relation
	wroteUnknown bool
	// snapshot is set in a transaction whose reads all see one state of the data.
	snapshot bool
	// readOnly is set in a transaction that was begun or made READ ONLY.
	readOnly bool
}

type savepoint struct {
	name string
	now  *pool.Settings
}

// maxWritten bounds what is remembered of a transaction's writes; past it
// everything counts as written.
const maxWritten = 64

func (t *state) start(startup *pool.Settings, pin string) {
	t.startup, t.now, t.local, t.before = startup, startup, startup, startup
	if pin != "" {
		t.pins.add(pin)
	}
}

// sending notes what a statement may do the moment it is on its way to the
// primary, since it may have done it before the answer is here.
func (t *state) sending(st *parser.Statement) {
	if st.Unparsed != "" {
		t.wroteUnknown = true
		return
	}
	for i := range st.Parts {
		p := &st.Parts[i]
		t.pins.sending(p)
		t.temporary = append(t.temporary, temporary(p)...)
		t.readOnly = t.readOnly || p.ReadOnlyTx
		if set := p.Setting; set != nil && set.Name == "search_path" && strings.Contains(set.Value, "pg_temp") {
			t.pins.add(parser.PinTemporary) // what is created from now on is temporary without saying so
		}
		switch {
		case p.Isolation == "repeatable read", p.Isolation == "serializable":
			t.snapshot = true
		case p.Opaque, p.Kind == parser.Do, p.Kind == parser.CallProcedure, p.Kind == parser.Execute:
			t.wroteUnknown = true
		case len(t.written)+len(p.Writes)+len(p.Defines) > maxWritten:
			t.wroteUnknown = true
		default:
			t.written = append(t.written, p.Writes...)
			t.written = append(t.written, p.Defines...)
		}
	}
}

// changesState tells whether the completion of st has to be followed.
func changesState(st *parser.Statement) bool {
	for i := range st.Parts {
		switch p := &st.Parts[i]; p.Kind {
		case parser.Begin, parser.Commit, parser.Rollback, parser.Savepoint, parser.Release, parser.RollbackTo,
			parser.Discard, parser.Deallocate, parser.PrepareTransaction:
			return true
		default:
			if p.Setting != nil {
				return true
			}
		}
	}
	return false
}

// completed applies one statement that has succeeded; tag is its command tag.
func (t *state) completed(p *parser.Part, tag string) {
	switch p.Kind {
	case parser.Begin:
		t.before = t.now
	case parser.Commit, parser.Rollback, parser.PrepareTransaction:
		if tag == "COMMIT" || tag == "PREPARE TRANSACTION" {
			t.commit()
		} else if p.Kind != parser.PrepareTransaction {
			t.rollback()
		}
	case parser.Savepoint:
		t.savepoints = append(t.savepoints, savepoint{p.Name, t.now})
	case parser.Release:
		if i := t.savepoint(p.Name); i >= 0 {
			t.savepoints = t.savepoints[:i]
		}
	case parser.RollbackTo:
		if i := t.savepoint(p.Name); i >= 0 {
			t.now, t.local = t.savepoints[i].now, t.savepoints[i].now
			t.savepoints = t.savepoints[:i+1]
		}
	case parser.Discard:
		if tag == "DISCARD ALL" {
			t.bare = t.startup != nil
			t.now, t.local, t.temporary = t.startup, t.startup, nil
			t.pins.clear()
		}
		t.pins.discarded = t.pins.discarded || tag == "DISCARD SEQUENCES"
	default:
		if p.Setting != nil {
			t.set(p.Setting)
			for i := range p.Setting.Also {
				t.set(&p.Setting.Also[i])
			}
		}
	}
}

func (t *state) set(set *parser.Setting) {
	if set.Unknown {
		return // pinned when it was sent
	}
	to := pool.Setting{Name: set.Name, SQL: set.SQL, Value: set.Value}
	t.bare = t.bare || set.SQL == "" && t.startup != nil
	change := func(s *pool.Settings) *pool.Settings {
		switch start, given := t.startup.Get(set.Name); {
		case set.Name == "":
			return t.resetAll(s)
		case set.SQL != "":
			return s.With(to)
		case given:
			return s.With(start)
		default:
			return s.Without(set.Name)
		}
	}
	t.local = change(t.local)
	if !set.Local {
		t.now = change(t.now)
	}
	if set.Name == "session_authorization" { // which ends SET ROLE
		t.local, t.now = t.local.Without("role"), t.now.Without("role")
	}
}

// reported takes over the value that the server reports for a parameter. It is
// the whole truth where a statement is not: SET DateStyle TO iso leaves the
// order of day and month as it was.
func (t *state) reported(name, value string) {
	if t.bare {
		return // it is the value of our login, and not for long
	}
	name = strings.ToLower(name)
	whole := func(s *pool.Settings) *pool.Settings {
		set, ok := s.Get(name)
		if !ok || set.Value == value {
			return s
		}
		return s.With(pool.Setting{Name: name, SQL: setConfig(name, value), Value: value})
	}
	t.now, t.local = whole(t.now), whole(t.local)
}

// resetAll is RESET ALL, which leaves the identity alone.
func (t *state) resetAll(s *pool.Settings) *pool.Settings {
	out := t.startup
	for _, name := range []string{"role", "session_authorization"} {
		if set, ok := s.Get(name); ok {
			out = out.With(set)
		}
	}
	return out
}

// label is what the primary's backend has when the session leaves it.
func (t *state) label() *pool.Settings {
	if t.bare {
		t.bare, t.tell = false, true
		return t.withoutStartup()
	}
	return t.now
}

func (t *state) withoutStartup() *pool.Settings {
	left := t.local
	for _, set := range t.startup.All() {
		left = left.Without(set.Name)
	}
	return left
}

func (t *state) savepoint(name string) int {
	for i := len(t.savepoints) - 1; i >= 0; i-- {
		if t.savepoints[i].name == name {
			return i
		}
	}
	return -1
}

func (t *state) commit() {
	t.before, t.local = t.now, t.now
	t.savepoints = nil
}

func (t *state) rollback() {
	t.now, t.local = t.before, t.before
	t.savepoints = nil
}

// ready is called with each ReadyForQuery of the primary. Outside a transaction
// block it ends the implicit transaction that the batch was.
func (t *state) ready(status byte, failed bool) {
	if status != 'I' {
		return
	}
	if failed {
		t.rollback()
		t.pins.doubt = true
	} else {
		t.commit()
	}
}

// searchPath is the value of search_path in the session's settings, or the
// login's own.
func (t *state) searchPath(login string) string {
	if set, ok := t.local.Get("search_path"); ok && set.Value != "" {
		return set.Value
	}
	return login
}

// splitPath reads a search_path as SHOW prints it; "$user" becomes user.
func splitPath(path, user string) []string {
	var out []string
	for len(path) > 0 {
		path = strings.TrimLeft(path, " ,\t")
		if path == "" {
			break
		}
		var name string
		if path[0] == '"' {
			name, path = quotedName(path[1:])
		} else {
			end := strings.IndexAny(path, ", \t")
			if end < 0 {
				end = len(path)
			}
			name, path = strings.ToLower(path[:end]), path[end:]
		}
		if name == "$user" {
			name = user
		}
		out = append(out, name)
	}
	return out
}

func quotedName(s string) (name, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), s[i+1:]
	}
	return b.String(), ""
}
