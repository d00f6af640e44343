package proxy

import (
	"slices"
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
	// custom holds the parameters with a class ("app.user") that the session has touched.
	// A server process that has once heard of one has it for good, empty after RESET and
	// whatever becomes of the transaction, where others do not know it; so the RESET
	// goes with the session.
	custom *pool.Settings
	// bare names the startup settings that the server has been told to reset, and so has
	// with the value of our login. bareBefore is bare when the transaction began.
	bare, bareBefore []bareSetting
	// told holds what the client has been told of those it set when it connected; see
	// reports.
	told []toldParameter
	// native is what a login to the primary has of what is reported and can be set.
	native *pool.Settings
	// untrue is set once something of told may have escaped the client.
	untrue bool
	// due is what the client is still to be told before anything else.
	due  []byte
	pins pins
	// temporary holds the temporary relations that the session has made on the primary.
	temporary []parser.Relation
	// written holds the relations written in the current transaction.
	written      []parser.Relation
	wroteUnknown bool
	// writes is set in a transaction that may write, by whatever means; wrote once one
	// may have been committed since the primary was last asked for its position.
	writes, wrote bool
	curb          curb
	ended         uint64 // counts transactions
	// defines is set in a transaction that may change the schema.
	defines bool
	modes   modes
	// login is what a login of the client's has by default.
	login struct{ isolation, readOnly string }
}

type savepoint struct {
	name       string
	now, local *pool.Settings
	bare       []bareSetting
	readOnly   bool
}

// maxWritten bounds what is remembered of a transaction's writes; past it
// everything counts as written.
const maxWritten = 64

func (t *state) start(startup *pool.Settings, pin string) {
	t.startup, t.now, t.local, t.before = startup, startup, startup, startup
	if pin != "" {
		t.pins.add(pin)
	}
	if path, given := startup.Get("search_path"); given {
		t.pins.searching(&parser.Setting{Name: path.Name, Value: path.Value})
	}
}

// sending notes what a statement may do the moment it is on its way to the
// primary, since it may have done it before the answer is here.
func (t *state) sending(st *parser.Statement) {
	if st.Unparsed != "" {
		t.sendingUnseen()
		return
	}
	for i := range st.Parts {
		p := &st.Parts[i]
		t.writes = t.writes || mayWrite(p)
		t.defines = t.defines || len(p.Defines) > 0 || p.Kind == parser.DDL
		t.pins.sending(p)
		t.temporary = append(t.temporary, temporary(p)...)
		t.modes.sending(p)
		if p.Setting != nil {
			t.pins.searching(p.Setting)
			t.modes.setting(p.Setting)
		}
		switch {
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

// oneSnapshot tells whether all reads of a transaction of a level see one state of the data.
func oneSnapshot(level string) bool {
	return strings.EqualFold(level, "repeatable read") || strings.EqualFold(level, "serializable")
}

// changesState tells whether the completion of st has to be followed.
func changesState(st *parser.Statement) bool {
	if st.Plain {
		return false
	}
	if st.Unparsed != "" {
		return true
	}
	for i := range st.Parts {
		switch p := &st.Parts[i]; p.Kind {
		case parser.Begin, parser.Commit, parser.Rollback, parser.Savepoint, parser.Release, parser.RollbackTo,
			parser.Discard, parser.Prepare, parser.Execute, parser.Deallocate, parser.PrepareTransaction:
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
	case parser.Commit, parser.Rollback, parser.PrepareTransaction:
		t.curb.inBlock = false
		t.modes.ended(p.Chain)
		if tag == "COMMIT" || tag == "PREPARE TRANSACTION" {
			t.wrote = t.wrote || t.writes // another transaction may follow at once
			t.commit()
		} else if p.Kind != parser.PrepareTransaction {
			t.rollback()
		}
	case parser.Savepoint:
		t.savepoints = append(t.savepoints, savepoint{p.Name, t.now, t.local, t.bare, t.modes.readOnly})
	case parser.Release:
		if i := t.savepoint(p.Name); i >= 0 {
			t.savepoints = t.savepoints[:i]
		}
	case parser.RollbackTo:
		t.curb.inBlock = false // as at the savepoint, before which it was lifted
		if i := t.savepoint(p.Name); i >= 0 {
			t.now, t.local, t.bare = t.savepoints[i].now, t.savepoints[i].local, t.savepoints[i].bare
			t.modes.readOnly = t.savepoints[i].readOnly
			t.savepoints = t.savepoints[:i+1]
		}
	case parser.Discard:
		if tag == "DISCARD ALL" {
			t.back("", false)
			t.now, t.temporary = t.withCustom(t.startup), nil
			t.local = t.now
			t.pins.clear()
		}
		t.pins.discarded = t.pins.discarded || tag == "DISCARD SEQUENCES"
	case parser.Begin:
		t.beginning(p)
	default:
		t.modes.sending(p) // again: something before it may have ended in another way than was thought
		if p.Setting != nil {
			t.set(p.Setting)
			for i := range p.Setting.Also {
				t.set(&p.Setting.Also[i])
			}
		}
	}
}

func (t *state) set(set *parser.Setting) {
	if set.Unknown || strings.HasPrefix(set.Name, "transaction_") {
		return // pinned when it was sent; gone with the transaction
	}
	t.touch(set.Name)
	to := pool.Setting{Name: set.Name, SQL: set.SQL, Value: set.Value}
	if rest, local := strings.CutPrefix(set.SQL, "SET LOCAL "); local {
		to.SQL = "SET " + rest // a replica beside the transaction has none of its own
	}
	if set.SQL == "" {
		t.back(set.Name, set.Local)
	} else {
		t.bare = withoutBare(t.bare, set.Name, !set.Local)
	}
	change := func(s *pool.Settings) *pool.Settings {
		switch start, given := t.startup.Get(set.Name); {
		case set.Name == "":
			return t.resetAll(s)
		case set.SQL != "":
			return s.With(to)
		case given:
			return s.With(start)
		default:
			return t.withCustom(s.Without(set.Name))
		}
	}
	t.local = change(t.local)
	if !set.Local {
		t.now = change(t.now)
	}
	if set.Name == "session_authorization" { // which ends SET ROLE
		t.local = t.local.Without("role")
		if !set.Local {
			t.now = t.now.Without("role")
		}
	}
}

// touch notes that the server process knows a parameter from now on.
func (t *state) touch(name string) {
	if _, known := t.custom.Get(name); known || !strings.Contains(name, ".") || strings.HasPrefix(name, "pgshunt.") {
		return
	}
	t.custom = t.custom.With(pool.Setting{Name: name, SQL: "RESET " + pool.QuoteName(name)})
	t.now, t.local, t.before = t.withCustom(t.now), t.withCustom(t.local), t.withCustom(t.before)
	for i := range t.savepoints {
		p := &t.savepoints[i]
		p.now, p.local = t.withCustom(p.now), t.withCustom(p.local)
	}
}

func (t *state) withCustom(s *pool.Settings) *pool.Settings {
	for _, set := range t.custom.All() {
		if _, has := s.Get(set.Name); !has {
			s = s.With(set)
		}
	}
	return s
}

// reported takes over the value that the server reports for a parameter. It is
// the whole truth where a statement is not: SET DateStyle TO iso leaves the
// order of day and month as it was, and a function may set what it likes.
func (t *state) reported(name, value string) {
	name = strings.ToLower(name)
	if t.isBare(name) {
		return // it is the value of our login, and not for long
	}
	whole := func(s *pool.Settings) *pool.Settings {
		set, ok := s.Get(name)
		if ok && set.Value == value || !ok && !t.strange(name, value) {
			return s
		}
		return s.With(pool.Setting{Name: name, SQL: setConfig(name, value), Value: value})
	}
	t.now, t.local = whole(t.now), whole(t.local)
}

// resetAll is RESET ALL, which leaves the identity alone.
func (t *state) resetAll(s *pool.Settings) *pool.Settings {
	out := t.withCustom(t.startup)
	for _, name := range []string{"role", "session_authorization"} {
		if set, ok := s.Get(name); ok {
			out = out.With(set)
		}
	}
	return out
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
	if t.local == t.now && t.before == t.now && len(t.bare) == 0 && len(t.bareBefore) == 0 && t.savepoints == nil {
		return // as nearly always
	}
	t.before, t.local = t.now, t.now
	t.bare = slices.DeleteFunc(slices.Clone(t.bare), func(b bareSetting) bool { return b.local })
	t.bareBefore, t.savepoints = t.bare, nil
}

func (t *state) rollback() {
	t.now, t.local = t.before, t.before
	t.bare, t.savepoints = t.bareBefore, nil
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

// currentUser is whom "$user" in it stands for; login is who has logged in.
func (t *state) currentUser(login string) string {
	for _, name := range []string{"role", "session_authorization"} {
		if set, ok := t.local.Get(name); ok && set.Value != "" && set.Value != "none" && set.Value != "default" {
			return set.Value
		}
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
