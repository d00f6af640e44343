package router

import "pgshunt/parser"

// call resolves a function: PostgresML's own, one of the database's, or one that
// nothing is known of.
func (u *usage) call(c *parser.Call, v *View, known *Catalog) {
	if c.Builtin && known != nil {
		u.overloaded &^= known.without[c.Name]
	}
	if c.Builtin && c.Schema != "" {
		return
	}
	fn, ok := lookup(c, v)
	if !ok {
		if c.Builtin {
			u.overload(c, v, known)
		} else {
			u.foreign(c, v, known)
		}
		return
	}
	u.pgml = true
	if known != nil && fn.work != workNone {
		fn.work = known.offers(c, fn, u)
	}
	switch fn.work {
	case workTrain:
		if !u.trains {
			u.subject = fn.text // training outranks what was met before
		}
		u.trains = true
		if fn.source > 0 && u.source == "" && u.sourceParam == 0 {
			u.source, u.sourceParam, u.sourceHidden = sourceOf(c, fn.source)
		}
	case workInfer:
		u.infers = true
	}
	u.about(fn.text)
	u.models = u.models || fn.project
	if fn.project && u.project == "" && u.param == 0 {
		u.project, u.param = projectOf(c)
	}
}

// offers narrows the targets to those whose PostgresML has the function, where any is
// known to, and returns the function's class: that of our table, or, for one that is not
// there, what its label says. Whatever is volatile may change the models.
func (c *Catalog) offers(call *parser.Call, fn function, u *usage) work {
	group := c.functions[call.Name]
	for i := range group {
		r := &group[i]
		if r.schema != pgmlSchema {
			continue
		}
		u.ready &= r.has
		if _, shipped := functions[call.Name]; !shipped && r.volatility == 'v' && (r.uses == nil || r.uses.pgml == "") {
			return workTrain
		}
	}
	return fn.work
}

// overload looks for a function of the database that has a name of pg_catalog's. Which of
// them is called depends on types that are not known here, so that of the two which may
// have effects counts, and a plain read goes only where all of them are. Inference is not
// held up by that: where the function is missing, its types are too, and PostgreSQL says so.
func (u *usage) overload(c *parser.Call, v *View, known *Catalog) {
	group := known.routines(c)
	for i := range group {
		r := &group[i]
		if r.has&known.primary != 0 && r.meets(c, v) {
			u.overloaded &= r.has &^ r.other
		}
		if u.unknown == "" && (r.volatility == 'v' || r.uses != nil && r.uses.unknown != "") && r.meets(c, v) {
			u.unknown = c.Text
		}
	}
}

// foreign resolves a function that is neither pg_catalog's nor PostgresML's. Of several in
// search_path all count, since which one is called depends on types. Where the primary has
// one, a server that has one more may call that instead.
func (u *usage) foreign(c *parser.Call, v *View, known *Catalog) {
	group := known.routines(c)
	if known == nil || !known.ours(group, c, v) {
		if r := known.lone(group, c, v); r != nil {
			u.routine(r, c, true, v, known)
			return
		}
		// With a catalog, (expression).name without a function of that name is a field.
		if field := c.Form == parser.Field && known != nil && known != unlooked; !field && u.unknown == "" {
			u.unknown = c.Text
		}
		return
	}
	for i := range group {
		switch r := &group[i]; {
		case !r.meets(c, v):
		case r.has&known.primary == 0:
			u.ready &^= r.has
		default:
			u.routine(r, c, false, v, known)
		}
	}
}

// routine adds what one function is that c may mean; lone, if only replicas have it.
func (u *usage) routine(r *routine, c *parser.Call, lone bool, v *View, known *Catalog) {
	u.ready &= r.has &^ r.other
	if lone || r.uses != nil && r.uses.pgml != "" {
		u.pgml, u.infers, u.lone = true, true, u.lone || lone
		u.about(c.Text)
	}
	if r.uses != nil {
		u.through(r.uses, c.Text, lone, v, known, 0)
	}
}

// relation resolves the i-th relation that p reads.
func (u *usage) relation(p *parser.Part, i int, v *View, known *Catalog) {
	f := known.find(p.Reads[i], v)
	if f.relation != nil {
		u.copied |= f.relation.copied
		if f.relation.narrow != 0 {
			f.ready |= f.relation.without(p) &^ f.other
		}
	}
	u.ready &= f.ready
	if f.only {
		u.pgml, u.lone = true, true
		u.about(p.ReadText(i))
		u.adminWrite = u.adminWrite || p.Locks
	} else {
		u.reads = true
	}
	if f.relation == nil || f.relation.uses == nil {
		return
	}
	if uses := f.relation.uses; uses.pgml != "" {
		u.pgml = true
		u.infers = u.infers || uses.infers
		u.about(p.ReadText(i))
	}
	u.through(f.relation.uses, p.ReadText(i), f.only, v, known, 0)
}

// alone reports whether only replicas have r, which is written or defined there then.
func (u *usage) alone(r parser.Relation, v *View, known *Catalog) bool {
	if known == nil || r.Name == "" {
		return false
	}
	f := known.find(r, v)
	if f.only {
		u.lone = true
		u.ready &= f.ready
	}
	return f.only
}

// maxNested bounds how deep views are followed that a function names without a schema,
// since they are not known before search_path is.
const maxNested = 8

// through adds what a view or function called text uses.
func (u *usage) through(uses *closure, text string, lone bool, v *View, known *Catalog, depth int) {
	if uses.volatile {
		u.clock = uses.clock && (u.clock || !u.volatile)
		u.volatile = true
	}
	u.system = u.system || uses.system
	u.models = u.models || uses.models
	if u.project == "" && u.param == 0 {
		u.project = uses.project
	}
	if u.unknown == "" && known.hazards.any() {
		u.unknown = known.hazards.meet(&uses.traces, uses.reads, nil, v)
	}
	if uses.unknown != "" {
		if u.unknown == "" {
			u.unknown = text
		}
		if u.effects == "" && !lone {
			u.effects = text
		}
	}
	for _, r := range uses.reads {
		f := known.find(r, v)
		u.ready &= f.ready
		if f.relation != nil {
			u.copied |= f.relation.copied
		}
		if f.only {
			u.pgml, u.lone = true, true
			u.about(text)
		} else {
			u.reads = true
		}
		if r.Schema == "" && f.relation != nil && f.relation.uses != nil && depth < maxNested {
			u.through(f.relation.uses, text, lone, v, known, depth+1)
		}
	}
}

// projectOf returns the project that a call names: its first argument, or the one
// called project_name. A number there is a model id and not a project.
func projectOf(c *parser.Call) (project string, param int) {
	for i := range c.Args {
		a := &c.Args[i]
		if a.Name != "project_name" && (i > 0 || a.Name != "") {
			continue
		}
		if a.Known && a.String {
			return a.Const, 0
		}
		return "", a.Param
	}
	return "", 0
}

// sourceOf returns the relation that a training call reads: its name where it is a
// constant, its parameter where it is one; hidden, where it is neither. at is the argument's
// place, from 1.
func sourceOf(c *parser.Call, at int) (relation string, param int, hidden bool) {
	for i := range c.Args {
		a := &c.Args[i]
		if a.Name != "relation_name" && (a.Name != "" || i+1 != at) {
			continue
		}
		if a.Known {
			return a.Const, 0, false
		}
		return "", a.Param, a.Param == 0
	}
	return "", 0, false
}
