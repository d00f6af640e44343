package parser

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// maxColumns bounds Part.Columns; a statement with more has Star set.
const maxColumns = 200

// column notes a reference to a column or a whole row, or a call that looks like one.
func (w *walker) column(c *pg.ColumnRef) {
	w.varying++
	if len(c.Fields) == 0 {
		return
	}
	last := len(c.Fields) - 1
	s := c.Fields[last].GetString_()
	if s == nil {
		w.star()
		return
	}
	w.addColumn(s.Sval)
	if last > 0 && w.quoted && !slices.Contains(w.part.Fields, s.Sval) {
		w.part.Fields = append(w.part.Fields, s.Sval)
		w.part.Opaque = w.part.Opaque || len(w.part.Fields) > maxColumns
	}
	if last > 0 && isColumnCall(s.Sval) {
		call, _ := newCall(c.Fields[last:])
		call.Form, call.Args = Field, []Arg{{}}
		w.part.Calls = append(w.part.Calls, call)
		w.effects(&call)
	}
}

// isColumnCall reports whether x.name may be an effectful call name(x): where x is the
// alias of a function in FROM, it stands for the function's value. Of the names of
// columns only the unlikely ones are looked at: tables have columns called lo_orderkey.
func isColumnCall(name string) bool {
	return anchored[name] || strings.HasPrefix(name, "pg_") && isAnchored(name) ||
		strings.HasPrefix(name, "lo_") && loneObject[name]
}

// addColumn notes a column by its name.
func (w *walker) addColumn(name string) {
	p := w.part
	if w.quoted || slices.Contains(p.Columns, name) {
		return
	}
	if len(p.Columns) == maxColumns {
		p.Star = true
		return
	}
	if p.Columns == nil {
		p.Columns = make([]string, 0, 4)
	}
	p.Columns = append(p.Columns, name)
	p.System = p.System || systemColumns[name]
}

// star notes that more columns may be used than are named.
func (w *walker) star() { w.part.Star = w.part.Star || !w.quoted }

// ranged notes a relation that is read as an item of FROM.
func (w *walker) ranged(r *pg.RangeVar) {
	if r.Alias == nil {
		w.ranges = append(w.ranges, r.Relname)
		return
	}
	w.ranges = append(w.ranges, r.Alias.Aliasname)
	if len(r.Alias.Colnames) > 0 {
		w.star()
	}
}

// join walks a join, which also names columns.
func (w *walker) join(j *pg.JoinExpr) {
	w.node(j.Larg)
	w.node(j.Rarg)
	for _, n := range j.UsingClause {
		w.addColumn(n.GetString_().GetSval())
	}
	if j.IsNatural || len(j.Alias.GetColnames()) > 0 {
		w.star()
	}
	w.node(j.Quals)
}

// copied notes the columns of COPY relation TO.
func (w *walker) copied(list []*pg.Node) {
	if len(list) == 0 {
		w.star()
	}
	for _, n := range list {
		w.addColumn(n.GetString_().GetSval())
	}
}
