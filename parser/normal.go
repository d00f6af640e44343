package parser

import "sync"

// scratches hold the normal form while it is looked up.
var scratches = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// What stands for a literal in a normal form. PostgreSQL accepts these bytes nowhere
// outside quotes and comments, so no text equals another's normal form.
const (
	normalNumber = 1
	normalString = 2
)

// appendNormal appends to b the normal form of text: literals replaced by a mark for
// their kind, runs of white space and comments by one space, the rest byte for byte.
// Two texts with the same normal form have the same tree but for the values of their
// literals, or fail to parse. It is not ok where that could not be promised, and for
// texts with a hint, which is a fact kept in a comment.
func appendNormal(b, text []byte) (normal []byte, ok bool) {
	l := lexer{src: text}
	for {
		if end := plainRun(text, l.pos); end > l.pos {
			if text[l.pos] == ' ' && (len(b) == 0 || b[len(b)-1] == ' ') {
				l.pos++
			}
			b = append(b, text[l.pos:end]...)
			l.pos = end
		}
		t, start, end := l.next()
		switch t {
		case tokenEnd:
			return b, !l.backslash
		case tokenBad:
			return b, false
		case tokenComment:
			if end-start > 2 && text[start+2] == '+' {
				return b, false
			}
			fallthrough
		case tokenSpace:
			if len(b) > 0 && b[len(b)-1] != ' ' {
				b = append(b, ' ')
			}
		case tokenNumber:
			b = append(b, normalNumber)
		case tokenString:
			b = append(b, normalString)
		default:
			if text[start] < ' ' {
				return b, false
			}
			b = append(b, text[start:end]...)
		}
	}
}

// plainRun returns where a run of words, single spaces and simple punctuation ends
// that begins with a token at from. It stands in its normal form as it is, and is most
// of most texts, which need not be cut into tokens then (FuzzNormal).
func plainRun(text []byte, from int) int {
	i := from
	for i < len(text) {
		switch plain[text[i]] {
		case plainLetter:
			word := i
			for i++; i < len(text) && (plain[text[i]] == plainLetter || plain[text[i]] == plainDigit); {
				i++
			}
			if i < len(text) && (text[i] == '\'' || text[i] == '"' || text[i] == '&') {
				return word // e'...' and its like begin with a word
			}
			continue
		case plainSpace:
			if i > from && text[i-1] == ' ' {
				return i
			}
		case plainDot:
			if i+1 == len(text) || plain[text[i+1]] != plainLetter {
				return i
			}
		case plainMark:
		default: // a number or parameter, a quote, what may begin a comment
			return i
		}
		i++
	}
	return i
}

// What a byte may be in a plain run.
const (
	notPlain    = iota
	plainLetter // may begin a word
	plainDigit  // may go on with one
	plainSpace
	plainDot
	plainMark
)

var plain = func() (table [256]uint8) {
	for c := range 0x80 {
		switch b := byte(c); {
		case isWordStart(b):
			table[c] = plainLetter
		case isDigit(b), b == '$':
			table[c] = plainDigit
		}
	}
	for _, c := range "(),;=<>*+[]:%" {
		table[c] = plainMark
	}
	table[' '], table['.'] = plainSpace, plainDot
	return table
}()

// shareable reports whether every fact of st holds for all texts with its normal form.
func shareable(st *Statement) bool {
	if st.Unparsed != "" || len(st.Parts) != 1 || st.Parts[0].literal {
		return false
	}
	switch st.Parts[0].Kind {
	case Select, Values, Insert, Update, Delete, Merge:
		return true
	}
	return false
}
