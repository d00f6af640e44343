package router

import (
	"slices"
	"strings"

	"pgshunt/parser"
)

// hazards are what may have effects in one database that a statement does not show: operators by
// names of pg_catalog's, what a Hidden tells, and functions that look like columns. A statement is
// asked whether it could meet one. Most databases have none.
type hazards struct {
	list []hazard
	// own are pg_catalog's names that the database has operators of its own by.
	own parser.Operators
	// holders are the relations with columns of types that some are about, by name, and
	// those types.
	holders map[string][]string
}

// hazard is one of them: an operator of a schema, a function of rows, or what is Hidden.
type hazard struct {
	operators parser.Operators
	schema    string
	column    string
	types     []string
	relations []string
	explicit  bool
	family    bool
	text      string
}

func (h *hazards) any() bool { return len(h.list) > 0 }

// traces are what a statement, view or body shows of operators and types.
type traces struct {
	operators parser.Operators
	types     []string
	fields    []string // columns that bodies use
	own       bool     // a function or operator of users is called
}

func (t *traces) add(p *parser.Part) {
	t.operators = t.operators.With(p.Operators)
	for _, name := range p.Types {
		if !slices.Contains(t.types, name) {
			t.types = append(t.types, name)
		}
	}
	for _, name := range p.Fields {
		if !slices.Contains(t.fields, name) {
			t.fields = append(t.fields, name)
		}
	}
	t.own = t.own || slices.ContainsFunc(p.Calls, func(c parser.Call) bool { return !c.Builtin })
}

// meet is the first hazard that may be met with t, reads and columns, "" for none.
func (h *hazards) meet(t *traces, reads []parser.Relation, columns []string, v *View) string {
	for i := range h.list {
		one := &h.list[i]
		if one.column != "" && (slices.Contains(columns, one.column) || slices.Contains(t.fields, one.column)) || one.met(t, reads, v, h) {
			return one.text
		}
	}
	return ""
}

// met: an operator, by its name; what needs no sign, where a value of its types may be at hand, or a
// relation of its relations.
func (h *hazard) met(t *traces, reads []parser.Relation, v *View, all *hazards) bool {
	switch {
	case h.column != "":
		return false
	case h.operators != (parser.Operators{}):
		return v.searches(h.schema) && t.operators.Uses(h.operators)
	case !h.explicit && (t.own || len(h.types) == 0 && !h.family), slices.ContainsFunc(h.types, func(name string) bool { return slices.Contains(t.types, name) }):
		return true
	case h.explicit:
		return false
	}
	return len(h.types) > 0 && t.operators.Uses(all.own) || slices.ContainsFunc(reads, func(r parser.Relation) bool {
		return slices.Contains(h.relations, r.Name) ||
			slices.ContainsFunc(all.holders[r.Name], func(name string) bool { return slices.Contains(h.types, name) })
	})
}

// hazardous collects the hazards of a catalog whose functions are known.
func (b *builder) hazardous() {
	h := &b.catalog.hazards
	for name, group := range b.catalog.functions {
		operators := parser.OperatorsNamed(name)
		h.own = h.own.With(operators)
		for i := range group {
			r := &group[i]
			switch {
			case !r.effects():
			case r.schema == "":
				h.list = append(h.list, hazard{
					explicit: r.hides.Explicit, family: r.hides.Family, text: name,
					types: split(r.hides.Types, ","), relations: split(r.hides.Relations, "\n"),
				})
			case operators != (parser.Operators{}):
				h.list = append(h.list, hazard{operators: operators, schema: r.schema, text: "operator " + r.text})
			case r.ofRow && r.schema != pgmlSchema && r.has&b.catalog.primary != 0:
				h.list = append(h.list, hazard{column: name, text: r.text})
			}
		}
	}
	slices.SortFunc(h.list, func(a, b hazard) int { return strings.Compare(a.text, b.text) })
	if !h.any() {
		h.own, b.typed = parser.Operators{}, nil
		return
	}
	for name, columns := range b.typed {
		var of []string
		for _, one := range h.list {
			for _, typ := range one.types {
				if !one.explicit && !slices.Contains(of, typ) && (strings.Contains(columns, "."+typ) || strings.Contains(columns, `."`+strings.ReplaceAll(typ, `"`, `""`)+`"`)) {
					of = append(of, typ)
				}
			}
		}
		if of != nil {
			if h.holders == nil {
				h.holders = make(map[string][]string)
			}
			h.holders[name] = of
		}
	}
}

// split is strings.Split, but nothing where text is "".
func split(text, sep string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, sep)
}

// noteTypes notes the columns of users' types that relations of a name have.
func (b *builder) noteTypes(name string, rows []RelationFacts) {
	for i := range rows {
		for line := range strings.Lines(rows[i].Columns) {
			if at := strings.IndexByte(line, '.'); at > 0 && strings.LastIndexByte(line[:at], ' ') > 0 {
				b.typed[name] += line
			}
		}
	}
}
