package parser

import "slices"

// A Finder looks for statements of DDL that may change tables, types or who may see what, in a
// text that comes in pieces and need not be kept. It goes by the first words of statements, which
// it tells from strings and comments as PostgreSQL does; SELECT INTO is found too. A zero byte ends a text, and
// another may follow. One goroutine at a time.
type Finder struct {
	// Escapes is set where a plain string has escapes (standard_conforming_strings is off), and Wide
	// where a byte behind one of 0x80 or more may look like a backslash (encodings as SJIS). With Halfwidth
	// too, none stands behind those from 0xA1 to 0xDF, which are characters by themselves.
	Escapes, Wide, Halfwidth bool

	in  region
	was byte // the byte before
	// wide is set behind the first byte of a character whose second one is no byte of its own.
	wide bool
	// escaped is set behind a backslash, escapes in a string that has them.
	escaped, escapes bool
	// closed is set behind a string, beyond which it may go on: at once, or on another line.
	closed, adjacent, newline bool
	depth                     int // of comments
	brackets, outer           int // outer are those that SELECT stands in
	word                      []byte
	tag                       []byte // of a dollar quote; matched counts how much of it has come again
	matched                   int
	verb                      verb
	found                     bool
}

// region is where in a text a Finder is.
type region uint8

const (
	inCode region = iota
	inString
	inIdentifier
	inLineComment
	inBlockComment
	inTag
	inDollars
)

// verb is what the first word of a statement makes of it.
type verb uint8

const (
	verbNone    verb = iota // there was no word yet
	verbOther               // the statement is none of DDL
	verbMakes               // CREATE or DROP of what the next word says
	verbAlters              // ALTER
	verbSelects             // SELECT, which may be INTO
	verbWith                // WITH, which SELECT may follow
)

// modifiers stand between CREATE and what is made.
var modifiers = []string{"or", "replace", "global", "local", "unlogged", "unique", "constraint", "recursive", "trusted", "procedural"}

// Objects that no feed has to do with; views have column names that ALTER VIEW may say, and
// of a table too.
var (
	harmless = []string{
		"access", "aggregate", "cast", "collation", "conversion", "database", "default", "event", "extension", "function", "group", "language", "large",
		"operator", "procedure", "publication", "role", "routine", "sequence", "server", "statistics", "subscription", "system", "tablespace",
		"text", "transform", "user",
	}
	harmlessMade = []string{"temp", "temporary", "view", "materialized", "trigger"}
)

// Find looks at the next piece, and tells whether there has been such a statement by now.
func (f *Finder) Find(piece []byte) bool {
	for i := 0; i < len(piece) && !f.found; i++ {
		if i += f.dull(piece[i:]); i == len(piece) {
			break
		}
		c := piece[i]
		if f.wide && c >= 0x40 {
			f.wide, c = false, 0x80
		} else {
			f.wide = f.Wide && c >= 0x80 && !(f.Halfwidth && c >= 0xa1 && c <= 0xdf)
		}
		f.was = f.step(c)
	}
	return f.found
}

// Undecided tells whether what the text has first is not known yet, or can only be known from all of it.
func (f *Finder) Undecided() bool { return f.verb != verbOther }

// step takes one byte, and returns it unless it is used up: no two of "/*/" that overlap count.
func (f *Finder) step(c byte) byte {
	if c == 0 { // the end of a string of the protocol
		f.endWord()
		*f = Finder{Escapes: f.Escapes, Wide: f.Wide, Halfwidth: f.Halfwidth, word: f.word, tag: f.tag, found: f.found}
		return c
	}
	switch f.in {
	case inCode:
		return f.code(c)
	case inString:
		switch {
		case f.escaped:
			f.escaped = false
		case c == '\\':
			f.escaped = f.escapes
		case c == '\'':
			f.in, f.closed, f.adjacent, f.newline = inCode, true, true, false
		}
	case inIdentifier:
		if c == '"' { // one that is doubled begins another, which is as good
			f.in = inCode
		}
	case inLineComment:
		if c == '\n' || c == '\r' {
			f.in = inCode
		}
	case inBlockComment:
		return f.comment(c)
	case inTag:
		return f.dollar(c)
	case inDollars:
		switch {
		case c == f.tag[f.matched]:
			if f.matched++; f.matched == len(f.tag) {
				f.in = inCode
			}
		case c == '$':
			f.matched = 1
		default:
			f.matched = 0
		}
	}
	return c
}

func (f *Finder) comment(c byte) byte {
	switch {
	case f.was == '/' && c == '*':
		f.depth++
	case f.was == '*' && c == '/':
		if f.depth--; f.depth == 0 {
			f.in = inCode
		}
	default:
		return c
	}
	return 0
}

// dollar reads the tag of a dollar quote, of which there may be none.
func (f *Finder) dollar(c byte) byte {
	switch {
	case c == '$':
		f.tag = append(f.tag, c)
		f.in, f.matched = inDollars, 0
	case isWordStart(c) || isDigit(c) && len(f.tag) > 1:
		f.tag = append(f.tag, c)
	default:
		f.in = inCode
		return f.code(c)
	}
	return c
}

func (f *Finder) code(c byte) byte {
	if isWordStart(c) || len(f.word) > 0 && (isDigit(c) || c == '$') {
		const longest = 24
		if f.closed = false; len(f.word) < longest {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			f.word = append(f.word, c)
		}
		return c
	}
	prefix := string(f.word) == "e"
	f.endWord()
	comment := f.was == '-' && c == '-' || f.was == '/' && c == '*'
	if !comment && (f.was == '-' || f.was == '/') {
		f.closed = false
	}
	switch {
	case c == '\'':
		if !f.closed || !f.adjacent && !f.newline {
			f.escapes = f.Escapes || prefix
		}
		f.in, f.escaped = inString, false
		f.other()
	case c == '\n' || c == '\r':
		f.newline = true
	case isSpace(c), !comment && (c == '-' || c == '/'):
	case comment && c == '-':
		f.in, f.closed = inLineComment, f.closed && f.newline
	case comment:
		f.in, f.depth, f.closed = inBlockComment, 1, false
		c = 0
	default:
		f.closed = false
		f.mark(c)
	}
	f.adjacent = false
	return c
}

// mark is a byte of code that is in no word, string or comment.
func (f *Finder) mark(c byte) {
	switch c {
	case ';':
		f.verb, f.brackets = verbNone, 0
		return
	case '"':
		f.in = inIdentifier
	case '$':
		f.in, f.tag = inTag, append(f.tag[:0], c)
	case '(':
		if f.brackets++; f.verb == verbNone { // a SELECT may stand in it
			return
		}
	case ')':
		f.brackets--
	}
	f.other()
}

// other notes something that is no word, with which no statement of DDL begins.
func (f *Finder) other() {
	if f.verb == verbNone {
		f.verb = verbOther
	}
}

func (f *Finder) endWord() {
	if len(f.word) == 0 {
		return
	}
	word := string(f.word)
	f.word = f.word[:0]
	switch f.verb {
	case verbNone:
		switch word {
		case "create", "drop":
			f.verb = verbMakes
		case "alter":
			f.verb = verbAlters
		case "grant", "revoke", "reassign":
			f.found = true
		case "select":
			f.verb, f.outer = verbSelects, f.brackets
		case "with":
			f.verb, f.outer = verbWith, f.brackets
		default:
			f.verb = verbOther
		}
	case verbMakes, verbAlters:
		switch {
		case slices.Contains(modifiers, word):
		case slices.Contains(harmless, word), f.verb == verbMakes && slices.Contains(harmlessMade, word):
			f.verb = verbOther
		default:
			f.found = true
		}
	case verbWith: // INTO of an INSERT comes before its SELECT
		if word == "select" && f.brackets <= f.outer {
			f.verb = verbSelects
		}
	case verbSelects:
		f.found = word == "into" && f.brackets <= f.outer
	}
}
