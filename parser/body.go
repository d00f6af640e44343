package parser

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// Bounds of the work that one body can cause: bodies inside bodies, and pieces of SQL,
// each of which is a parse. Beyond them the Part is Opaque.
const (
	maxLevels    = 8
	maxFragments = 1000
)

// bodyOf returns the language and text that the options of DO and CREATE FUNCTION hold.
func bodyOf(options []*pg.Node) (language, body string) {
	for _, n := range options {
		d := n.GetDefElem()
		switch d.GetDefname() {
		case "language":
			language = strings.ToLower(d.Arg.GetString_().GetSval())
		case "as":
			body = d.Arg.GetString_().GetSval()
			if list := d.Arg.GetList(); list != nil && len(list.Items) > 0 {
				body = list.Items[0].GetString_().GetSval()
			}
		}
	}
	return language, body
}

func (w *walker) doBlock(s *pg.DoStmt) {
	w.part.literal = true
	language, body := bodyOf(s.Args)
	if language == "" {
		language = "plpgsql"
	}
	w.procedural(language, body)
}

func (w *walker) createFunction(s *pg.CreateFunctionStmt) {
	w.part.literal = true
	w.define(names(s.Funcname))
	w.quoting(func() {
		w.nodes(s.Parameters)
		w.nodes(s.Options)
		w.typeName(s.ReturnType)
		if s.SqlBody != nil {
			w.node(s.SqlBody)
		}
		if language, body := bodyOf(s.Options); body != "" {
			w.procedural(language, body)
		}
	})
}

// procedural walks the body of a function or DO block as far as it can be read.
func (w *walker) procedural(language, body string) {
	switch language {
	case "plpgsql":
		w.block(body)
	case "sql":
		if !w.sql(body) {
			w.part.Opaque = true
		}
	default:
		w.part.Opaque = true
	}
}

// sql walks statements nested in a body; ok is false if they cannot be parsed.
func (w *walker) sql(text string) (ok bool) {
	if w.level == maxLevels || survey([]byte(text)).deep {
		return false
	}
	tree, err := parseTree(text)
	if err != nil {
		return false
	}
	outer := w.text
	w.level++
	for _, s := range tree.Stmts {
		// A DO in the body reads its own body from here; were it the outer text still,
		// it would find itself again and never end.
		w.text = text[s.StmtLocation:]
		if s.StmtLen > 0 {
			w.text = w.text[:s.StmtLen]
		}
		w.nested(s.Stmt)
	}
	w.text = outer
	w.level--
	return true
}

// nested walks one statement of a body. Its facts are merged, but not its kind, name,
// or what it does to the session: those are the outer statement's.
func (w *walker) nested(n *pg.Node) {
	p := w.part
	kind, name, body, pin, setting := p.Kind, p.Name, p.Body, p.Pin, p.Setting
	defining, top := w.defining, w.top
	w.defining, w.top = false, nil
	w.statement(n)
	w.defining, w.top = defining, top
	if p.Kind == DDL {
		p.Opaque = true // objects come and go in a way the tree does not order
	}
	inner := p.Setting
	p.Kind, p.Name, p.Body, p.Setting = kind, name, body, setting
	switch {
	case w.quoted:
		p.Pin = pin
	case inner != nil && inner != setting && !inner.Local:
		w.addSetting(Setting{Name: inner.Name, Unknown: true})
		w.pin(PinSetting)
	}
}

// block walks a PL/pgSQL body: pg_query's PL/pgSQL parser finds the SQL in it, which
// is then parsed and walked like any other.
func (w *walker) block(body string) {
	fragments, ok := w.fragments(body)
	if !ok || len(fragments) > maxFragments {
		w.part.Opaque = true
	}
	for _, f := range fragments[:min(len(fragments), maxFragments)] {
		if f.dynamic {
			w.part.Opaque = true
		}
		if f.text != "" && !w.sql(f.sql()) {
			w.part.Opaque = true
		}
	}
}

func parseBody(statement string) (string, error) {
	parsers <- struct{}{}
	defer func() { <-parsers }()
	return pg.ParsePlPgSqlToJSON(statement)
}

// fragment is one piece of SQL in a PL/pgSQL body.
type fragment struct {
	text    string
	mode    int  // RawParseMode of PostgreSQL
	dynamic bool // a string made at run time is executed
}

// sql makes a whole statement of the fragment.
func (f fragment) sql() string {
	const expression = 2 // RAW_PARSE_PLPGSQL_EXPR; those above it are assignments
	switch {
	case f.mode < expression:
		return f.text
	case f.mode == expression:
		return "SELECT " + f.text
	}
	l := lexer{src: []byte(f.text)}
	for depth := 0; ; {
		t, start, end := l.next()
		switch {
		case t == tokenEnd:
			return "SELECT " + f.text
		case t != tokenOperator:
		case f.text[start] == '(' || f.text[start] == '[':
			depth++
		case f.text[start] == ')' || f.text[start] == ']':
			depth--
		case f.text[start] == '=' && depth == 0:
			return "SELECT " + f.text[end:]
		}
	}
}

// fragments lists the SQL in the statement's body in order of appearance. PL/pgSQL is
// parsed from the whole statement, since its parameters are variables of the body.
func (w *walker) fragments(body string) (list []fragment, ok bool) {
	if survey([]byte(body)).deep {
		return nil, false
	}
	tree, err := parseBody(w.text)
	if err != nil {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(tree))
	for {
		t, err := d.Token()
		if err != nil {
			return list, errors.Is(err, io.EOF)
		}
		// Keys and values are not told apart here; a text that happens to equal a key
		// can only add a harmless fragment mark, never hide one.
		switch t {
		case "query":
			if v, err := d.Token(); err == nil {
				if text, ok := v.(string); ok {
					list = append(list, fragment{text: text})
				}
			}
		case "parseMode":
			if v, err := d.Token(); err == nil {
				if mode, ok := v.(float64); ok && len(list) > 0 {
					list[len(list)-1].mode = int(mode)
				}
			}
		case "PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors", "dynquery":
			list = append(list, fragment{dynamic: true})
		}
	}
}
