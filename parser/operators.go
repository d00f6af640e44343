package parser

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// Operators is a set of operators that have the names of pg_catalog's. A database may have
// some of its own by these names, so that what the name stands for depends on types.
type Operators [2]uint64

// systemOperators numbers the names of pg_catalog's operators in PostgreSQL 13 to 18, and
// of pgvector's. All of those only compute.
var systemOperators = func() map[string]uint8 {
	m := make(map[string]uint8)
	for i, name := range strings.Fields(`
		! !! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << <<= <<|
		<= <> <@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~=
		~>=~ ~>~ ~~ ~~* <#> <=> <+> <~> <%>`) {
		m[name] = uint8(i)
	}
	return m
}()

// implied are the operators that a statement may use without naming them: by IN, DISTINCT, ORDER
// BY, GROUP BY, USING, CASE and the like.
var implied = func() (o Operators) {
	for _, name := range []string{"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~"} {
		o.add(systemOperators[name])
	}
	return o
}()

func (o *Operators) add(number uint8) { o[number/64] |= 1 << (number % 64) }

// OperatorsNamed is the set of the operators of that name, empty where pg_catalog has none.
func OperatorsNamed(name string) (o Operators) {
	if number, ok := systemOperators[name]; ok {
		o.add(number)
	}
	return o
}

// Uses reports whether a statement with the operators o may use one of others: by its name,
// or by what implies it.
func (o Operators) Uses(others Operators) bool {
	return (o[0]|implied[0])&others[0] != 0 || (o[1]|implied[1])&others[1] != 0
}

// With is what is in o or in others.
func (o Operators) With(others Operators) Operators {
	return Operators{o[0] | others[0], o[1] | others[1]}
}

// expression walks a use of an operator.
func (w *walker) expression(e *pg.A_Expr) {
	if k := e.Kind; k >= pg.A_Expr_Kind_AEXPR_BETWEEN && k <= pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM || len(e.Name) == 1 && w.systemOperator(e.Name) {
		w.node(e.Lexpr)
		w.node(e.Rexpr)
		return
	}
	w.operator(e.Name, func() {
		w.node(e.Lexpr)
		w.node(e.Rexpr)
	})
}

// operator notes an operator that pg_catalog does not have. operands walks what it is
// applied to.
func (w *walker) operator(name []*pg.Node, operands func()) {
	if len(name) == 0 || w.systemOperator(name) {
		operands()
		return
	}
	c, _ := newCall(name)
	c.Form, c.Builtin, c.Effects = Operator, false, false
	place, varying := len(w.part.Calls), w.varying
	w.part.Calls = append(w.part.Calls, c)
	operands()
	w.part.Calls[place].Constant = w.varying == varying
}

// systemOperator reports whether pg_catalog has the operator, and notes it where another
// may be meant.
func (w *walker) systemOperator(name []*pg.Node) bool {
	if len(name) > 1 {
		return name[len(name)-2].GetString_().GetSval() == "pg_catalog"
	}
	number, ok := systemOperators[name[0].GetString_().GetSval()]
	if ok {
		w.part.Operators.add(number)
	}
	return ok
}
