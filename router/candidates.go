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
// is the answer.
func (q *question) modelled(d *Decision) {
	have, down := uint64(0), ""
	for i := range min(len(q.f.Targets), maxTargets) {
		t := &q.f.Targets[i]
		switch {
		case d.Project == "" || !t.Models[d.Project]:
		case holds(d.Candidates, i):
			have |= 1 << i
		case t.Replica && !t.Healthy && t.Inference:
			down = t.Name
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
	case !holds(d.Candidates, home):
		*d = q.refuseMissing(d.Class, d.Rule, 1<<home)
	default:
		d.Target, d.Candidates = t.Name, 1<<home
	}
}

// Fresh reports whether the target's data is known to be within bound of the primary's.
// A bound of 0 is none. What reads through postgres_fdw reads the primary itself.
func (t *Target) Fresh(bound time.Duration) bool {
	return bound == 0 || t.Feed == FeedFDW || t.LagKnown && t.Lag <= bound
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
	if q.f.allFDW(set) {
		d.Freshness, d.Wait = Freshness{}, 0
		return
	}
	if is := q.f.fresh(set, d.Freshness.Within); is != 0 && d.Target == "" {
		d.Candidates = is // no need to wait for the others
	}
}

func (f *Fleet) allFDW(set uint64) bool {
	for rest := set; rest != 0; rest &= rest - 1 {
		if f.Targets[bits.TrailingZeros64(rest)].Feed != FeedFDW {
			return false
		}
	}
	return set != 0
}

// first is the name of the first target of set.
func (f *Fleet) first(set uint64) string { return f.Targets[bits.TrailingZeros64(set)].Name }
