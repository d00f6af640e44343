package router

import (
	"strings"

	"pgshunt/parser"
)

// hinted answers for a hint, in a comment of the statement or in pgshunt.route.
func (p *Policy) hinted(st *parser.Statement, u *usage, v *View, f *Fleet) (Decision, bool) {
	hint := st.Hint
	if hint == "" {
		hint = v.Hint
	}
	if hint == "" || len(p.hintUsers) > 0 && !p.hintUsers.match(v.User) {
		return Decision{}, false
	}
	if len(st.Parts) != 1 {
		return p.directed(question{u: u, v: v, f: f}, hint, RuleHint, reasonHint), true
	}
	return p.directed(question{&st.Parts[0], u, v, f}, hint, RuleHint, reasonHint), true
}

// ruled answers by the first rule of the config that matches.
func (p *Policy) ruled(part *parser.Part, u *usage, v *View, f *Fleet) (Decision, bool) {
	for i := range p.rules {
		r := &p.rules[i]
		if !r.matches(part, u, v) {
			continue
		}
		if r.Reject != "" {
			return refuseRule(u.class, r.name, r.Reject), true
		}
		return p.directed(question{part, u, v, f}, r.To, r.name, reasonRule), true
	}
	return Decision{}, false
}

// directed sends the statement where a hint or a rule says. What it says is believed,
// but for what would be wrong without a sign of it: reading a relation that this
// transaction has written on another server. part is nil for a text of several statements.
func (p *Policy) directed(q question, to, rule, reason string) Decision {
	if to == toPrimary {
		return q.v.home(q.u.class, rule, reason, "")
	}
	name, named := strings.CutPrefix(to, "replica:")
	if rule != RuleHint && to != toReplica {
		name, named = to, true
	}
	target := q.f.target(name)
	if !named && to != toReplica || named && (target == nil || !target.Replica) {
		return refuseHint(q.u.class, to)
	}
	writes := q.u.otherWrite || q.u.adminWrite || q.u.trains || q.u.class == Schema
	if q.part != nil {
		if name, stale := q.stale(); stale {
			return refuseWritten(q.u.class, name)
		}
	}
	if writes && q.v.InTransaction && p.reject {
		return refuseInTransaction(q.u)
	}
	d := Decision{
		Place: Replica, Class: q.u.class, Rule: rule, Reason: reason, Subject: q.u.subject,
		Project: q.u.project, ProjectParam: q.u.param,
		Detached: writes && q.v.InTransaction, ReadsTables: q.u.reads,
		Block: q.part != nil && q.part.Kind == parser.Declare,
	}
	switch {
	case named && !target.Healthy:
		return refuseTarget(q.u.class, rule, d.Subject)
	case named:
		d.Target = name
	case q.u.trains || q.u.adminWrite || q.u.class == Schema:
		if d.Target = HomeOf(d.Project, q.f); !q.f.target(d.Target).healthy() {
			return refuseHome(d.Subject, d.Target)
		}
	case !q.f.serves(q.u.class):
		return refuseTarget(q.u.class, rule, d.Subject)
	}
	return d
}

func (t *Target) healthy() bool { return t != nil && t.Healthy }

// matches reports whether all conditions of r hold.
func (r *rule) matches(part *parser.Part, u *usage, v *View) bool {
	m := &r.Match
	switch {
	case len(m.Kind) > 0 && !m.Kind.match(u.class.String()),
		len(m.User) > 0 && !m.User.match(v.User),
		len(m.Database) > 0 && !m.Database.match(v.Database),
		len(m.Application) > 0 && !m.Application.match(v.Application),
		len(m.Function) > 0 && !m.function(part, v):
		return false
	}
	if len(m.Relation) == 0 && len(m.Schema) == 0 {
		return true
	}
	return m.relations(part, v, r.Reject == "" && r.To != toPrimary)
}

func (m *Match) function(part *parser.Part, v *View) bool {
	for i := range part.Calls {
		c := &part.Calls[i]
		schema := c.Schema
		if fn, ok := lookup(c, v); ok && fn.work != workNone {
			schema = pgmlSchema
		}
		if m.Function.matchIn(schema, c.Name) {
			return true
		}
	}
	return false
}

// relations reports whether any, or every, relation of part matches. A statement
// without relations matches nothing.
func (m *Match) relations(part *parser.Part, v *View, every bool) bool {
	found := false
	for _, list := range [...][]parser.Relation{part.Reads, part.Writes, part.Defines} {
		for _, r := range list {
			schema := v.schemaOf(r)
			ok := (len(m.Relation) == 0 || m.Relation.matchIn(schema, r.Name)) &&
				(len(m.Schema) == 0 || m.Schema.match(schema))
			switch {
			case ok && !every:
				return true
			case ok:
				found = true
			case every && !isSystem(r) && !inPgml(r, v):
				return false
			}
		}
	}
	return found
}

// schemaOf is r's schema, or the first of search_path but the user's own.
func (v *View) schemaOf(r parser.Relation) string {
	if r.Schema != "" {
		return r.Schema
	}
	for _, s := range v.SearchPath {
		if s != v.User {
			return s
		}
	}
	return ""
}
