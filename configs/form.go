package configs

import (
	"fmt"
	"strings"

	"pgshunt/internal/glob"
)

// Reads is routing.reads, which has three forms: "primary", "replica", and
// {to: replica, max_lag: 2s}.
type Reads struct {
	To string `yaml:"to"`
	// MaxLag is the bound on a replica's lag; 0 is none.
	MaxLag Duration `yaml:"max_lag"`
}

// String prints the shortest form.
func (r Reads) String() string {
	if r.MaxLag == 0 {
		return r.To
	}
	return fmt.Sprintf("{to: %s, max_lag: %s}", r.To, r.MaxLag)
}

// Freshness is how much of the primary's history a replica must have applied. The
// zero value asks for nothing: "any" in the file.
type Freshness struct {
	// Session is set by "session": everything this session has written.
	Session bool
	// Bound is set by a duration such as "2s".
	Bound Duration
}

// String prints the form of the file.
func (f Freshness) String() string {
	switch {
	case f.Session:
		return "session"
	case f.Bound != 0:
		return f.Bound.String()
	}
	return "any"
}

// MarshalText makes JSON print the form of the file.
func (f Freshness) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func parseFreshness(text string) (Freshness, error) {
	switch text {
	case "any":
		return Freshness{}, nil
	case "session":
		return Freshness{Session: true}, nil
	}
	d, err := parseDuration(text)
	if err != nil {
		return Freshness{}, fmt.Errorf("%q is not a freshness; write any, session, or a bound such as 2s", text)
	}
	return Freshness{Bound: d}, nil
}

// Patterns name relations, functions, users and the like. One text or a list of
// them in the file. '*' stands for any run of characters, the comparison minds
// case (identifiers are folded before they get here), and a leading '!' excludes.
type Patterns []string

// Match reports whether name matches a pattern and none that excludes. Patterns
// that only exclude match everything else.
func (p Patterns) Match(name string) bool { return p.match("", name) }

// MatchQualified is Match for schema.name. A pattern without a dot is about the
// name in any schema.
func (p Patterns) MatchQualified(schema, name string) bool { return p.match(schema, name) }

func (p Patterns) match(schema, name string) bool {
	found, includes := false, false
	for _, pattern := range p {
		pattern, excludes := strings.CutPrefix(pattern, "!")
		includes = includes || !excludes
		subject := name
		if schema != "" && strings.Contains(pattern, ".") {
			subject = schema + "." + name
		}
		if !glob.Match(pattern, subject) {
			continue
		}
		if excludes {
			return false
		}
		found = true
	}
	return found || len(p) > 0 && !includes
}
