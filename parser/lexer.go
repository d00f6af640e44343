package parser

// token is one lexical element of SQL, as far as pgshunt must tell them apart.
type token uint8

const (
	tokenEnd      token = iota
	tokenSpace          // white space
	tokenComment        // -- to the end of the line, or /* nested */
	tokenWord           // an identifier or key word, not quoted
	tokenQuoted         // "identifier", also U&"..."
	tokenString         // 'text' in all its forms, dollar quotes, and continuation over lines
	tokenNumber         // 1, 1.5, 1e5, 0xff, 1_000
	tokenParam          // $1
	tokenOperator       // any other single byte, or ".."
	tokenBad            // not terminated, or glued together in a way PostgreSQL rejects
)

// lexer cuts SQL into tokens by the rules of PostgreSQL's scan.l with
// standard_conforming_strings on. It never fails and never allocates: what scan.l
// would reject comes out as tokenBad. It is not the parser; it only has to agree
// with it about where strings, comments and numbers begin and end (FuzzLexer).
type lexer struct {
	src []byte
	pos int
	// backslash is set once a plain string with a backslash has passed.
	backslash bool
}

// next returns the next token and its place in src. After tokenEnd it keeps returning it.
func (l *lexer) next() (t token, start, end int) {
	start = l.pos
	if start >= len(l.src) {
		return tokenEnd, start, start
	}
	switch c := l.src[start]; {
	case c >= '_' && c <= 'z' && c != '`':
		t = l.word(c) // most tokens are words in lower case
	case isSpace(c):
		for l.pos < len(l.src) && isSpace(l.src[l.pos]) {
			l.pos++
		}
		t = tokenSpace
	case c == '-' && l.at(1) == '-':
		l.lineComment()
		t = tokenComment
	case c == '/' && l.at(1) == '*':
		t = l.blockComment()
	case c == '\'':
		t = l.quote(start, quotingPlain)
	case c == '"':
		t = l.identifier(start)
	case c == '$':
		t = l.dollar()
	case isDigit(c) || c == '.' && isDigit(l.at(1)):
		t = l.number()
	case isWordStart(c):
		t = l.word(c)
	case c == '.' && l.at(1) == '.':
		l.pos += 2
		t = tokenOperator
	default:
		l.pos++
		t = tokenOperator
	}
	return t, start, l.pos
}

func (l *lexer) at(offset int) byte {
	if i := l.pos + offset; i < len(l.src) {
		return l.src[i]
	}
	return 0
}

func (l *lexer) lineComment() {
	for l.pos < len(l.src) && l.src[l.pos] != '\n' && l.src[l.pos] != '\r' {
		l.pos++
	}
}

func (l *lexer) blockComment() token {
	depth := 0
	for l.pos < len(l.src) {
		switch {
		case l.src[l.pos] == '/' && l.at(1) == '*':
			depth++
			l.pos += 2
		case l.src[l.pos] == '*' && l.at(1) == '/':
			depth--
			l.pos += 2
			if depth == 0 {
				return tokenComment
			}
		default:
			l.pos++
		}
	}
	return tokenBad
}

// quoting is how a string writes a quote inside itself.
type quoting uint8

const (
	quotingPlain   quoting = iota // ''
	quotingEscapes                // '' or \', in E'...'
	quotingBits                   // not at all, in B'...' and X'...'
)

// quote reads the string whose first quote is at open, with its continuations.
func (l *lexer) quote(open int, q quoting) token {
	for l.pos = open + 1; l.pos < len(l.src); l.pos++ {
		switch l.src[l.pos] {
		case '\\':
			if q == quotingEscapes {
				l.pos++
			} else {
				l.backslash = true
			}
		case '\'':
			if l.at(1) == '\'' && q != quotingBits {
				l.pos++
				continue
			}
			l.pos++
			if next := l.continuation(); next >= 0 {
				l.pos = next // the loop steps over this opening quote
				continue
			}
			return tokenString
		}
	}
	l.pos = len(l.src)
	return tokenBad
}

// continuation returns where the string just closed goes on: the place of a quote
// that is separated from it by white space with at least one line end, or -1.
func (l *lexer) continuation() int {
	newline := false
	for i := l.pos; i < len(l.src); i++ {
		switch c := l.src[i]; {
		case c == '\n' || c == '\r':
			newline = true
		case isSpace(c):
		case c == '\'' && newline:
			return i
		case c == '-' && newline && i+1 < len(l.src) && l.src[i+1] == '-':
			for i < len(l.src) && l.src[i] != '\n' && l.src[i] != '\r' {
				i++
			}
		default:
			return -1
		}
	}
	return -1
}

// identifier reads the quoted identifier whose first quote is at open.
func (l *lexer) identifier(open int) token {
	for l.pos = open + 1; l.pos < len(l.src); l.pos++ {
		if l.src[l.pos] != '"' {
			continue
		}
		if l.at(1) != '"' {
			l.pos++
			return tokenQuoted
		}
		l.pos++
	}
	l.pos = len(l.src)
	return tokenBad
}

// dollar reads $1, $$string$$, $tag$string$tag$ or a lone dollar sign.
func (l *lexer) dollar() token {
	start := l.pos
	l.pos++
	if isDigit(l.at(0)) {
		for isDigit(l.at(0)) {
			l.pos++
		}
		return l.unglued(tokenParam)
	}
	for isWordStart(l.at(0)) || l.pos > start+1 && isDigit(l.at(0)) {
		l.pos++
	}
	if l.at(0) != '$' {
		l.pos = start + 1
		return tokenBad
	}
	l.pos++
	tag := l.src[start:l.pos]
	for ; l.pos+len(tag) <= len(l.src); l.pos++ {
		if l.src[l.pos] == '$' && string(l.src[l.pos:l.pos+len(tag)]) == string(tag) {
			l.pos += len(tag)
			return tokenString
		}
	}
	l.pos = len(l.src)
	return tokenBad
}

func (l *lexer) number() token {
	if l.src[l.pos] == '0' {
		top := byte(0)
		switch l.at(1) | 0x20 {
		case 'x':
			top = 'f'
		case 'o':
			top = '7'
		case 'b':
			top = '1'
		}
		if top != 0 {
			l.pos += 2
			for isHex(l.at(0)) && l.at(0)|0x20 <= top|0x20 || l.at(0) == '_' {
				l.pos++
			}
			return l.unglued(tokenNumber)
		}
	}
	l.digits()
	// "1..10" is a range in PL/pgSQL: the dots are not part of the number.
	if l.at(0) == '.' && l.at(1) != '.' {
		l.pos++
		l.digits()
	}
	if l.at(0)|0x20 == 'e' {
		n := 1
		if l.at(1) == '+' || l.at(1) == '-' {
			n = 2
		}
		if isDigit(l.at(n)) {
			l.pos += n
			l.digits()
		}
	}
	return l.unglued(tokenNumber)
}

func (l *lexer) digits() {
	for {
		src, i := l.src, l.pos
		for i < len(src) && isDigit(src[i]) {
			i++
		}
		l.pos = i
		if l.at(0) != '_' || !isDigit(l.at(1)) {
			return
		}
		l.pos++
	}
}

// unglued returns t, or tokenBad where a letter or digit follows at once.
func (l *lexer) unglued(t token) token {
	if c := l.at(0); isWordStart(c) || isDigit(c) || c == '$' {
		return tokenBad
	}
	return t
}

// word reads an identifier, or a string or quoted identifier with a prefix letter.
func (l *lexer) word(first byte) token {
	switch first | 0x20 {
	case 'e':
		if l.at(1) == '\'' {
			return l.quote(l.pos+1, quotingEscapes)
		}
	case 'b', 'x':
		if l.at(1) == '\'' {
			return l.quote(l.pos+1, quotingBits)
		}
	case 'u':
		if l.at(1) == '&' && l.at(2) == '\'' {
			return l.quote(l.pos+2, quotingPlain)
		}
		if l.at(1) == '&' && l.at(2) == '"' {
			return l.identifier(l.pos + 2)
		}
	}
	src, i := l.src, l.pos+1
	for i < len(src) && inWord[src[i]] {
		i++
	}
	l.pos = i
	return tokenWord
}

// inWord holds the bytes that may follow the first of an identifier.
var inWord = func() (table [256]bool) {
	for c := range table {
		b := byte(c)
		table[c] = isWordStart(b) || isDigit(b) || b == '$'
	}
	return table
}()

// isSpace leaves out the vertical tab, which is white space since PostgreSQL 16 only.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' && c != '\v' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isWordStart(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80
}
