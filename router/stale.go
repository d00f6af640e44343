package router

import "pgshunt/parser"

// stale returns a relation that the statement reads and whose newest rows only the
// session's own transaction or backend has.
func (q *question) stale() (string, bool) {
	written := q.v.InTransaction && (q.v.WroteUnknown || len(q.v.Written) > 0)
	if !written && (len(q.v.Temporary) == 0 || !q.v.pinnedToPrimary()) {
		return "", false
	}
	unseen := q.v.InTransaction && q.wroteUnseen()
	for i := range q.parts {
		if name, ok := q.staleIn(&q.parts[i], unseen); ok {
			return name, true
		}
	}
	if q.u.sourceHidden && written {
		return "relation_name", true
	}
	if q.u.source != "" && q.v.InTransaction {
		if unseen || anySame(q.v.Written, relationNamed(q.u.source)) {
			return q.u.source, true
		}
		if r := q.known.find(sourceRelation(q.u.source), q.v).relation; r != nil && r.uses != nil && q.newerAny(r.uses.reads, unseen) {
			return q.u.source, true
		}
	}
	return "", false
}

func (q *question) staleIn(p *parser.Part, unseen bool) (string, bool) {
	for i, r := range p.Reads {
		if inPgml(r, q.v) || isSystem(r) {
			continue
		}
		f := q.known.find(r, q.v)
		if !f.only && q.newer(r, unseen) {
			return p.ReadText(i), true
		}
		if f.relation != nil && f.relation.uses != nil && q.newerAny(f.relation.uses.reads, unseen) {
			return p.ReadText(i), true
		}
	}
	for i := range p.Calls {
		c := &p.Calls[i]
		if c.Builtin {
			continue
		}
		group := q.known.routines(c)
		for n := range group {
			if r := &group[n]; r.uses != nil && r.meets(c, q.v) && q.newerAny(r.uses.reads, unseen) {
				return c.Text, true
			}
		}
	}
	return "", false
}

// newer reports whether r may have rows that only the session sees.
func (q *question) newer(r parser.Relation, unseen bool) bool {
	return q.v.InTransaction && (unseen || anySame(q.v.Written, r)) ||
		q.v.pinnedToPrimary() && anySame(q.v.Temporary, r)
}

func (q *question) newerAny(list []parser.Relation, unseen bool) bool {
	for _, r := range list {
		if !q.known.find(r, q.v).only && q.newer(r, unseen) {
			return true
		}
	}
	return false
}

// wroteUnseen reports whether the transaction may have written relations that its
// statements do not name: through a view, a trigger, a rule or a foreign key.
func (q *question) wroteUnseen() bool {
	if q.v.WroteUnknown || q.known == nil {
		return q.v.WroteUnknown
	}
	for _, w := range q.v.Written {
		r := q.known.find(w, q.v).relation
		if r != nil && (r.touches || r.uses != nil && !r.policed) {
			return true
		}
	}
	return false
}

// anySame reports whether r may be one of list: a name without a schema may be a
// relation of that name in any schema.
func anySame(list []parser.Relation, r parser.Relation) bool {
	for _, w := range list {
		if w.Name == r.Name && (w.Schema == r.Schema || w.Schema == "" || r.Schema == "") {
			return true
		}
	}
	return false
}

// relationNamed reads the name of a relation as regclass input would, but for quotes.
func relationNamed(text string) parser.Relation {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '.' {
			return parser.Relation{Schema: text[:i], Name: text[i+1:]}
		}
	}
	return parser.Relation{Name: text}
}
