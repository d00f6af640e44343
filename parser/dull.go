package parser

import "bytes"

// dull counts the bytes of p that need no look, which is nearly all of a large text: those before
// the end of a string or the next backslash in it, and in a statement that is none of DDL those
// between two marks where nothing begins.
func (f *Finder) dull(p []byte) (n int) {
	switch {
	case f.in == inString && !f.escapes:
		return before(p, '\'')
	case f.in == inString && !f.escaped && !f.Wide:
		for n < len(p) && p[n] != '\'' && p[n] != '\\' && p[n] != 0 {
			n++
		}
	case f.in == inDollars && f.matched == 0:
		return before(p, '$')
	case f.in == inCode && f.verb == verbOther && marks[p[0]] == separates:
		for i, c := range p {
			if marks[c] == begins {
				break
			}
			if marks[c] == separates {
				n = i
			}
		}
		if n > 0 {
			f.word, f.was = f.word[:0], 0
		}
	}
	return n
}

// before counts the bytes before the next c or zero byte, or all.
func before(p []byte, c byte) int {
	n := bytes.IndexByte(p, c)
	if n < 0 {
		n = len(p)
	}
	if end := bytes.IndexByte(p[:n], 0); end >= 0 {
		return end
	}
	return n
}

// What bytes do in a statement that is none of DDL: behind one that separates nothing is left of
// what came before.
const (
	separates = 1
	begins    = 2
)

var marks = [256]byte{',': separates, '(': separates, ')': separates, '\'': begins, '"': begins, '$': begins, '-': begins, '/': begins, ';': begins, 0: begins}
