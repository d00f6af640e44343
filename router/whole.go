package router

import (
	"pgshunt/internal/pgerr"
	"pgshunt/parser"
)

// A READ ONLY transaction may follow a replica whole: its first read decides, and from then
// on View.Follows names the replica. Under REPEATABLE READ the replica's block has the
// snapshot of all that is read, so that nothing may be read elsewhere; at READ COMMITTED
// what is not there goes to the primary, and what comes after it too.

// mayBegin reports whether a replica may be the place of the whole transaction from this
// statement on: nothing has run in it that may have taken a snapshot, and this one reads.
func (q *question) mayBegin(p *Policy) bool {
	v, u := q.v, q.u
	if !v.ReadOnly || !v.InTransaction || v.Begun || v.Serializable || v.Pinned != "" || v.WroteUnknown || len(v.Written) > 0 ||
		len(v.Temporary) > 0 || q.part.Setting != nil {
		return false
	}
	switch u.class {
	case Read:
		return true
	case Inference, Describe:
		// Alone it runs beside a transaction that reads on the primary.
		return u.reads && (v.Snapshot || p.readsReplica)
	}
	return false
}

// begin answers for a statement with which the transaction may begin to follow a replica.
func (p *Policy) begin(st *parser.Statement, q *question) (Decision, bool) {
	q.whole = true
	d := p.free(st, q)
	q.whole = false
	switch {
	case d.Place == Refused:
		return d, q.u.class == Read
	case d.Place != Replica || q.part.Pin != "":
		return Decision{}, false
	}
	d.Whole = true
	if q.v.Snapshot {
		p.judge(&d, q)
	}
	return d, true
}

// judge makes d ask for all that statements of the transaction may ask for, since its
// snapshot is taken once.
func (p *Policy) judge(d *Decision, q *question) {
	of := p.inference
	of.Freshness = of.Freshness.and(d.Freshness)
	of.Wait = max(of.Wait, d.Wait)
	of.OrPrimary = d.OrPrimary
	d.ReadsTables = true
	of.demand(d, q)
}

// and is what satisfies both.
func (f Freshness) and(o Freshness) Freshness {
	f.Session = f.Session || o.Session
	if f.Within == 0 || o.Within > 0 && o.Within < f.Within {
		f.Within = o.Within
	}
	return f
}

// covers reports whether what has f has o too.
func (f Freshness) covers(o Freshness) bool { return f.and(o) == f }

// following answers for a statement of a transaction that follows a replica.
func (p *Policy) following(st *parser.Statement, q *question) Decision {
	v, u := q.v, q.u
	there := Decision{Place: Replica, Target: v.Follows, Class: u.class, Rule: RuleReadOnly, Reason: reasonWhole}
	switch {
	case setsModes(q.part) && v.Snapshot && v.FollowsLost:
		return refuseGone(q)
	case setsModes(q.part):
		return there // where something has been read, so that PostgreSQL says what is too late
	}
	if d, ok := follow(q.part, u, v); ok {
		if q.part.Kind != parser.Execute && q.part.Body != parser.Execute || d.Place == Replica && d.Target == v.Follows {
			return d
		}
		return q.notThere(d, "statement "+q.part.Name, "was prepared elsewhere")
	}
	switch {
	case u.class == Session && !u.pgml || q.part.Setting != nil, u.system && !u.reads && !u.pgml:
		return v.home(u.class, RuleTransaction, reasonTransaction, "")
	case u.class == Training || u.class == Schema || u.otherWrite || q.part.Locks && q.part.Kind != parser.LockTable:
		if u.pgml {
			return p.free(st, q)
		}
		return v.home(u.class, RuleTransaction, reasonTransaction, "") // which refuses it, with PostgreSQL's words
	case u.class == Write && !u.pgml:
		return q.notThere(v.home(u.class, RuleTransaction, reasonTransaction, ""), u.unknown, "means the primary's own functions or locks, or may write")
	}
	return p.reading(st, q, there)
}

// setsModes reports whether a statement is about the modes of the transaction.
func setsModes(part *parser.Part) bool {
	if part.Kind == parser.Begin {
		return true
	}
	if part.Kind != parser.Set && part.Kind != parser.Reset || part.Setting == nil {
		return false
	}
	switch part.Setting.Name {
	case "transaction_isolation", "transaction_read_only", "transaction_deferrable", "transaction_snapshot":
		return true
	}
	return false
}

// reading is following for what reads. there is the answer if it can be read there.
func (p *Policy) reading(st *parser.Statement, q *question, there Decision) Decision {
	v, u := q.v, q.u
	if v.Snapshot && v.FollowsLost {
		return refuseGone(q)
	}
	q.whole = true
	d, directed := p.hinted(st, q)
	if !directed {
		d, directed = p.ruled(q)
	}
	switch {
	case !directed:
		d = there
	case d.Place == Refused:
		return d
	case d.Place != Replica || d.Target != "" && d.Target != v.Follows:
		return q.notThere(d, "", d.Reason)
	default:
		there.Rule, there.Reason, there.Timeout = d.Rule, d.Reason, d.Timeout
	}
	if refusal, unfit := q.unfit(); unfit && u.class != Read {
		return refusal
	}
	q.whole = false
	if subject, why := q.unreadable(u.class); why != "" {
		return q.notThere(p.elsewhere(st, q), subject, why)
	}
	there.Project, there.ProjectParam = u.project, u.param
	there.Block = q.part.Kind == parser.Declare
	if there.ProjectParam > 0 && q.f.count(Training) > 1 {
		return there // settled at Bind
	}
	if u.class == Inference && u.models {
		at := there
		at.Target, at.Candidates = "", q.candidates(Inference)
		if q.modelled(&at); at.Place == Refused {
			return at
		}
		if at.Target != "" && at.Target != v.Follows || at.Candidates != 0 && !holds(at.Candidates, q.f.index(v.Follows)) {
			return q.notThere(p.elsewhere(st, q), "project "+u.project, "has its model on another server")
		}
	}
	return p.fresh(q, there, d.Freshness)
}

// unreadable says what of the statement cannot run on the replica that is followed.
func (q *question) unreadable(class Class) (subject, why string) {
	at := q.f.index(q.v.Follows)
	switch {
	case q.part.Pin != "":
		return "", reasonSessionRead
	case class == Read && q.u.unknown != "":
		return q.u.unknown, reasonUnknownFunc
	case class == Read && q.u.system:
		return "", reasonSystem
	case class == Read && q.v.shadows():
		return "", reasonShadowed
	case at < 0:
		return q.v.Follows, "is not configured any more"
	case (!holds(q.u.ready, at) || class == Read && !holds(q.u.overloaded, at)) && q.known != nil:
		if subject, why := q.missing(1 << at); why != "" {
			return subject, why + " (" + q.v.Follows + ")"
		}
		return q.v.Follows, reasonAbsent
	}
	return "", ""
}

// elsewhere is where the statement would go at READ COMMITTED if it cannot run on the
// replica that the transaction follows.
func (p *Policy) elsewhere(st *parser.Statement, q *question) Decision {
	if d, ok := settled(q.part, q.u, q.v); ok {
		return d
	}
	return p.free(st, q)
}

// notThere is the answer for what the followed replica cannot do: d at READ COMMITTED, and
// else an error, since another server has another snapshot.
func (q *question) notThere(d Decision, subject, why string) Decision {
	if !q.v.Snapshot {
		return d
	}
	return refuseLeaving(q, subject, why)
}

// fresh completes a statement for the followed replica. more is what a rule asks for.
func (p *Policy) fresh(q *question, there Decision, more Freshness) Decision {
	there.ReadsTables = q.u.reads
	if q.u.class != Read {
		p.inference.demand(&there, q)
	}
	if q.u.reads && !more.Any() {
		there.Freshness = more
	}
	there.OrPrimary = there.OrPrimary && !q.v.Snapshot
	if !q.v.Snapshot {
		return there
	}
	if !q.v.FollowsFresh.covers(there.Freshness) && !holds(q.live(), q.f.index(there.Target)) {
		return refuseLeaving(q, "", "the snapshot was taken for "+q.v.FollowsFresh.String()+" freshness, and this statement asks for "+there.Freshness.String())
	}
	there.ReadsTables, there.Freshness, there.Wait = false, Freshness{}, 0
	return there
}

// followingAll answers for a text of several statements: the replica if all of them belong there, and
// the primary if none does.
func (p *Policy) followingAll(st *parser.Statement, v *View, f *Fleet) Decision {
	known := f.catalog(v)
	var whole Decision
	for i := range st.Parts {
		part := &st.Parts[i]
		u := inspect(part, v, known)
		q := question{part: part, parts: st.Parts[i : i+1], u: &u, v: v, f: f, known: known}
		d := p.following(st, &q)
		switch {
		case d.Place == Refused:
			return d
		case i == 0:
			whole = d
			continue
		case d.Place != whole.Place || d.Place == Replica && d.Target != whole.Target:
			return q.notThere(v.home(stronger(whole.Class, d.Class), RuleMulti, reasonMulti, ""), "", "the statements of the text need different servers")
		}
		whole.Class = stronger(whole.Class, d.Class)
		whole.ReadsTables = whole.ReadsTables || d.ReadsTables
		whole.Freshness = whole.Freshness.and(d.Freshness)
		whole.Wait = max(whole.Wait, d.Wait)
	}
	whole.Rule = RuleMulti
	return whole
}

// refuseLeaving is the refusal of what would be read in another snapshot.
func refuseLeaving(q *question, subject, why string) Decision {
	if subject != "" {
		why = subject + " " + why
	}
	return refused(q.u.class, RuleReadOnly, reasonLeaving, "",
		pgerr.New(pgerr.FeatureNotSupported, "this transaction reads a snapshot of PostgresML server %q, and this statement cannot run there", q.v.Follows).
			WithDetail("Reason: %s. A snapshot of another server would be another state of the data.", why).
			WithHint("Run it in a transaction of its own, before all reads of this one, or use READ COMMITTED. /*+ pgshunt: primary */ at the first read keeps the transaction on the primary."))
}

// refuseGone is the refusal of all that would be read in a snapshot that has been lost.
func refuseGone(q *question) Decision {
	return refused(q.u.class, RuleReadOnly, reasonLeaving, "",
		pgerr.New(pgerr.ConnectionFailure, "connection to server %q was lost", q.v.Follows).
			WithDetail("The snapshot that this transaction reads was there.").
			WithHint("Roll back, and run the transaction again."))
}
