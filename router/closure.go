package router

import (
	"slices"

	"pgshunt/parser"
)

// view and body are what has to be resolved before a catalog is complete. A table whose
// row-level security reads others is like a view of them.
type view struct {
	name, schema string
	query        *parser.Part
}

type body struct {
	name, schema string
	part         *parser.Part
}

func (b *builder) collectFunctions(sources []Source) error {
	streams := make([]*stream[FunctionFacts], len(sources))
	for i := range sources {
		streams[i] = newStream(sources[i].Target, sources[i].Functions,
			func(f *FunctionFacts) (string, string) { return f.Name, f.Schema })
	}
	return inStep(streams, func(name string, rows []FunctionFacts, of []uint64) {
		var group []routine
		for i := range rows {
			f := &rows[i]
			e := slices.IndexFunc(group, func(r routine) bool { return r.schema == f.Schema && r.hides == f.Hidden })
			if e < 0 {
				e = len(group)
				group = append(group, routine{schema: f.Schema, text: f.Schema + "." + name, volatility: f.Volatility, hides: f.Hidden})
			}
			r := &group[e]
			r.ofRow = r.ofRow || f.OfRow
			r.has |= of[i]
			r.volatility = max(r.volatility, f.Volatility) // 'i' < 's' < 'v'
			switch {
			case f.Body != nil:
				b.bodies = append(b.bodies, body{name: name, schema: f.Schema, part: f.Body})
			case f.Language != "c" && f.Language != "internal" && f.Volatility != 'i':
				r.hidden = true
			}
		}
		for i := range group {
			group[i].other = differing(group[i].schema, rows, of, b.catalog.primary) & group[i].has
		}
		b.catalog.functions[name] = group
	})
}

// differing is the set of targets that lack one of the primary's definitions in the
// schema. More of them do no harm that PostgreSQL's choice among overloads would not tell.
func differing(schema string, rows []FunctionFacts, of []uint64, primary uint64) (set uint64) {
	for i := range rows {
		if of[i] != primary || rows[i].Schema != schema || rows[i].Definition == "" {
			continue
		}
		missing, same := uint64(0), uint64(0)
		for n := range rows {
			missing |= of[n]
			if rows[n].Schema == schema && rows[n].Definition == rows[i].Definition {
				same |= of[n]
			}
		}
		set |= missing &^ same
	}
	return set
}

// closeOver gives every view and function the closure of what it uses.
func (b *builder) closeOver() {
	queries := make(map[parser.Relation]*parser.Part, len(b.views))
	for _, v := range b.views {
		queries[parser.Relation{Schema: v.schema, Name: v.name}] = v.query
	}
	bodies := make(map[parser.Relation][]*parser.Part, len(b.bodies))
	for _, f := range b.bodies {
		key := parser.Relation{Schema: f.schema, Name: f.name}
		bodies[key] = append(bodies[key], f.part)
	}
	for name, group := range b.catalog.relations {
		for i := range group {
			if query := queries[parser.Relation{Schema: group[i].schema, Name: name}]; query != nil {
				w := walker{catalog: b.catalog, queries: queries, bodies: bodies, uses: new(closure)}
				w.part(query)
				group[i].uses = w.uses
			}
		}
	}
	for name, group := range b.catalog.functions {
		for i := range group {
			uses := b.closureOf(name, &group[i], queries, bodies)
			if uses.pgml != "" || uses.unknown != "" || uses.volatile || len(uses.reads) > 0 {
				group[i].uses = uses
			}
		}
	}
	b.hazardous()
	for name, group := range b.catalog.functions {
		for i := range group {
			if b.catalog.hazards.any() && group[i].uses == nil { // now it matters which operators it uses
				group[i].uses = b.closureOf(name, &group[i], queries, bodies)
			}
		}
	}
}

func (b *builder) closureOf(name string, r *routine, queries map[parser.Relation]*parser.Part, bodies map[parser.Relation][]*parser.Part) *closure {
	w := walker{catalog: b.catalog, queries: queries, bodies: bodies, uses: new(closure)}
	w.routine(r, name)
	return w.uses
}

// walker collects one closure. It meets each view and function once, so those that
// call each other end it too.
type walker struct {
	catalog *Catalog
	queries map[parser.Relation]*parser.Part
	bodies  map[parser.Relation][]*parser.Part
	uses    *closure
	met     []parser.Relation
}

func (w *walker) first(r parser.Relation) bool {
	if slices.Contains(w.met, r) {
		return false
	}
	w.met = append(w.met, r)
	return true
}

func (w *walker) part(p *parser.Part) {
	u := w.uses
	if p.Volatile {
		u.clock = p.Clock && (u.clock || !u.volatile)
		u.volatile = true
	}
	if p.Opaque && u.unknown == "" {
		u.unknown = "text that cannot be seen"
	}
	u.traces.add(p)
	for i := range p.Calls {
		w.call(&p.Calls[i])
	}
	for i, r := range p.Reads {
		w.relation(r, p.ReadText(i))
	}
	if u.pgml == "" && slices.Contains(p.TypeSchemas, pgmlSchema) {
		u.pgml = pgmlSchema
	}
}

func (w *walker) relation(r parser.Relation, text string) {
	u := w.uses
	switch {
	case isSystem(r):
		u.system = true
	case r.Schema == pgmlSchema:
		if u.pgml == "" {
			u.pgml = text
		}
	case r.Schema != "" && w.queries[r] != nil:
		if w.first(r) {
			u.reads = append(u.reads, r)
			w.part(w.queries[r])
		}
	case !slices.Contains(u.reads, r):
		u.reads = append(u.reads, r)
	}
}

func (w *walker) call(c *parser.Call) {
	u := w.uses
	if c.Schema == pgmlSchema {
		fn, _ := lookup(c, &View{})
		if u.pgml == "" {
			u.pgml = fn.text
		}
		u.infers = u.infers || fn.work == workInfer
		u.models = u.models || fn.project
		if project, _ := projectOf(c); fn.project && u.project == "" {
			u.project = project
		}
		if fn.work == workTrain && u.unknown == "" {
			u.unknown = fn.text
		}
		return
	}
	group := w.catalog.functions[c.Name]
	known := false
	for i := range group {
		// Without a schema it is not known which one is meant, so it is all of them.
		if c.Schema == "" && !c.Builtin || group[i].schema == c.Schema {
			w.routine(&group[i], c.Name)
			known = true
		}
	}
	if c.Effects && u.unknown == "" {
		u.unknown = c.Text
	}
	if !known && !c.Builtin && c.Form != parser.Field && u.unknown == "" { // a field, where there is no such function
		u.unknown = c.Text
	}
}

func (w *walker) routine(r *routine, name string) {
	key := parser.Relation{Schema: r.schema, Name: name}
	if !w.first(parser.Relation{Schema: r.schema, Name: name + "()"}) {
		return
	}
	if (r.volatility == 'v' || r.hidden) && w.uses.unknown == "" {
		w.uses.unknown = r.text
	}
	for _, p := range w.bodies[key] {
		w.part(p)
	}
}

// sameQuery reports whether two views read and call the same things. Versions of
// PostgreSQL write the same query in different ways, so texts are compared only within one
// (RelationFacts.Definition).
func sameQuery(a, b *parser.Part) bool {
	return slices.Equal(a.Reads, b.Reads) && slices.EqualFunc(a.Calls, b.Calls, func(a, b parser.Call) bool {
		return a.Schema == b.Schema && a.Name == b.Name
	})
}
