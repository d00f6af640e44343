package router

import (
	"slices"
	"strings"

	"pgshunt/parser"
)

// hazards are the operators by names of pg_catalog's and the casts of one database that may
// have effects. A statement does not show that it uses them, so that it is asked whether it
// could. Most databases have none.
type hazards struct {
	list []hazard
	// own are pg_catalog's names that the database has operators of its own by.
	own parser.Operators
	// holders are the relations with columns of types that the casts are about, by name, and
	// those types.
	holders map[string][]string
}

// hazard is one of them: an operator of a schema, or a cast.
type hazard struct {
	operators parser.Operators
	schema    string
	types     []string
	explicit  bool
	text      string
}

func (h *hazards) any() bool { return len(h.list) > 0 }

// traces are what a statement, view or body shows of operators and types.
type traces struct {
	operators parser.Operators
	types     []string
	own       bool // a function or operator of users is called
}

func (t *traces) add(p *parser.Part) {
	t.operators = t.operators.With(p.Operators)
	for _, name := range p.Types {
		if !slices.Contains(t.types, name) {
			t.types = append(t.types, name)
		}
	}
	t.own = t.own || slices.ContainsFunc(p.Calls, func(c parser.Call) bool { return !c.Builtin })
}

// meet is the first hazard that may be met with t and reads, "" for none.
func (h *hazards) meet(t *traces, reads []parser.Relation, v *View) string {
	for i := range h.list {
		if one := &h.list[i]; one.met(t, reads, v, h) {
			return one.text
		}
	}
	return ""
}

// met: an operator, by its name; a cast that needs no sign, where a value of its types may be at hand.
func (h *hazard) met(t *traces, reads []parser.Relation, v *View, all *hazards) bool {
	if h.operators != (parser.Operators{}) {
		return v.searches(h.schema) && t.operators.Uses(h.operators)
	}
	switch {
	case !h.explicit && (t.own || len(h.types) == 0), slices.ContainsFunc(h.types, func(name string) bool { return slices.Contains(t.types, name) }):
		return true
	case h.explicit:
		return false
	}
	return t.operators.Uses(all.own) || slices.ContainsFunc(reads, func(r parser.Relation) bool {
		return slices.ContainsFunc(all.holders[r.Name], func(name string) bool { return slices.Contains(h.types, name) })
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
				one := hazard{explicit: r.cast.Explicit, text: name}
				if r.cast.Types != "" {
					one.types = strings.Split(r.cast.Types, ",")
				}
				h.list = append(h.list, one)
			case operators != (parser.Operators{}):
				h.list = append(h.list, hazard{operators: operators, schema: r.schema, text: "operator " + r.text})
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
				if !one.explicit && strings.Contains(columns, "."+typ) && !slices.Contains(of, typ) {
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
