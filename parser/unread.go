package parser

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// Grammar is the version of PostgreSQL whose grammar Definitions reads.
const Grammar = 16

// Unread lists what a script that was not, or could not be, read as a whole changes. Of ALTER TABLE that
// cannot be read this is Unknown: a newer PostgreSQL than Grammar may have words that are not known
// here. statements are the texts of these, by which a server can be asked whether it has.
func Unread(script string) (statements []string, list []Change) {
	for _, text := range Split(script) {
		if !defines(text) {
			continue
		}
		if tree := readable(text); tree != nil {
			for _, raw := range tree.Stmts {
				made, _ := changes(raw.Stmt)
				list = append(list, made...)
			}
		} else if name := altered(text); name != nil {
			statements = append(statements, text)
			list = append(list, named(name, Change{Action: Unknown, To: "ALTER TABLE with words that pgshunt cannot read"}))
		}
	}
	return statements, list
}

// MaxDefinition is the length in bytes up to which a statement of DDL is read. Others are parsed up to
// DefaultMaxParse; their trees grow with their rows.
const MaxDefinition = 1 << 20

// defines tells by its first words whether a statement may be one of DDL, so that the rows of a long
// script are not parsed.
func defines(text string) bool {
	var f Finder
	return f.Find([]byte(text + ";"))
}

// readable is the tree of a statement, nil where it is not read.
func readable(text string) *pg.ParseResult {
	if len(text) > MaxDefinition || strings.IndexByte(text, 0) >= 0 || survey([]byte(text)).deep {
		return nil
	}
	tree, err := parseTree(text)
	if err != nil {
		return nil
	}
	return tree
}

// altered is the name in ALTER TABLE [IF EXISTS] [ONLY] name, nil where a statement is none.
func altered(text string) (name []string) {
	l := lexer{src: []byte(text)}
	skip := []string{"alter", "table", "if", "exists", "only"}
	for i := 0; ; {
		t, start, end := l.next()
		word := text[start:end]
		switch {
		case t == tokenSpace || t == tokenComment:
			continue
		case t == tokenWord && name == nil:
			lower := strings.ToLower(word)
			at := i
			for at < len(skip) && skip[at] != lower {
				at++
			}
			if at < len(skip) && (i >= 2 || at == i) {
				i = at + 1
				continue
			}
			if i < 2 {
				return nil
			}
			name = []string{lower}
		case t == tokenWord:
			name = append(name, strings.ToLower(word))
		case t == tokenQuoted && i >= 2 && word[0] == '"':
			name = append(name, strings.ReplaceAll(word[1:len(word)-1], `""`, `"`))
		case name == nil || i < 2:
			return nil
		}
		if name == nil {
			return nil
		}
		if l.at(0) != '.' {
			return name
		}
		l.pos++
	}
}
