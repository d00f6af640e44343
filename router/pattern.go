package router

import "strings"

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
		return glob(pattern, name)
	}
	return glob(left, schema) && glob(right, name)
}

// glob goes back to the last star only, so its time is bounded by the product of the lengths.
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
