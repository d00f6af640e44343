package pool

import (
	"slices"
	"strings"
)

// Settings is an immutable set of session parameters that differ from what a
// login to the server gives. The nil *Settings is the empty set.
type Settings struct{ list []Setting }

// Setting is one parameter. Statements that set "role" and
// "session_authorization" are settings like any other.
type Setting struct {
	Name  string // lower case
	SQL   string // the statement that sets it
	Value string // as SHOW prints it, where known
}

// With returns s with one parameter set.
func (s *Settings) With(set Setting) *Settings {
	i, found := s.find(set.Name)
	if found && s.list[i] == set {
		return s
	}
	var old []Setting
	if s != nil {
		old = s.list
	}
	list := make([]Setting, 0, len(old)+1)
	list = append(list, old[:i]...)
	list = append(list, set)
	if found {
		i++
	}
	return &Settings{append(list, old[i:]...)}
}

// Without returns s with one parameter back at its default.
func (s *Settings) Without(name string) *Settings {
	i, found := s.find(name)
	if !found {
		return s
	}
	if len(s.list) == 1 {
		return nil
	}
	return &Settings{slices.Delete(slices.Clone(s.list), i, i+1)}
}

// Get returns the setting of a name.
func (s *Settings) Get(name string) (Setting, bool) {
	i, found := s.find(name)
	if !found {
		return Setting{}, false
	}
	return s.list[i], true
}

// All returns the settings in the order of their names. The caller must not change the slice.
func (s *Settings) All() []Setting {
	if s == nil {
		return nil
	}
	return s.list
}

func (s *Settings) find(name string) (int, bool) {
	if s == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(s.list, name, func(e Setting, n string) int { return strings.Compare(e.Name, n) })
}

// Signature tells settings apart as far as they may change what a statement
// means; "" where there are none.
func (s *Settings) Signature() string {
	var b strings.Builder
	for _, set := range s.All() {
		// A parameter that has been reset has the value it would have had anyway.
		if set.Name != "application_name" && !strings.HasPrefix(set.SQL, "RESET ") {
			b.WriteString(set.Name + "=" + set.SQL + "\x00")
		}
	}
	return b.String()
}

// Equal tells whether both sets are the same.
func (s *Settings) Equal(t *Settings) bool {
	return s == t || slices.Equal(s.All(), t.All())
}

// Replay returns the statements that lead from s to t, in the order in which they
// must run; each stands alone, so that one which fails does not take others along.
//
// A change of identity comes last and the old identity is dropped first, since
// the other statements need the rights of the login role.
func (s *Settings) Replay(t *Settings) []string {
	if s.Equal(t) {
		return nil
	}
	var out, identity []string
	for _, name := range []string{"session_authorization", "role"} {
		from, had := s.Get(name)
		to, has := t.Get(name)
		auth, _ := s.Get("session_authorization")
		newAuth, _ := t.Get("session_authorization")
		if from == to && had == has && auth == newAuth {
			continue
		}
		if had {
			out = append(out, resetOf(name))
		}
		if has {
			identity = append(identity, to.SQL)
		}
	}
	slices.Reverse(out)
	for _, from := range s.All() {
		if _, kept := t.Get(from.Name); !kept && !isIdentity(from.Name) {
			out = append(out, resetOf(from.Name))
		}
	}
	for _, to := range t.All() {
		if from, ok := s.Get(to.Name); (!ok || from != to) && !isIdentity(to.Name) {
			if ok && to.Name == "datestyle" && !strings.Contains(to.Value, ",") {
				out = append(out, resetOf(to.Name)) // half a value keeps the other half of the one before
			}
			out = append(out, to.SQL)
		}
	}
	return append(out, identity...)
}

// Doubted is s where none of its parameters, nor those of o, is known to have its value:
// Replay sets or resets them all.
func (s *Settings) Doubted(o *Settings) (out *Settings) {
	for _, list := range [][]Setting{s.All(), o.All()} {
		for _, set := range list {
			out = out.With(Setting{Name: set.Name, SQL: "?"})
		}
	}
	return out
}

// SameIdentity tells whether both sets run statements as the same role.
func (s *Settings) SameIdentity(t *Settings) bool {
	for _, name := range []string{"session_authorization", "role"} {
		a, _ := s.Get(name)
		b, _ := t.Get(name)
		if a != b {
			return false
		}
	}
	return true
}

func isIdentity(name string) bool { return name == "role" || name == "session_authorization" }

func resetOf(name string) string {
	if name == "session_authorization" {
		return "RESET SESSION AUTHORIZATION"
	}
	return "RESET " + QuoteName(name)
}

// QuoteName quotes a parameter's name, which may have a class ("pgml.venv").
func QuoteName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}
