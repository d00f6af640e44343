package proxy

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/parser"
	"pgshunt/pool"
)

// bareSetting is a startup setting of the client that has been reset on the server. A
// server resets to what our login gave it, where the client's own is meant; it is
// set again before the next statement. local: reset for the transaction only.
type bareSetting struct {
	name  string
	local bool
}

// back notes that a parameter, or all, have been reset. The client is told of its own
// values, and does not hear of those of our login.
func (t *state) back(name string, local bool) {
	for _, set := range t.startup.All() {
		if name == "" && set.Name != "role" && set.Name != "session_authorization" || name == set.Name {
			t.bare = append(slices.Clip(t.bare), bareSetting{set.Name, local})
			t.untrue = true
		}
	}
}

// toldParameter is a reported parameter that the client set when it connected: its
// value at login, and as last told.
type toldParameter struct{ name, login, last string }

// welcomed notes what the client has been told at login.
func (t *state) welcomed(params []pgproto3.ParameterStatus) {
	for _, p := range params {
		if _, given := t.startup.Get(strings.ToLower(p.Name)); given {
			t.told = append(t.told, toldParameter{p.Name, p.Value, p.Value})
		}
	}
}

// telling takes a value that the server reports, and says whether the client is to hear
// it: not that of our login.
func (t *state) telling(name, value string) bool {
	own := strings.ToLower(name)
	if t.isBare(own) {
		return false
	}
	for i := range t.told {
		if t.told[i].name == name {
			t.told[i].last = value
		}
	}
	t.reported(own, value)
	return true
}

// reports encodes, when a batch has ended, what the client should have heard and did
// not: the server, at the value of our login, had nothing to report, or was not heard.
func (t *state) reports(b *pool.Backend) (out []byte) {
	for i := range t.told {
		p := &t.told[i]
		value := p.login
		if !t.isBare(strings.ToLower(p.name)) {
			value = b.Param(p.name)
		}
		if value != p.last {
			p.last = value
			out, _ = (&pgproto3.ParameterStatus{Name: p.name, Value: value}).Encode(out) // fails only above 1 GB
		}
	}
	t.untrue = len(t.bare) > 0
	return out
}

func (t *state) isBare(name string) bool {
	return slices.ContainsFunc(t.bare, func(b bareSetting) bool { return b.name == name })
}

// withoutBare returns bare without what a SET of a parameter has ended. One for the
// transaction leaves what is below it.
func withoutBare(bare []bareSetting, name string, below bool) []bareSetting {
	return slices.DeleteFunc(slices.Clone(bare), func(b bareSetting) bool { return b.name == name && (below || b.local) })
}

// label is what the primary's backend has when the session leaves it.
func (t *state) label() *pool.Settings {
	if len(t.bare) == 0 {
		return t.now
	}
	label := t.withoutBare(t.now)
	t.bare, t.bareBefore = nil, nil
	return label
}

// withoutBare returns s without what is at the value of our login for good.
func (t *state) withoutBare(s *pool.Settings) *pool.Settings {
	for _, b := range t.bare {
		if !b.local {
			s = s.Without(b.name)
		}
	}
	return s
}

// mayReset tells whether a statement may reset a startup setting of the client.
func (t *state) mayReset(st *parser.Statement) bool {
	if t.startup == nil {
		return false
	}
	for i := range st.Parts {
		if set := st.Parts[i].Setting; set != nil && (set.SQL == "" || len(set.Also) > 0) {
			return true
		}
	}
	return false
}

// restoreStartup sets again what a RESET or DISCARD ALL has taken to the values
// of our login: the client's own are those it asked for when it connected.
//
// It waits for the answers that are on their way: until a batch is over, what it has
// reset may come back, and the values that servers report are those of our login.
func (s *session) restoreStartup() error {
	s.resets = false
	if err := s.settle(); err != nil {
		return err
	}
	s.mu.Lock()
	t := &s.state
	if s.status == 'E' || len(t.bare) == 0 {
		s.mu.Unlock()
		return nil
	}
	s.to.Settings = t.withoutBare(t.local)
	want, bare := t.local, t.bare
	t.bare = nil
	if s.status == 'I' {
		t.bareBefore = nil
	}
	s.mu.Unlock()
	if err := s.replay(s.to, want); err != nil {
		return err
	}
	for _, b := range bare {
		set, _ := want.Get(b.name)
		if !b.local || set.SQL == "" {
			continue
		}
		s.expect(&reply{kind: 'Q', action: mute})
		sql := "SELECT pg_catalog.set_config(" + quoteLiteral(b.name) + ", " + quoteLiteral(set.Value) + ", true)"
		if err := s.sendMessage(&pgproto3.Query{String: sql}); err != nil {
			return err
		}
		s.setUnnamed(nil)
	}
	return nil
}

// native returns the settings of the primary's welcome by which text is written and
// read, and the application's name. Where the client has none of its own, they hold on
// replicas too.
func native(params []pgproto3.ParameterStatus) (s *pool.Settings) {
	for _, p := range params {
		if name := strings.ToLower(p.Name); settable[name] == p.Name {
			s = s.With(pool.Setting{Name: name, SQL: setConfig(name, p.Value), Value: p.Value})
		}
	}
	return s
}

// settable maps parameters that a session may set to the names that servers report them by.
var settable = map[string]string{
	"client_encoding": "client_encoding", "datestyle": "DateStyle", "intervalstyle": "IntervalStyle", "timezone": "TimeZone",
	"standard_conforming_strings": "standard_conforming_strings", "application_name": "application_name",
}

// likePrimary labels a replica's backend with what it has by itself as the primary does.
func (t *state) likePrimary(b *pool.Backend) {
	for _, set := range t.native.All() {
		if _, labelled := b.Settings.Get(set.Name); !labelled && b.Param(settable[set.Name]) == set.Value {
			b.Settings = b.Settings.With(set)
		}
	}
}

// strange tells whether a reported value, of a parameter that the session has not
// set, is other than after a login: a function has set it.
func (t *state) strange(name, value string) bool {
	login, known := t.native.Get(name)
	return known && login.Value != value
}

// abroad returns the settings that a replica is brought to for a session with own. The
// session's goroutine only.
func (s *session) abroad(own *pool.Settings) *pool.Settings {
	if s.abroadOf != own || s.abroadIs == nil {
		s.abroadOf, s.abroadIs = own, s.state.native
		for _, set := range own.All() {
			s.abroadIs = s.abroadIs.With(set)
		}
	}
	return s.abroadIs
}
