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
	c := Call{}
	switch name := names(f.Funcname); len(name) {
	case 0:
		return
	case 1:
		c.Name = name[0]
		c.Text = c.Name
	default:
		c.Schema, c.Name = name[len(name)-2], name[len(name)-1]
		c.Text = c.Schema + "." + c.Name
	}
	system := c.Schema == "" || c.Schema == "pg_catalog"
	harmless := system && builtin[c.Name]
	c.Builtin = harmless || system && (clock[c.Name] || isAnchored(c.Name) && !isRemote(c.Name))
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
	}
	if system && c.Name == "set_config" && !w.quoted {
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
