package router

import (
	"strings"

	"pgshunt/parser"
)

// hinted answers for a hint, in a comment of the statement or in pgshunt.route.
func (p *Policy) hinted(st *parser.Statement, q *question) (Decision, bool) {
	hint := st.Hint
	if hint == "" {
		hint = q.v.Hint
	}
	if hint == "" || len(p.hintUsers) > 0 && !p.hintUsers.match(q.v.User) {
		return Decision{}, false
	}
	return p.directed(q, hint, RuleHint, reasonHint), true
}

// ruled answers by the first rule of the config that matches.
func (p *Policy) ruled(q *question) (Decision, bool) {
	if r := p.rule(q); r != nil {
		return p.obey(r, q), true
	}
	return Decision{}, false
}

// rule is the first rule of the config that matches, or nil.
func (p *Policy) rule(q *question) *rule {
	for i := range p.rules {
		if r := &p.rules[i]; r.matches(q.part, q.u, q.v) {
			return r
		}
	}
	return nil
}

// obey answers as r says.
func (p *Policy) obey(r *rule, q *question) Decision {
	if r.Reject != "" {
		return refuseRule(q.u.class, r.name, r.Reject)
	}
	d := p.directed(q, r.To, r.name, reasonRule)
	if d.Place == Refused && d.Reason == reasonNoTarget && r.OnStale == toPrimary && q.primaryAble() {
		d = q.v.home(q.u.class, r.name, reasonPrimaryInstead, q.u.subject)
	}
	if d.Place != Refused {
		d.Timeout = r.Timeout
	}
	if d.Place == Replica && (!r.Freshness.Any() || r.OnStale != "") {
		of := p.requirement(d.Class)
		if !r.Freshness.Any() {
			if of == (Requirement{}) {
				of = p.inference // for its wait
			}
			of.Freshness = r.Freshness
		}
		if r.OnStale != "" {
			of.OrPrimary = r.OnStale == toPrimary
		}
		of.demand(&d, q)
	}
	return d
}

// within answers for a statement without PostgresML that stays where its transaction, or its
// session, is. A rule may reject it and bound its time there. It sends it away only if it
// says that it is about transactions, and the statement is a read which nothing that the
// transaction has done could matter to.
func (p *Policy) within(q *question, d Decision) Decision {
	if q.u.class == Session {
		return d
	}
	switch r := p.rule(q); {
	case r == nil:
	case r.Reject != "":
		return refuseRule(q.u.class, r.name, r.Reject)
	case r.To == toPrimary:
		d.Rule, d.Reason, d.Timeout = r.name, reasonRule, r.Timeout
	case r.Match.Transaction == blockInside && q.indifferent():
		if away := p.obey(r, q); away.Place != Stay {
			return away
		}
	}
	return d
}

// indifferent reports whether a read in a transaction block has the same answer outside of
// it, but for its age.
func (q *question) indifferent() bool {
	v, u := q.v, q.u
	return v.InTransaction && u.class == Read && !v.Snapshot && !v.Locked && !v.WroteUnknown && len(v.Written) == 0 && v.Pinned == "" &&
		len(v.Temporary) == 0 && !u.volatile && !u.system && u.unknown == "" && !v.shadows() &&
		q.part.Kind != parser.Declare && q.part.Pin == "" && q.part.Setting == nil
}

// common is what the rules of the config say of the statements of one text: the first
// that rejects one of them; else the one that all match, if they match one; primary is set
// where one sends any of them there. Statements about the session match none.
type common struct {
	reject, all  *rule
	some, differ bool
	primary      bool
}

func (c *common) add(r *rule) {
	switch {
	case r == nil || c.some && r != c.all:
		c.differ = true
	default:
		c.all = r
	}
	c.some = true
	if r == nil {
		return
	}
	if r.Reject != "" && c.reject == nil {
		c.reject = r
	}
	c.primary = c.primary || r.To == toPrimary
}

// rule is the one that decides for the whole text, or nil.
func (c *common) rule() *rule {
	switch {
	case c.reject != nil:
		return c.reject
	case c.differ:
		return nil
	}
	return c.all
}

// directed sends the statement where a hint or a rule says. What it says is believed,
// but for what would be wrong without a sign of it: reading on another server a relation
// that this transaction has written, or one that is guarded in another way there.
func (p *Policy) directed(q *question, to, rule, reason string) Decision {
	if to == toPrimary {
		return q.v.home(q.u.class, rule, reason, "")
	}
	name, named := strings.CutPrefix(to, "replica:")
	if rule != RuleHint && to != toReplica {
		name, named = to, true
	}
	target := q.f.index(name)
	if !named && to != toReplica || named && (target < 0 || !q.f.Targets[target].Replica) {
		return refuseHint(q.u.class, to)
	}
	if name, stale := q.stale(); stale {
		return refuseWritten(q.u.class, name)
	}
	writes := q.u.otherWrite || q.u.adminWrite || q.u.trains || q.u.class == Schema
	if writes && q.v.ReadOnly && q.u.pgml {
		return refuseReadOnly(q)
	}
	if writes && q.v.InTransaction && p.reject {
		return refuseInTransaction(q.u)
	}
	d := Decision{
		Place: Replica, Class: q.u.class, Rule: rule, Reason: reason, Subject: q.u.subject,
		Project: q.u.project, ProjectParam: q.u.param, SourceParam: q.u.sourceParam,
		Detached: writes && q.v.InTransaction, ReadsTables: q.u.reads || q.u.trains,
		Block: q.part.Kind == parser.Declare,
	}
	switch {
	case named && !q.f.Targets[target].Healthy:
		return refuseTarget(q.u.class, rule, d.Subject)
	case named:
		if q.guarded(target) || q.u.writesModels() && q.f.Targets[target].Standby {
			return q.refuseMissing(d.Class, rule, 1<<target)
		}
		d.Target = name
	case q.u.trains || q.u.adminWrite || q.u.class == Schema:
		if d.ProjectParam > 0 && q.f.count(Training) > 1 {
			d.Candidates = q.f.servers(Training)
			break
		}
		if d.Target = HomeOf(d.Project, q.f); !q.f.target(d.Target).trains() {
			return refuseHome(d.Subject, d.Target)
		}
	default:
		return p.spread(q, d)
	}
	p.requirement(d.Class).demand(&d, q)
	return d
}

// spread completes a decision of a hint or rule that names no replica.
func (p *Policy) spread(q *question, d Decision) Decision {
	up := q.f.servers(d.Class)
	if d.Candidates = q.candidates(d.Class); d.Candidates != 0 {
		if d.Class == Read {
			if d.Candidates = q.f.fresh(d.Candidates, p.maxLag); d.Candidates == 0 {
				return q.v.home(Read, d.Rule, reasonBehind, "")
			}
		}
		p.requirement(d.Class).demand(&d, q)
		return d
	}
	switch {
	case up == 0:
		return refuseTarget(d.Class, d.Rule, d.Subject)
	case d.Class == Read:
		subject, _ := q.missing(up)
		return q.v.home(Read, d.Rule, reasonAbsent, subject)
	}
	return q.refuseMissing(d.Class, d.Rule, up)
}

// requirement is what the policy asks for the data of that class; plain reads have a
// bound of their own.
func (p *Policy) requirement(class Class) Requirement {
	switch class {
	case Inference, Describe:
		return p.inference
	case Training, Schema:
		return p.training
	}
	return Requirement{}
}

// guarded reports whether the target lets something be seen that the primary does not.
func (q *question) guarded(target int) bool {
	if q.known == nil || holds(q.u.ready, target) {
		return false
	}
	l, ok := q.lacks(target)
	return ok && (l.kind == gapSecurity || l.kind == gapUnlooked)
}

// writesModels reports whether a server in recovery cannot run the statement: to load a model
// takes a transaction id, as to train one does.
func (u *usage) writesModels() bool { return u.models || u.adminWrite || u.trains }

func (t *Target) trains() bool { return t != nil && t.fit(Training) }

// matches reports whether all conditions of r hold.
func (r *rule) matches(part *parser.Part, u *usage, v *View) bool {
	m := &r.Match
	switch {
	case len(m.Kind) == 0 && r.Reject == "" && r.To != toPrimary && (u.class == Write || u.class == Schema),
		len(m.Kind) > 0 && !m.Kind.match(u.class.String()),
		len(m.User) > 0 && !m.User.match(v.User),
		len(m.Database) > 0 && !m.Database.match(v.Database),
		len(m.Application) > 0 && !m.Application.match(v.Application),
		len(m.Project) > 0 && (u.project == "" || !m.Project.match(u.project)),
		m.Transaction == blockInside && !v.InTransaction, m.Transaction == blockOutside && v.InTransaction,
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
