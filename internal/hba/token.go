package hba

import "strings"

// token is one word; a quoted one is never a keyword.
type token struct {
	text   string
	quoted bool
}

func (t token) is(keyword string) bool { return !t.quoted && t.text == keyword }

// line is one logical line: fields, each a list of tokens that commas join.
type line struct {
	number int // of the first physical line, from 1
	fields [][]token
	err    string
}

// tokenize cuts a file into lines. Empty ones are left out.
func tokenize(data string) []line {
	var out []line
	physical := strings.Split(data, "\n")
	for i := 0; i < len(physical); i++ {
		l := line{number: i + 1}
		text := strings.TrimSuffix(physical[i], "\r")
		for strings.HasSuffix(text, `\`) && i+1 < len(physical) {
			i++
			text = text[:len(text)-1] + strings.TrimSuffix(physical[i], "\r")
		}
		l.cut(text)
		if len(l.fields) > 0 || l.err != "" {
			out = append(out, l)
		}
	}
	return out
}

// cut fills the line's fields.
func (l *line) cut(text string) {
	joined := false // a comma says that the next token belongs to the same field
	for {
		text = strings.TrimLeft(text, " \t\r,")
		t, rest, comma, ok := l.next(text)
		if !ok {
			return
		}
		if joined {
			last := len(l.fields) - 1
			l.fields[last] = append(l.fields[last], t)
		} else {
			l.fields = append(l.fields, []token{t})
		}
		text, joined = rest, comma
	}
}

// next reads one token, up to a blank, a comma or a comment outside quotes.
func (l *line) next(text string) (t token, rest string, comma, ok bool) {
	var b strings.Builder
	inQuote, sawQuote := false, false
	i := 0
	for ; i < len(text); i++ {
		c := text[i]
		if !inQuote && (c == ' ' || c == '\t' || c == '\r') {
			break
		}
		if !inQuote && c == '#' {
			text = text[:i]
			break
		}
		if !inQuote && c == ',' {
			comma = true
			i++
			break
		}
		if c != '"' {
			b.WriteByte(c)
			continue
		}
		if inQuote && i+1 < len(text) && text[i+1] == '"' { // "" is one quote
			b.WriteByte('"')
			i++
			continue
		}
		if !sawQuote && b.Len() == 0 {
			t.quoted = true
		}
		inQuote, sawQuote = !inQuote, true
	}
	if inQuote {
		l.err = "a quote is not closed"
		return token{}, "", false, false
	}
	t.text = b.String()
	return t, text[i:], comma, sawQuote || b.Len() > 0
}
