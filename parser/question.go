package parser

import "strings"

// Question is a text that asks pgshunt itself, and no server:
//
//	EXPLAIN (ROUTE [, FORMAT JSON]) statement
//	SHOW ROUTE FOR 'text'
//	SHOW pgshunt.routes
//
// The first is PostgreSQL's grammar with an option that PostgreSQL does not have, the
// second is none of its grammar at all, so that neither can mean anything else.
type Question struct {
	// Text is the SQL that is asked about. Several statements only with SHOW.
	Text string
	// Show is set for SHOW ROUTE FOR and SHOW pgshunt.routes.
	Show bool
	// Counts is set for SHOW pgshunt.routes, which has no Text.
	Counts bool
	// JSON is set where the answer is to be one JSON document.
	JSON bool
	// Wrong says why the question cannot be answered, "" if it can.
	Wrong string
}

// words gives the tokens of a text but for white space and comments.
type words struct {
	lexer
	t          token
	start, end int
}

func (w *words) next() {
	for {
		w.t, w.start, w.end = w.lexer.next()
		if w.t != tokenSpace && w.t != tokenComment {
			return
		}
	}
}

func (w *words) text() string { return string(w.src[w.start:w.end]) }

func (w *words) word(name string) bool {
	return w.t == tokenWord && strings.EqualFold(w.text(), name)
}

func (w *words) operator(c byte) bool {
	return w.t == tokenOperator && w.end == w.start+1 && w.src[w.start] == c
}

// question returns what text asks pgshunt, or nil.
func question(text []byte) *Question {
	w := words{lexer: lexer{src: text}}
	w.next()
	begin := w.start
	switch {
	case w.word("explain"):
		return w.explain(begin)
	case w.word("show"):
		return w.show()
	}
	return nil
}

// explain reads what follows EXPLAIN. What stands before it, which may be a hint, is
// part of the text that is asked about.
func (w *words) explain(begin int) *Question {
	w.next()
	if !w.operator('(') {
		return nil
	}
	route := false
	q := &Question{}
	for {
		w.next()
		if w.t != tokenWord {
			return nil
		}
		name, value := strings.ToLower(w.text()), ""
		if w.next(); w.t == tokenWord || w.t == tokenNumber || w.t == tokenString {
			value = strings.ToLower(strings.Trim(w.text(), "'"))
			w.next()
		}
		switch {
		case name == "route":
			route = value != "off" && value != "false" && value != "0"
		case name == "format":
			q.JSON = value == "json"
			if value != "json" && value != "text" {
				q.Wrong = "EXPLAIN (ROUTE) has the formats text and json"
			}
		default:
			q.Wrong = "EXPLAIN option ROUTE cannot be combined with " + strings.ToUpper(name)
		}
		if w.operator(')') {
			break
		}
		if !w.operator(',') {
			return nil
		}
	}
	if !route {
		return nil
	}
	q.Text = string(w.src[:begin]) + string(w.src[w.end:])
	return q
}

// show reads what follows SHOW.
func (w *words) show() *Question {
	w.next()
	q := &Question{Show: true}
	switch {
	case w.word("route"):
		w.next()
		if !w.word("for") {
			return nil
		}
		if w.next(); w.t == tokenString {
			q.Text, q.Wrong = stringConstant(w.text())
		} else {
			q.Wrong = "SHOW ROUTE FOR needs a text in quotes"
		}
	case w.word("pgshunt"):
		w.next()
		if !w.operator('.') {
			return nil
		}
		if w.next(); !w.word("routes") {
			return nil
		}
		q.Counts = true
	default:
		return nil
	}
	if q.Wrong != "" {
		return q
	}
	if w.next(); w.operator(';') {
		w.next()
	}
	if w.t != tokenEnd {
		q.Wrong = "nothing may follow SHOW ROUTE FOR in its text"
		if q.Counts {
			return nil // PostgreSQL has the say about a text of several statements
		}
	}
	return q
}

// stringConstant is the value of a string constant, in whichever way it is quoted.
func stringConstant(literal string) (value, wrong string) {
	const bad = "SHOW ROUTE FOR needs a text in quotes"
	tree, err := parseTree("SELECT " + literal)
	if err != nil || len(tree.Stmts) != 1 {
		return "", bad
	}
	targets := tree.Stmts[0].Stmt.GetSelectStmt().GetTargetList()
	if len(targets) != 1 {
		return "", bad
	}
	value, ok := constant(targets[0].GetResTarget().GetVal())
	if !ok {
		return "", bad
	}
	return value, ""
}
