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
