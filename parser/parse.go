package parser

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// DefaultMaxParse is the length in bytes above which a text is not parsed.
const DefaultMaxParse = 64 << 10

// The values of Statement.Unparsed.
const (
	UnparsedSyntax   = "syntax"
	UnparsedTooLong  = "too long"
	UnparsedTooDeep  = "too deep"
	UnparsedEncoding = "encoding"
)

// parsers bounds the C parses under way: each occupies an operating system thread, and
// a flood of new texts must not take more of them than there are cores.
var parsers = make(chan struct{}, runtime.NumCPU())

// Parse reads text without any cache. The result is never nil and may be shared.
func Parse(text string) *Statement {
	return parse(text, DefaultMaxParse)
}

func parse(text string, maxParse int) *Statement {
	st := &Statement{Text: text}
	if len(text) > maxParse {
		st.Unparsed, st.Backslashes = UnparsedTooLong, strings.Contains(text, `\`)
		return st
	}
	raw := []byte(text)
	if bytes.IndexByte(raw, 0) >= 0 || !utf8.Valid(raw) {
		// C strings end at a NUL, and the scanner takes UTF-8 for granted.
		st.Unparsed = UnparsedEncoding
		return st
	}
	p := survey(raw)
	st.Hint, st.Backslashes = p.hint, p.backslash
	if st.Question = question(raw); st.Question != nil {
		return st
	}
	if p.deep {
		st.Unparsed = UnparsedTooDeep
		return st
	}
	tree, err := parseTree(text)
	if err != nil {
		st.Unparsed = UnparsedSyntax
		return st
	}
	st.Parts = make([]Part, len(tree.Stmts))
	for i, raw := range tree.Stmts {
		part := &st.Parts[i]
		part.Start = int(raw.StmtLocation)
		part.End = len(text)
		if raw.StmtLen > 0 {
			part.End = part.Start + int(raw.StmtLen)
		}
		extract(part, raw.Stmt, text[part.Start:part.End])
	}
	st.Plain = isPlain(st)
	if len(st.Parts) == 1 && overRows(st.Parts[0].Kind) {
		st.Serial = serial.Add(1)
	}
	return st
}

// serial counts Statements over rows.
var serial atomic.Uint32

func parseTree(text string) (*pg.ParseResult, error) {
	parsers <- struct{}{}
	defer func() { <-parsers }()
	return pg.Parse(text)
}

// extract fills part with the facts of one statement.
func extract(part *Part, stmt *pg.Node, text string) {
	w := walker{part: part, text: text}
	w.ranges = w.few[:0]
	w.statement(stmt)
	w.finish()
}
