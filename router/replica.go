package router

import "pgshunt/parser"

// besides is a read that PostgresML answers, in a transaction beside it.
func (q question) besides() Decision {
	rule, reason := RuleInference, reasonInfers
	if q.u.class == Describe {
		rule, reason = RuleCatalog, reasonDescribes
	}
	return q.replica(q.u.class, rule, reason, q.u.subject)
}

// replica sends the statement to a replica that serves class, unless something in it
// or in the session forbids that.
func (q question) replica(class Class, rule, reason, subject string) Decision {
	if d, refused := q.unfit(); refused {
		return d
	}
	d := Decision{
		Place: Replica, Class: class, Rule: rule, Reason: reason, Subject: subject,
		Project: q.u.project, ProjectParam: q.u.param,
		Block:       q.part.Kind == parser.Declare,
		ReadsTables: q.u.reads,
	}
	if !q.f.serves(class) {
		return refuseTarget(class, rule, subject)
	}
	if class == Describe {
		// Homes differ in what they have trained; one server's answers at least agree
		// with each other from one statement to the next.
		if home := q.f.target(HomeOf("", q.f)); home != nil && home.serves(Describe) {
			d.Target = home.Name
		}
	}
	if class == Inference && q.u.models && d.ProjectParam == 0 {
		// Nothing copies models yet: the replica that trained a project is the only one to have it.
		home := q.f.target(HomeOf(d.Project, q.f))
		switch {
		case home == nil || !home.offers(Inference):
		case !home.Healthy:
			return refuseHome(subject, home.Name)
		default:
			d.Target = home.Name
		}
	}
	return d
}

// unfit refuses what a replica cannot answer rightly beside the session's transaction.
func (q question) unfit() (Decision, bool) {
	p, u, v := q.part, q.u, q.v
	switch {
	case u.otherWrite:
		return refuseOffload(u, "It also writes, which only the primary may."), true
	case p.Server:
		return refuseServerFile(u), true
	case p.Locks:
		return refuseOffload(u, "It also locks rows, which only the primary may."), true
	case p.Volatile && (!p.Clock || v.InTransaction) && !u.adminWrite:
		return refuseVolatile(u), true
	case p.Kind == parser.Do && p.Opaque:
		return refuseOffload(u, "It also executes text that cannot be seen, which may write."), true
	}
	if name, ok := q.stale(); ok {
		return refuseWritten(u.class, name), true
	}
	if v.Snapshot && u.reads {
		return refuseSnapshot(u), true
	}
	return Decision{}, false
}

// stale returns a relation that the statement reads and whose newest rows only the
// session's own transaction or backend has.
func (q question) stale() (string, bool) {
	for i, r := range q.part.Reads {
		if inPgml(r, q.v) || q.f.catalog(q.v).lone(r, q.v) || isSystem(r) {
			continue
		}
		if anySame(q.v.Temporary, r) && q.v.pinnedToPrimary() {
			return q.part.ReadText(i), true
		}
		if q.v.InTransaction && (q.v.WroteUnknown || anySame(q.v.Written, r)) {
			return q.part.ReadText(i), true
		}
	}
	if q.u.source != "" && q.v.InTransaction {
		if q.v.WroteUnknown || anySame(q.v.Written, relationNamed(q.u.source)) {
			return q.u.source, true
		}
	}
	return "", false
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

// training is training, model administration, and writes to schema pgml.
func (p *Policy) training(q question) Decision {
	switch {
	case q.u.otherWrite:
		return q.mixed()
	case q.part.Server && !q.u.trains:
		return refuseServerFile(q.u)
	case q.part.Locks && q.u.trains:
		return refuseOffload(q.u, "It also locks rows, which only the primary may.")
	case q.part.Volatile && !q.part.Clock && q.u.trains:
		return refuseVolatile(q.u)
	case q.v.ReadOnly:
		return refuseReadOnly(q.u)
	case q.v.InTransaction && p.reject:
		return refuseInTransaction(q.u)
	}
	if q.u.trains {
		return q.owned(RuleTraining, reasonTrains)
	}
	return q.owned(RuleTraining, reasonAdmin)
}

// owned sends the statement to the replica that owns the project, in a transaction
// of its own.
func (q question) owned(rule, reason string) Decision {
	if name, ok := q.stale(); ok {
		return refuseWritten(q.u.class, name)
	}
	d := Decision{
		Place: Replica, Class: Training, Rule: rule, Reason: reason, Subject: q.u.subject,
		Project: q.u.project, ProjectParam: q.u.param,
		Detached:    q.v.InTransaction,
		ReadsTables: q.u.reads || q.u.trains,
	}
	if d.ProjectParam > 0 && q.f.count(Training) > 1 {
		if !q.f.serves(Training) {
			return refuseTarget(Training, rule, d.Subject)
		}
		return d // the caller knows the parameter and asks HomeOf
	}
	d.Target = HomeOf(d.Project, q.f)
	if home := q.f.target(d.Target); home == nil || !home.serves(Training) {
		return refuseHome(d.Subject, d.Target)
	}
	return d
}

// mixed is a write to the primary that also calls PostgresML. It needs both servers;
// package offload can do many of these, Decide by itself none.
func (q question) mixed() Decision {
	return refuseOffload(q.u, "It writes "+q.u.written+", which only the primary may.")
}
