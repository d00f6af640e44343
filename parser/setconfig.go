package parser

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// setConfig notes a set_config call. Only one that stands by itself in the target list
// of a SELECT without FROM surely runs, and once.
func (w *walker) setConfig(f *pg.FuncCall, args []Arg) {
	if len(args) != 3 {
		return
	}
	nodes := [3]*pg.Node{}
	ordered := [3]Arg{}
	for i, a := range args {
		if a.Name != "" {
			if i = slices.Index(setConfigArgs[:], a.Name); i < 0 {
				return // no such argument; the server will say so
			}
		}
		ordered[i] = a
	}
	for i, n := range f.Args {
		if named := n.GetNamedArgExpr(); named != nil {
			i, n = slices.Index(setConfigArgs[:], named.Name), named.Arg
		}
		nodes[i] = n
	}
	name, value, local := ordered[0], ordered[1], ordered[2]
	s := Setting{Unknown: true}
	s.Local = local.Known && isTrue(local.Const)
	if name.Known {
		s.Name = strings.ToLower(name.Const)
	}
	known := func(a Arg) bool { return a.Known || a.Null }
	switch {
	case !w.runsOnce(f):
	case name.Known && known(local) && value.Null:
		s = Setting{Name: s.Name, Local: s.Local}
	case name.Known && known(local) && value.Known:
		s = newSetting(s.Name, value.Const, s.Local)
	default:
		s.Value = value.Const
		s.Params = parameters(nodes, ordered)
	}
	if s.Unknown && !s.Local && s.Params == [3]int{} {
		w.pin(PinSetting)
	}
	w.addSetting(s)
}

// setConfigArgs are the names that pg_proc gives to the arguments.
var setConfigArgs = [3]string{"setting_name", "new_value", "is_local"}

// runsOnce tells whether a call is the whole of an item in the target list of the
// statement, and nothing there can make several rows, or none.
func (w *walker) runsOnce(f *pg.FuncCall) bool {
	s := w.top
	if s == nil || s.LimitCount != nil || s.LimitOffset != nil || s.HavingClause != nil || len(s.GroupClause) > 0 ||
		f.Over != nil || f.AggFilter != nil {
		return false
	}
	direct := false
	for _, t := range s.TargetList {
		n := t.GetResTarget().GetVal()
		for n.GetTypeCast() != nil {
			n = n.GetTypeCast().Arg
		}
		switch call := n.GetFuncCall(); {
		case call == f:
			direct = true
		case call != nil:
			name := names(call.Funcname)
			if last := name[len(name)-1]; last != "set_config" && last != "current_setting" && !clock[last] {
				return false
			}
		case n.GetAConst() == nil && n.GetParamRef() == nil && n.GetSqlvalueFunction() == nil:
			return false
		}
	}
	return direct
}

// parameters returns which of the arguments are parameters, where all others are
// constants and no cast changes their values; else nothing.
func parameters(nodes [3]*pg.Node, args [3]Arg) (params [3]int) {
	for i, a := range args {
		n := nodes[i]
		for n.GetTypeCast() != nil {
			if !keepsText(n.GetTypeCast().TypeName, i == 2) {
				return [3]int{}
			}
			n = n.GetTypeCast().Arg
		}
		if !a.Known && a.Param == 0 {
			return [3]int{}
		}
		params[i] = a.Param
	}
	return params
}

func keepsText(t *pg.TypeName, boolean bool) bool {
	name := names(t.GetNames())
	if len(name) == 0 || len(t.Typmods) > 0 || len(t.ArrayBounds) > 0 {
		return false
	}
	last := name[len(name)-1]
	return boolean && last == "bool" || !boolean && (last == "text" || last == "varchar")
}

// Bound returns the setting with the values of its parameters, which value gives by
// their numbers: in text form, or in the binary form of text and bool; null is NULL.
func (s Setting) Bound(value func(n int) (text string, null bool)) Setting {
	name, set, local, reset := s.Name, s.Value, s.Local, false
	if n := s.Params[0]; n > 0 {
		name, _ = value(n)
	}
	if n := s.Params[1]; n > 0 {
		set, reset = value(n)
	}
	if n := s.Params[2]; n > 0 {
		text, _ := value(n)
		local = text == "\x01" || isTrue(text)
	}
	if reset {
		return Setting{Name: strings.ToLower(name), Local: local}
	}
	return newSetting(name, set, local)
}

// isTrue reads a boolean as PostgreSQL's parse_bool does, which takes any prefix that
// is no prefix of another word.
func isTrue(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	return text != "" && (strings.HasPrefix("true", text) || strings.HasPrefix("yes", text)) || text == "on" || text == "1"
}
