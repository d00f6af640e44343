package main

import (
	"regexp"
	"strings"
)

// script reads a file that psql would run, as far as the regression suite needs it:
// statements, the data of COPY, variables, and commands that end a statement. All other
// commands of psql are passed over, \if and its kind among them.
type script struct {
	text string
	pos  int
	vars map[string]string
	env  map[string]string // for \getenv
}

// command is one statement. copies is set where it may be COPY FROM STDIN, whose data
// follow it in the file.
type command struct {
	sql, data string
	copies    bool
}

var copyFromStdin = regexp.MustCompile(`(?is)\bcopy\b[^;]*\bfrom\s+stdin\b`)

// next returns the next statement; ok is false at the end of the file.
func (s *script) next() (c command, ok bool) {
	sql := s.statement()
	if sql == "" {
		return command{}, false
	}
	c = command{sql: sql}
	if c.copies = copyFromStdin.MatchString(sql); c.copies {
		c.data = s.inline()
	}
	return c, true
}

// statement cuts the next statement as psql does: at a semicolon outside quotes, comments,
// brackets and BEGIN ATOMIC bodies, or at a command such as \gset.
func (s *script) statement() string {
	var b strings.Builder
	depth, atomic := 0, 0
	done := func() (string, bool) {
		sql := strings.TrimSpace(b.String())
		b.Reset()
		return sql, sql != ""
	}
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		n := 1
		switch c := rest[0]; {
		case strings.HasPrefix(rest, "--"):
			n = lineEnd(rest)
			s.pos += n
			continue
		case strings.HasPrefix(rest, "/*"):
			n = commentEnd(rest)
		case c == '\'' || c == '"':
			n = quoteEnd(rest, c, c == '\'' && s.escapes())
		case c == '$':
			n = dollarEnd(rest)
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth = max(depth-1, 0)
		case c == '\\':
			if sql, ended := s.backslash(&b, done); ended {
				return sql
			}
			continue
		case c == ':':
			value, length := s.variable(rest)
			b.WriteString(value)
			s.pos += length
			continue
		case c == ';' && depth == 0 && atomic == 0:
			s.pos++
			if sql, ok := done(); ok {
				return sql
			}
			continue
		case isLetter(c):
			n = wordEnd(rest)
			atomic += s.nests(b.String(), strings.ToLower(rest[:n]), atomic)
		}
		b.WriteString(rest[:n])
		s.pos += n
	}
	sql, _ := done()
	return sql
}

var createRoutine = regexp.MustCompile(`(?is)^\s*create\s+(or\s+replace\s+)?(function|procedure)\b`)

// nests says how a word changes the depth of BEGIN ATOMIC .. END in a statement.
func (s *script) nests(before, word string, atomic int) int {
	switch word {
	case "begin":
		if createRoutine.MatchString(before) {
			return 1
		}
	case "case":
		if atomic > 0 {
			return 1
		}
	case "end":
		if atomic > 0 {
			return -1
		}
	}
	return 0
}

// escapes reports whether the quote at pos opens a string with backslash escapes.
func (s *script) escapes() bool {
	return s.pos > 0 && (s.text[s.pos-1]|0x20) == 'e' && (s.pos < 2 || !isLetter(s.text[s.pos-2]))
}

// backslash runs the command of psql at pos; ended is set where it ends a statement.
func (s *script) backslash(b *strings.Builder, done func() (string, bool)) (sql string, ended bool) {
	rest := s.text[s.pos:]
	if strings.HasPrefix(rest, `\;`) {
		b.WriteByte(';')
		s.pos += 2
		return "", false
	}
	line := rest[:lineEnd(rest)]
	s.pos += len(line)
	words := strings.Fields(line)
	switch name := words[0]; name {
	case `\getenv`:
		if len(words) > 2 {
			s.vars[words[1]] = s.env[words[2]]
		}
	case `\set`:
		if len(words) > 1 {
			s.vars[words[1]] = s.joined(words[2:])
		}
	case `\g`, `\gx`, `\gset`, `\gexec`, `\gdesc`, `\crosstabview`, `\watch`:
		return done()
	case `\r`, `\reset`:
		b.Reset()
	}
	return "", false
}

// joined is the value of \set: its words, variables and quotes resolved, without spaces.
func (s *script) joined(words []string) string {
	var b strings.Builder
	for _, w := range words {
		if w[0] == ':' {
			value, _ := s.variable(w)
			b.WriteString(value)
			continue
		}
		b.WriteString(strings.Trim(w, "'"))
	}
	return b.String()
}

// variable resolves :name, :'name' and :"name" at the beginning of text. What is no
// variable is returned as it is.
func (s *script) variable(text string) (value string, length int) {
	if strings.HasPrefix(text, "::") || len(text) < 2 {
		return text[:min(2, len(text))], min(2, len(text))
	}
	quote := ""
	begin := 1
	if text[1] == '\'' || text[1] == '"' {
		quote, begin = text[1:2], 2
	}
	end := begin + wordEnd(text[begin:])
	value, known := s.vars[text[begin:end]]
	if !known || quote != "" && !strings.HasPrefix(text[end:], quote) {
		return text[:1], 1
	}
	return quote + strings.ReplaceAll(value, quote, quote+quote) + quote, end + len(quote)
}

// inline returns the lines up to \. and steps over them. Where the statement is one that
// fails at once, as some do on purpose, no data follow it.
func (s *script) inline() string {
	begin := s.pos + lineEnd(s.text[s.pos:]) + 1
	for at := begin; at < len(s.text); {
		line := s.text[at : at+lineEnd(s.text[at:])]
		if line == `\.` {
			s.pos = at + len(line)
			return s.text[begin:at]
		}
		if strings.HasSuffix(line, ";") {
			return ""
		}
		at += len(line) + 1
	}
	return ""
}

func lineEnd(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i
	}
	return len(text)
}

func commentEnd(text string) int {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

func quoteEnd(text string, quote byte, escapes bool) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && escapes:
			i++
		case text[i] == quote:
			return i + 1 // a doubled quote opens another string at once, which is as good
		}
	}
	return len(text)
}

func dollarEnd(text string) int {
	tag := 1 + wordEnd(text[1:])
	if tag == len(text) || text[tag] != '$' || tag > 1 && text[1] <= '9' {
		return 1
	}
	if i := strings.Index(text[tag+1:], text[:tag+1]); i >= 0 {
		return tag + 1 + i + tag + 1
	}
	return len(text)
}

func wordEnd(text string) int {
	i := 0
	for i < len(text) && (isLetter(text[i]) || text[i] >= '0' && text[i] <= '9') {
		i++
	}
	return i
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
