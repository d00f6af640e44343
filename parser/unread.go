package parser

import "strings"

// Grammar is the version of PostgreSQL whose grammar Definitions reads.
const Grammar = 16

// Unread lists the ALTER TABLE of a script that could not be read as a whole: what they change is Unknown.
// A newer PostgreSQL than Grammar may have words that are not known here. statements are their texts, by
// which a server can be asked whether it has.
func Unread(script string) (statements []string, list []Change) {
	for _, text := range Split(script) {
		name := altered(text)
		if name == nil || readable(text) {
			continue
		}
		statements = append(statements, text)
		list = append(list, named(name, Change{Action: Unknown, To: "ALTER TABLE with words that pgshunt cannot read"}))
	}
	return statements, list
}

func readable(text string) bool {
	if len(text) > DefaultMaxParse || strings.IndexByte(text, 0) >= 0 || survey([]byte(text)).deep {
		return false
	}
	_, err := parseTree(text)
	return err == nil
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
