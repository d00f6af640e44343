package parser

import "strings"

// Bounds of what is handed to the C parser. Its stack use grows with the depth of the
// tree, about 300 bytes a level; these keep far below the 2 MiB that threads have at
// least on hosts without an unusually small limit.
const (
	maxNesting = 400  // brackets and nested CASE, UNION, JOIN, BEGIN
	maxChain   = 2500 // operands of one expression without a comma, AND or OR
)

// preface is what one cheap pass over a text finds out before it is parsed.
type preface struct {
	deep      bool   // parsing it could need too much stack
	backslash bool   // see Statement.Backslashes
	hint      string // see Statement.Hint
}

// survey scans text once. The depth is estimated from above: brackets add up, and so
// do the operands chained in each open bracket, since "1+1+1" and "NOT NOT a" nest
// as deep as they are long.
func survey(text []byte) (p preface) {
	var (
		l       = lexer{src: text}
		leading = true
		open    [maxNesting]int // chain length saved at each open bracket
		depth   int
		nesting int // brackets and nesting key words
		chain   int // operands since the last separator, all open brackets added
		base    int // what chain falls back to at a separator
	)
	for {
		t, start, end := l.next()
		switch t {
		case tokenEnd, tokenBad:
			// A bad token is a syntax error, which the C parser reports without recursing.
			if t == tokenEnd {
				p.backslash = l.backslash
				return p
			}
		case tokenSpace:
			continue
		case tokenComment:
			if leading && p.hint == "" {
				p.hint = hintIn(text[start:end])
			}
			continue
		case tokenOperator:
			switch text[start] {
			case '(', '[':
				if depth == maxNesting {
					p.deep = true
					return p
				}
				open[depth] = base
				depth++
				nesting++
				base = chain
			case ')', ']':
				if depth > 0 {
					depth--
					nesting--
					chain, base = base, open[depth]
				}
			case ',':
				chain = base
			case ';':
				chain, base, nesting, depth = 0, 0, 0, 0
			default:
				chain++
			}
		case tokenWord:
			switch wordEffect(text[start:end]) {
			case wordSeparates:
				chain = base
			case wordNests:
				nesting++
				chain++
			case wordUnnests:
				nesting = max(nesting-1, depth)
			default:
				chain++
			}
		default:
			chain++
		}
		leading = false
		if nesting > 5*maxNesting || chain > maxChain {
			p.deep = true
			return p
		}
	}
}

// hintIn returns the directive in a /*+ pgshunt: ... */ comment, else "".
func hintIn(comment []byte) string {
	s, ok := strings.CutPrefix(string(comment), "/*+")
	if !ok {
		return ""
	}
	s = strings.TrimSpace(strings.TrimSuffix(s, "*/"))
	s, ok = strings.CutPrefix(s, "pgshunt:")
	if !ok {
		return ""
	}
	return strings.TrimSpace(s)
}

type effect uint8

const (
	wordPlain effect = iota
	wordSeparates
	wordNests
	wordUnnests
)

// wordEffect says what a word does to the depth of the tree around it. AND and OR
// chains are flat in PostgreSQL's trees; joins and set operations lean to the left.
func wordEffect(word []byte) effect {
	if len(word) < 2 || len(word) > 9 {
		return wordPlain
	}
	var lower [9]byte
	for i, c := range word {
		lower[i] = c | 0x20
	}
	switch string(lower[:len(word)]) {
	case "and", "or":
		return wordSeparates
	case "union", "intersect", "except", "join", "case", "begin", "if", "loop":
		return wordNests
	case "end":
		return wordUnnests
	}
	return wordPlain
}
