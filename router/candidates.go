package router

import (
	"math/bits"
	"time"
)

// maxTargets is how many targets a set can hold; those beyond get no statements.
const maxTargets = 64

// holds reports whether set has the target at that index, which may be -1.
func holds(set uint64, index int) bool { return index >= 0 && set>>index&1 != 0 }

// servers is the set of targets that serve class.
func (f *Fleet) servers(class Class) (set uint64) {
	for i := range min(len(f.Targets), maxTargets) {
		if f.Targets[i].serves(class) {
			set |= 1 << i
		}
	}
	return set
}

// candidates is the set of targets that serve class and have all that the statement
// reads and calls. A standby cannot load a model, since that takes a transaction id.
func (q *question) candidates(class Class) uint64 {
	set := q.f.servers(class) & q.u.ready
	if class == Read {
		set &= q.u.overloaded
	}
	if q.u.writesModels() {
		set &^= q.f.standbys()
	}
	return set
}

func (f *Fleet) standbys() (set uint64) {
	for i := range min(len(f.Targets), maxTargets) {
		if f.Targets[i].Standby {
			set |= 1 << i
		}
	}
	return set
}

// modelled narrows a decision for inference to the replicas that have the project's
// model, or refuses it. Where none is known to have it, it is the home, whose own error
// is the answer; where some have it and lack what else the statement needs, that is.
func (q *question) modelled(d *Decision) {
	have, bare, down := uint64(0), uint64(0), ""
	for i := range min(len(q.f.Targets), maxTargets) {
		t := &q.f.Targets[i]
		switch {
		case d.Project == "" || !t.Models[d.Project]:
		case holds(d.Candidates, i):
			have |= 1 << i
		case t.Replica && !t.Healthy && t.Inference:
			down = t.Name
		case t.Replica && t.fit(Inference) && t.Inference:
			bare |= 1 << i
		}
	}
	if have != 0 {
		d.Candidates = have
		return
	}
	home := q.f.index(HomeOf(d.Project, q.f))
	if home < 0 || !q.f.Targets[home].offers(Inference) {
		return
	}
	t := &q.f.Targets[home]
	switch {
	case !t.fit(Inference):
		*d = refuseHome(d.Subject, t.Name)
	case down != "" && t.Models != nil:
		*d = refuseModel(d, down)
	case bare != 0 && t.Models != nil:
		*d = q.refuseMissing(d.Class, d.Rule, bare)
	case !holds(d.Candidates, home):
		*d = q.refuseMissing(d.Class, d.Rule, 1<<home)
	default:
		d.Target, d.Candidates = t.Name, 1<<home
	}
}

// Fresh reports whether the target's data is known to be within bound of the primary's.
// A bound of 0 is none. What reads through postgres_fdw reads the primary itself, but for the
// copies it may have, whose age Lag is.
func (t *Target) Fresh(bound time.Duration) bool {
	return bound == 0 || t.LagKnown && t.Lag <= bound
}

// fresh is the part of set that is within bound.
func (f *Fleet) fresh(set uint64, bound time.Duration) (is uint64) {
	for rest := set; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if f.Targets[i].Fresh(bound) {
			is |= 1 << i
		}
	}
	return is
}

// live is the set of targets that read all of what the statement reads on the primary.
func (q *question) live() (set uint64) {
	for i := range min(len(q.f.Targets), maxTargets) {
		if q.f.Targets[i].Feed == FeedFDW {
			set |= 1 << i
		}
	}
	return set &^ q.copied()
}

// copied is the set of targets of foreign tables that read copies instead, of what the
// statement reads or what a training of it reads.
func (q *question) copied() uint64 {
	set := q.u.copied
	if q.u.source == "" || q.known == nil {
		return set
	}
	r := q.known.find(sourceRelation(q.u.source), q.v).relation
	if r == nil {
		return set
	}
	set |= r.copied
	if r.uses != nil {
		for _, base := range r.uses.reads {
			if b := q.known.find(base, q.v).relation; b != nil {
				set |= b.copied
			}
		}
	}
	return set
}

// demand puts into d what the policy asks for, where the data matters.
func (r Requirement) demand(d *Decision, q *question) {
	d.OrPrimary = r.OrPrimary && q.primaryAble()
	if !d.ReadsTables {
		return
	}
	d.Freshness, d.Wait = r.Freshness, r.Wait
	if d.Freshness.Any() {
		return
	}
	set := d.Candidates
	if d.Target != "" {
		set = 1 << q.f.index(d.Target)
	}
	live, is := set&q.live(), q.f.fresh(set, d.Freshness.Within)
	switch {
	case live != 0 && (live == set || d.Freshness.Session || is == 0):
		// What reads the primary itself has everything, though others of its tables may be copies.
		d.Freshness, d.Wait = Freshness{}, 0
		if d.Target == "" {
			d.Candidates = live
		}
	case is != 0 && d.Target == "":
		d.Candidates = is // no need to wait for the others
	}
}

// first is the name of the first target of set.
func (f *Fleet) first(set uint64) string { return f.Targets[bits.TrailingZeros64(set)].Name }
