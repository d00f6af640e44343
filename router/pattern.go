package router

import (
	"strings"

	"pgshunt/internal/glob"
)

// Patterns match names. '*' stands for any run of characters; a leading '!' excludes.
// Identifiers are compared as PostgreSQL stores them, folded to lower case unless quoted.
type Patterns []string

// match reports whether name matches a pattern and none that excludes; patterns that
// only exclude match everything else.
func (p Patterns) match(name string) bool { return p.matchIn("", name) }

// matchIn is match for schema.name. A pattern without a dot is about the name in any schema.
func (p Patterns) matchIn(schema, name string) bool {
	found, includes := false, false
	for _, pattern := range p {
		pattern, excludes := strings.CutPrefix(pattern, "!")
		includes = includes || !excludes
		if !globIn(pattern, schema, name) {
			continue
		}
		if excludes {
			return false
		}
		found = true
	}
	return found || len(p) > 0 && !includes
}

// globIn matches the two parts of a pattern with a dot apart, so that no joined name
// has to be made.
func globIn(pattern, schema, name string) bool {
	left, right, dotted := strings.Cut(pattern, ".")
	if !dotted {
		return glob.Match(pattern, name)
	}
	return glob.Match(left, schema) && glob.Match(right, name)
}
