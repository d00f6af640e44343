package parser

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// variableSet handles SET and RESET in all their spellings.
func (w *walker) variableSet(s *pg.VariableSetStmt) {
	p := w.part
	p.Kind = Set
	w.part.literal = true
	name := strings.ToLower(s.Name)
	switch s.Kind {
	case pg.VariableSetKind_VAR_RESET_ALL:
		p.Kind = Reset
		p.Setting = &Setting{}
	case pg.VariableSetKind_VAR_RESET:
		p.Kind = Reset
		p.Setting = &Setting{Name: name}
	case pg.VariableSetKind_VAR_SET_DEFAULT:
		p.Setting = &Setting{Name: name, Local: s.IsLocal}
	case pg.VariableSetKind_VAR_SET_MULTI:
		w.setMulti(s)
	default:
		if value, ok := settingValue(name, s.Args); ok {
			set := newSetting(name, value, s.IsLocal)
			p.Setting = &set
			return
		}
		// SET TIME ZONE INTERVAL '1' HOUR: only the server knows how SHOW prints it.
		p.Setting = &Setting{Name: name, Local: s.IsLocal, SQL: withoutComments(w.text)}
	}
}

// setMulti handles SET TRANSACTION, which lasts until the transaction ends, and SET
// SESSION CHARACTERISTICS, which changes the default of each mode it names.
func (w *walker) setMulti(s *pg.VariableSetStmt) {
	prefix, local := "", true
	if s.Name == "SESSION CHARACTERISTICS" {
		prefix, local = "default_", false
	} else {
		w.transactionModes(s.Args)
	}
	if s.Name == "TRANSACTION SNAPSHOT" {
		w.part.Setting = &Setting{Name: "transaction_snapshot", Local: true, Unknown: true}
		return
	}
	for _, n := range s.Args {
		d := n.GetDefElem()
		value, _ := constant(d.GetArg())
		if d.GetDefname() != "transaction_isolation" {
			value = onOff(value)
		}
		w.addSetting(newSetting(prefix+d.GetDefname(), value, local))
	}
}

func onOff(value string) string {
	if value == "0" {
		return "off"
	}
	return "on"
}

func (w *walker) addSetting(s Setting) {
	if w.part.Setting == nil {
		w.part.Setting = &s
		return
	}
	w.part.Setting.Also = append(w.part.Setting.Also, s)
}

// newSetting is a change whose name and value are known.
func newSetting(name, value string, local bool) Setting {
	s := Setting{Name: strings.ToLower(name), Value: value, Local: local}
	s.SQL = SetSQL(s.Name, value, local)
	return s
}

// SetSQL returns a SET statement that gives the parameter the value that SHOW printed
// or set_config was given. The two forms differ for parameters that hold a list of
// names, such as search_path: there value is cut at its commas first.
func SetSQL(name, value string, local bool) string {
	var b strings.Builder
	b.WriteString("SET ")
	if local {
		b.WriteString("LOCAL ")
	}
	for i, part := range strings.Split(name, ".") {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(quoteName(part))
	}
	b.WriteString(" TO ")
	if items, ok := splitNames(value); ok && listOfNames(name) && len(items) > 0 {
		for i, item := range items {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quoteLiteral(item))
		}
		return b.String()
	}
	b.WriteString(quoteLiteral(value))
	return b.String()
}

// listOfNames reports whether a parameter is a GUC_LIST_QUOTE list in guc_tables.c.
func listOfNames(name string) bool {
	switch name {
	case "search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries":
		return true
	}
	return false
}

// SplitNames cuts the value of a parameter such as search_path into its names. It is
// nil where the value is not a list of names.
func SplitNames(value string) []string {
	items, _ := splitNames(value)
	return items
}

// splitNames cuts a list as PostgreSQL's SplitIdentifierString does: names are folded
// to lower case unless quoted.
func splitNames(value string) (items []string, ok bool) {
	l := lexer{src: []byte(value)}
	expect := true
	for {
		t, start, end := l.next()
		switch {
		case t == tokenSpace:
			continue
		case t == tokenEnd:
			return items, !expect || len(items) == 0
		case expect && t == tokenWord:
			items = append(items, strings.ToLower(value[start:end]))
		case expect && t == tokenQuoted && value[start] == '"':
			items = append(items, strings.ReplaceAll(value[start+1:end-1], `""`, `"`))
		case expect && value[start] == '$':
			// "$user" may be written without quotes here.
			rest := strings.IndexByte(value[start:], ',')
			if rest < 0 {
				rest = len(value) - start
			}
			items = append(items, strings.ToLower(strings.TrimSpace(value[start:start+rest])))
			l.pos = start + rest
		case !expect && value[start] == ',':
			expect = true
			continue
		default:
			return nil, false
		}
		expect = false
	}
}

// quoteName quotes a parameter's name where it needs it. Names of parameters are never
// key words that SET would misread.
func quoteName(s string) string {
	plain := s != ""
	for i := range len(s) {
		c := s[i]
		plain = plain && (c >= 'a' && c <= 'z' || c == '_' || i > 0 && isDigit(c))
	}
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// quoteLiteral writes a string constant that reads the same whatever
// standard_conforming_strings says.
func quoteLiteral(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.ContainsRune(s, '\\') {
		return "E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}

// settingValue joins the arguments of SET as flatten_set_variable_args does.
func settingValue(name string, args []*pg.Node) (string, bool) {
	var b strings.Builder
	for i, n := range args {
		value, ok := constant(n)
		if !ok || n.GetTypeCast() != nil {
			return "", false
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if listOfNames(name) {
			value = quoteName(value)
		}
		b.WriteString(value)
	}
	return b.String(), true
}

// withoutComments returns a statement without what stands before and after it, so that
// another can follow on the same line.
func withoutComments(text string) string {
	l := lexer{src: []byte(text)}
	begin, last := -1, 0
	for {
		t, start, end := l.next()
		switch t {
		case tokenEnd:
			return text[max(begin, 0):last]
		case tokenSpace, tokenComment:
			continue
		}
		if begin < 0 {
			begin = start
		}
		last = end
	}
}

// discard handles DISCARD; DISCARD ALL is also a change of all settings.
func (w *walker) discard(s *pg.DiscardStmt) {
	p := w.part
	p.Kind = Discard
	switch s.Target {
	case pg.DiscardMode_DISCARD_ALL:
		p.Setting = &Setting{}
	case pg.DiscardMode_DISCARD_PLANS:
		p.Name = "plans"
	case pg.DiscardMode_DISCARD_SEQUENCES:
		p.Name = "sequences"
	case pg.DiscardMode_DISCARD_TEMP:
		p.Name = "temp"
	}
}
