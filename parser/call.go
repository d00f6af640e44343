package parser

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// call notes a function call and walks its arguments.
func (w *walker) call(f *pg.FuncCall) {
	if f == nil {
		return
	}
	c, harmless := newCall(f.Funcname)
	c.Aggregate = f.Over != nil || f.AggWithinGroup || f.AggFilter != nil || f.AggDistinct || f.AggStar
	if len(f.Args) > 0 {
		c.Args = make([]Arg, len(f.Args))
		for i, n := range f.Args {
			c.Args[i] = argument(n, !harmless)
			if c.Args[i].Known {
				w.part.literal = true
			}
		}
	}
	w.part.Calls = append(w.part.Calls, c)
	place, varying := len(w.part.Calls)-1, w.varying
	w.effects(&c)
	if c.Builtin && c.Name == "set_config" && !w.quoted {
		w.setConfig(f, c.Args)
	}
	w.nodes(f.Args)
	w.part.Calls[place].Constant = w.varying == varying
	w.nodes(f.AggOrder)
	w.node(f.AggFilter)
	if o := f.Over; o != nil {
		w.nodes(o.PartitionClause)
		w.nodes(o.OrderClause)
		w.node(o.StartOffset)
		w.node(o.EndOffset)
	}
}

// newCall names a call; harmless is set for functions of pg_catalog that only compute
// from their arguments, or nearly so.
func newCall(list []*pg.Node) (c Call, harmless bool) {
	if last := len(list) - 1; last >= 0 {
		c.Name = list[last].GetString_().GetSval()
		c.Text = c.Name
		if last > 0 {
			c.Schema = list[last-1].GetString_().GetSval()
			c.Text = c.Schema + "." + c.Name
		}
	}
	system := c.Schema == "" || c.Schema == "pg_catalog"
	harmless = system && builtin[c.Name]
	c.Effects = system && isAnchored(c.Name) && !isRemote(c.Name)
	c.Builtin = harmless || c.Effects || system && clock[c.Name]
	return c, harmless
}

// effects notes what a call does beyond computing.
func (w *walker) effects(c *Call) {
	system := c.Schema == "" || c.Schema == "pg_catalog"
	switch {
	case c.Schema == "pg_temp":
		w.pin(PinTemporary)
	case !system && !isRemote(c.Name):
	case clock[c.Name]:
		w.volatile(true)
	case isAnchored(c.Name):
		w.volatile(false)
		w.pin(pinOf(c.Name))
		w.part.Unlocks = w.part.Unlocks || strings.HasPrefix(c.Name, "pg_advisory_unlock")
	case isAsker(c.Name):
		w.part.System = w.part.System || !w.quoted
	}
}

// indirection walks (expression).field, (expression)[subscript] and (expression).*.
func (w *walker) indirection(n *pg.A_Indirection) {
	place, varying := len(w.part.Calls), w.varying
	for i, step := range n.Indirection {
		switch {
		case step.GetString_() != nil:
			c, harmless := newCall(n.Indirection[i : i+1])
			c.Form, c.Args = Field, []Arg{{}}
			if i == 0 {
				c.Args[0] = argument(n.Arg, !harmless)
				w.part.literal = w.part.literal || c.Args[0].Known
			}
			w.part.Calls = append(w.part.Calls, c)
			w.effects(&c)
		case step.GetAStar() != nil:
			w.star()
		}
	}
	fields := len(w.part.Calls) - place
	w.node(n.Arg)
	w.nodes(n.Indirection)
	for i := range fields {
		w.part.Calls[place+i].Constant = w.varying == varying
	}
}

// sample walks TABLESAMPLE. Its method is a function, which is noted where it is not one of pg_catalog's.
func (w *walker) sample(s *pg.RangeTableSample) {
	if c, _ := newCall(s.Method); c.Schema != "" && c.Schema != "pg_catalog" || !samplers[c.Name] {
		c.Builtin, c.Effects = false, false
		w.part.Calls = append(w.part.Calls, c)
	}
	w.node(s.Relation)
	w.nodes(s.Method)
	w.nodes(s.Args)
	w.node(s.Repeatable)
}

// samplers are the methods of TABLESAMPLE that PostgreSQL has.
var samplers = map[string]bool{"system": true, "bernoulli": true}

// isRemote matches dblink's functions, which live in whatever schema the extension was put.
func isRemote(name string) bool { return len(name) >= 6 && name[:6] == "dblink" }

// volatile notes a call that must run where the session's transaction is.
func (w *walker) volatile(clockOnly bool) {
	if w.quoted {
		return
	}
	w.part.Volatile = true
	if !clockOnly {
		w.steady++
	}
}

// valueFunction notes CURRENT_TIMESTAMP and the other functions without parentheses.
func (w *walker) valueFunction(f *pg.SQLValueFunction) {
	if op := f.Op; op >= pg.SQLValueFunctionOp_SVFOP_CURRENT_DATE && op <= pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N {
		w.volatile(true)
	}
}

// argument reads one argument as far as it is known before execution. Constants are
// kept only where keep is set.
func argument(n *pg.Node, keep bool) (a Arg) {
	if named := n.GetNamedArgExpr(); named != nil {
		a.Name = named.Name
		n = named.Arg
	}
	for n.GetTypeCast() != nil {
		n = n.GetTypeCast().Arg
	}
	if p := n.GetParamRef(); p != nil {
		a.Param = int(p.Number)
		return a
	}
	if keep {
		a.Const, a.Known = constant(n)
		a.Null = n.GetAConst().GetIsnull()
		a.String = n.GetAConst().GetSval() != nil
	}
	return a
}

// constant returns the text of a literal as PostgreSQL would hand it to an input function.
func constant(n *pg.Node) (string, bool) {
	if e := n.GetAExpr(); e != nil && e.Lexpr == nil {
		// A sign in front of a cast, as in -1::bigint, stays an operator in the tree.
		if op := names(e.Name); len(op) == 1 && op[0] == "-" {
			if s, ok := constant(e.Rexpr); ok && s != "" && (isDigit(s[0]) || s[0] == '.') {
				return "-" + s, true
			}
		}
		return "", false
	}
	if cast := n.GetTypeCast(); cast != nil {
		return constant(cast.Arg)
	}
	c := n.GetAConst()
	if c == nil || c.Isnull {
		return "", false
	}
	switch v := c.Val.(type) {
	case *pg.A_Const_Sval:
		return v.Sval.Sval, true
	case *pg.A_Const_Ival:
		return strconv.Itoa(int(v.Ival.Ival)), true
	case *pg.A_Const_Fval:
		return v.Fval.Fval, true
	case *pg.A_Const_Boolval:
		if v.Boolval.Boolval {
			return "true", true
		}
		return "false", true
	}
	return "", false
}
