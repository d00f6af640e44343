// Package glob matches names with the patterns of the configuration.
package glob

import "strings"

// Match reports whether s is matched by pattern, in which '*' stands for any run
// of characters and everything else for itself. It backtracks to the last star
// only, so its time is bounded by the product of the lengths.
func Match(pattern, s string) bool {
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
