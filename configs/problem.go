package configs

import (
	"fmt"
	"regexp"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// File, Line and Column say where, counted from 1. Line is 0 when the
	// configuration did not come from a file.
	File         string
	Line, Column int
	// Key is the path of the key, such as replicas[1].name; "" for the file itself.
	Key string
	// Text says what is wrong and what to write instead.
	Text string
	// Source is the offending line, without what may be secret.
	Source string
	// caret is how many characters of Source come before the place.
	caret int
}

// String is the problem in the form compilers use, with the line and a caret.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	if p.Source != "" {
		number := fmt.Sprintf("%5d | ", p.Line)
		margin := strings.Repeat(" ", len(number)-2) + "| "
		fmt.Fprintf(&b, "\n%s%s\n%s%s^", number, p.Source, margin, strings.Repeat(" ", p.caret))
	}
	return b.String()
}

// Error holds everything that is wrong with a configuration, in the order of the
// file. Load, Parse and Validate return no other type for a bad configuration.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Values that a quoted line must not show: what follows a key that looks like a
// password's, however misspelt, and the password inside a URL.
var secretValue = regexp.MustCompile(`(?i)(["']?\b\w*(?:pas+w|pwd|secret|verif|token)\w*["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}][^,}]*)`)

// fileValue is a key that holds a file's name and may be shown after all.
var fileValue = regexp.MustCompile(`(?i)_file["']?\s*[:=]`)

// excerpt prepares a source line for an error text: tabs become single spaces so
// that the caret fits, and secrets are masked.
func excerpt(line string) string {
	line = strings.TrimRight(strings.ReplaceAll(line, "\t", " "), "\r")
	line = secretValue.ReplaceAllStringFunc(line, func(m string) string {
		if fileValue.MatchString(m) {
			return m
		}
		parts := secretValue.FindStringSubmatch(m)
		if reference.MatchString(parts[2]) {
			return m
		}
		return parts[1] + mask
	})
	return URL(line).String()
}

// nearest returns the word among those offered that was probably meant, or "".
func nearest(word string, offered []string) string {
	best, limit := "", max(1, min(3, len(word)/2))+1
	for _, o := range offered {
		if d := distance(strings.ToLower(word), strings.ToLower(o)); d < limit {
			best, limit = o, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours
// that turn a into b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, above, row [65]int
	for j := range b {
		above[j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

// oneOf joins words as prose does: "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
