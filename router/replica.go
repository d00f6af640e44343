package router

import "pgshunt/parser"

// besides is a read that PostgresML answers, in a transaction beside it.
func (p *Policy) besides(q *question) Decision {
	rule, reason := RuleInference, reasonInfers
	if q.u.class == Describe {
		rule, reason = RuleCatalog, reasonDescribes
	}
	return p.replica(q, q.u.class, rule, reason, q.u.subject)
}

// replica sends the statement to a replica that serves class and has what it needs,
// unless something in it or in the session forbids that.
func (p *Policy) replica(q *question, class Class, rule, reason, subject string) Decision {
	if d, refused := q.unfit(); refused {
		return d
	}
	set := q.candidates(class)
	if set == 0 {
		return p.nowhere(q, class, rule, subject)
	}
	d := Decision{
		Place: Replica, Candidates: set, Class: class, Rule: rule, Reason: reason, Subject: subject,
		Project: q.u.project, ProjectParam: q.u.param,
		Block:       q.part.Kind == parser.Declare,
		ReadsTables: q.u.reads,
	}
	if class == Describe {
		// Homes differ in what they have trained; one server's answers at least agree
		// with each other from one statement to the next.
		if home := q.f.index(HomeOf("", q.f)); holds(set, home) {
			d.Target = q.f.Targets[home].Name
		}
	}
	if class == Inference && q.u.models && d.ProjectParam == 0 {
		if q.modelled(&d); d.Place == Refused {
			return d
		}
	}
	p.inference.demand(&d, q)
	return d
}

// nowhere answers where no replica can run a read that calls PostgresML: the primary,
// if it has PostgresML and all the rest, else an error that says what is missing.
func (p *Policy) nowhere(q *question, class Class, rule, subject string) Decision {
	up := q.f.servers(class)
	switch able := q.primaryAble(); {
	case up != 0 && able:
		return q.v.home(class, rule, reasonPrimaryPgml, subject)
	case up != 0:
		return q.refuseMissing(class, rule, up)
	case able && p.inference.OrPrimary:
		return q.v.home(class, rule, reasonPrimaryDown, subject)
	}
	return refuseTarget(class, rule, subject)
}

// primaryAble reports whether the primary could run the statement itself.
func (q *question) primaryAble() bool {
	if !q.u.pgml {
		return true
	}
	t := q.f.primary()
	return t != nil && t.Healthy && t.Pgml != "" && !q.u.lone
}

// unfit refuses what a replica cannot answer rightly beside the session's transaction.
func (q *question) unfit() (Decision, bool) {
	p, u, v := q.part, q.u, q.v
	switch {
	case u.otherWrite:
		return refuseOffload(u, "It also writes, which only the primary may."), true
	case p.Server:
		return refuseServerFile(u), true
	case p.Locks:
		return refuseOffload(u, "It also locks rows, which only the primary may."), true
	case u.volatile && (!u.clock || v.InTransaction && !q.whole) && !u.adminWrite:
		return refuseVolatile(u), true
	case u.effects != "" && !u.adminWrite:
		return refuseEffects(u), true
	case p.Kind == parser.Do && p.Opaque:
		return refuseOffload(u, "It also executes text that cannot be seen, which may write."), true
	}
	if name, ok := q.stale(); ok {
		return refuseWritten(u.class, name), true
	}
	if v.Snapshot && u.reads && !q.whole {
		return refuseSnapshot(u), true
	}
	return Decision{}, false
}

// trains is training, model administration, and writes to schema pgml.
func (p *Policy) trains(q *question) Decision {
	switch {
	case q.u.otherWrite:
		return q.mixed()
	case q.part.Server && !q.u.trains:
		return refuseServerFile(q.u)
	case q.part.Locks && q.u.trains:
		return refuseOffload(q.u, "It also locks rows, which only the primary may.")
	case q.u.volatile && !q.u.clock && q.u.trains:
		return refuseVolatile(q.u)
	case q.v.ReadOnly:
		return refuseReadOnly(q)
	case q.v.InTransaction && p.reject:
		return refuseInTransaction(q.u)
	}
	switch {
	case q.u.trains:
		return p.owned(q, RuleTraining, reasonTrains)
	case q.u.lone:
		return p.owned(q, RuleTraining, reasonLone)
	}
	return p.owned(q, RuleTraining, reasonAdmin)
}

// owned sends the statement to the replica that owns the project, in a transaction
// of its own.
func (p *Policy) owned(q *question, rule, reason string) Decision {
	if name, ok := q.stale(); ok {
		return refuseWritten(q.u.class, name)
	}
	d := Decision{
		Place: Replica, Class: Training, Rule: rule, Reason: reason, Subject: q.u.subject,
		Project: q.u.project, ProjectParam: q.u.param, SourceParam: q.u.sourceParam,
		Detached:    q.v.InTransaction,
		ReadsTables: q.u.reads || q.u.trains,
	}
	if d.ProjectParam > 0 && q.f.count(Training) > 1 {
		if !q.f.serves(Training) {
			return refuseTarget(Training, rule, d.Subject)
		}
		d.Candidates = q.f.servers(Training)
		p.training.demand(&d, q)
		return d // Bound asks HomeOf once the parameter is known
	}
	return p.atHome(q, d)
}

// atHome completes a decision for the home of d's project.
func (p *Policy) atHome(q *question, d Decision) Decision {
	d.Target = HomeOf(d.Project, q.f)
	if q.u.adminWrite && !q.u.trains && q.u.lone {
		// What only some replicas have is changed where it is.
		if set := q.candidates(Training); set != 0 && !holds(set, q.f.index(d.Target)) {
			d.Target = q.f.first(set)
		}
	}
	home := q.f.target(d.Target)
	switch {
	case (home == nil || home.Standby) && q.primaryAble():
		// PostgresML is installed in the primary itself, and its standbys cannot write.
		there := q.v.home(Training, d.Rule, reasonPrimaryPgml, d.Subject)
		there.Project = d.Project
		return there
	case home == nil || !home.serves(Training):
		return refuseHome(d.Subject, d.Target)
	}
	at := uint64(1) << q.f.index(d.Target)
	if q.u.sourceHidden && q.known != nil && (q.known.lacking|^q.known.known)&at != 0 {
		return refuseComputed(q.u, d.Target)
	}
	if q.u.ready&at == 0 || !q.sourceReady(at) {
		return q.refuseMissing(d.Class, d.Rule, at)
	}
	p.training.demand(&d, q)
	return d
}

// mixed is a write to the primary that also calls PostgresML. It needs both servers;
// package offload can do many of these, Decide by itself none.
func (q *question) mixed() Decision {
	return refuseOffload(q.u, "It writes "+q.u.written+", which only the primary may.")
}
