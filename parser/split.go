package parser

import "strings"

// Split cuts a script into its statements at semicolons outside strings, comments,
// brackets and BEGIN ATOMIC bodies, as psql does. Statements that hold nothing but
// space and comments are left out. Unlike Parse it copes with text that is not valid.
func Split(text string) (statements []string) {
	l := lexer{src: []byte(text)}
	begin, depth, atomic := 0, 0, 0
	empty, last := true, ""
	for {
		t, start, end := l.next()
		word := text[start:end]
		switch t {
		case tokenSpace, tokenComment:
			continue
		case tokenWord:
			switch strings.ToLower(word) {
			case "atomic":
				if last == "begin" {
					atomic++
				}
			case "case":
				if atomic > 0 {
					atomic++
				}
			case "end":
				if atomic > 0 {
					atomic--
				}
			}
		case tokenOperator:
			switch word {
			case "(", "[":
				depth++
			case ")", "]":
				depth = max(depth-1, 0)
			}
		}
		last = strings.ToLower(word)
		cut := t == tokenOperator && word == ";" && depth == 0 && atomic == 0
		if !cut && t != tokenEnd {
			empty = false
			continue
		}
		if !empty {
			statements = append(statements, strings.TrimSpace(text[begin:start]))
		}
		begin, empty = end, true
		if t == tokenEnd {
			return statements
		}
	}
}
