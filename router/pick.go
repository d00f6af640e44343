package router

import "math/bits"

// serves reports whether t is a replica that may be asked for work of that class now.
func (t *Target) serves(class Class) bool {
	return t.Replica && t.fit(class) && t.offers(class)
}

// fit reports whether t can do work of that class now. A target that is in trouble and
// healthy all the same has no PostgresML.
func (t *Target) fit(class Class) bool {
	return t.Healthy && (t.Trouble == "" || !needsPgml(class))
}

func needsPgml(class Class) bool {
	return class == Inference || class == Training || class == Describe || class == Schema
}

// offers reports whether t is configured for work of that class.
func (t *Target) offers(class Class) bool {
	switch class {
	case Training:
		return t.Training
	case Inference:
		return t.Inference
	case Describe, Schema:
		return t.Inference || t.Training
	}
	return t.Reads
}

func (f *Fleet) serves(class Class) bool { return f.servers(class) != 0 }

// count returns how many replicas serve class now; for training, how many are
// configured to, since a home stays a home while it is down.
func (f *Fleet) count(class Class) (n int) {
	for i := range f.Targets {
		t := &f.Targets[i]
		if t.serves(class) || class == Training && t.Replica && t.Training {
			n++
		}
	}
	return n
}

// Chooser is what the choice among several replicas depends on. The zero value
// chooses the first of them.
type Chooser struct {
	// Load is how busy a target is, in statements that run or wait there; nil is not at all.
	Load func(target string) int
	// Warm reports whether a target has an idle backend for the session, which may have models
	// in memory already; nil is not known.
	Warm func(target string) bool
	// Random returns random bits. With it two replicas are drawn, by their weights, and
	// the better one is taken, so that proxies with the same view of the loads do not all
	// turn to one. Without it all are compared.
	Random func() uint64
	// Zone is where the proxy stands; replicas there come before all others.
	Zone string
	// Last is the replica that the session used last. It keeps that one while its load is
	// at most Slack above that of the one that would be taken, because its backends are warm.
	Last  string
	Slack int
}

// Choose returns the replica for a Decision whose Place is Replica: its Target where it
// names one, else one of its Candidates that are still healthy. It is "" if none is left,
// which is an error 57P03 for the client.
func (c Chooser) Choose(d Decision, f *Fleet) string {
	if d.Target != "" {
		return d.Target
	}
	set := f.servers(d.Class)
	if d.Candidates != 0 {
		set &= d.Candidates
	}
	if set == 0 {
		return ""
	}
	if near := f.inZone(set, c.Zone); near != 0 {
		set = near
	}
	best := c.best(f, set)
	if last := f.index(c.Last); holds(set, last) && c.load(f, last) <= c.load(f, best)+c.Slack {
		return c.Last
	}
	return f.Targets[best].Name
}

// Pick is Choose by load alone. load may be nil.
func Pick(d Decision, f *Fleet, load func(target string) int) string {
	return Chooser{Load: load}.Choose(d, f)
}

func (f *Fleet) inZone(set uint64, zone string) (near uint64) {
	if zone == "" {
		return 0
	}
	for rest := set; rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros64(rest); f.Targets[i].Zone == zone {
			near |= 1 << i
		}
	}
	return near
}

// best is the index of the best of set, or of two of them drawn at random.
func (c Chooser) best(f *Fleet, set uint64) int {
	if c.Random != nil && bits.OnesCount64(set) > 1 {
		first := c.draw(f, set)
		second := c.draw(f, set&^(1<<first))
		if c.better(f, second, first) {
			return second
		}
		return first
	}
	best := bits.TrailingZeros64(set)
	for rest := set & (set - 1); rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros64(rest); c.better(f, i, best) {
			best = i
		}
	}
	return best
}

// draw returns one of set with a probability that is its share of the weights.
func (c Chooser) draw(f *Fleet, set uint64) int {
	total := uint64(0)
	for rest := set; rest != 0; rest &= rest - 1 {
		total += f.Targets[bits.TrailingZeros64(rest)].weight()
	}
	at, last := c.Random()%total, 0
	for rest := set; rest != 0; rest &= rest - 1 {
		last = bits.TrailingZeros64(rest)
		w := f.Targets[last].weight()
		if at < w {
			break
		}
		at -= w
	}
	return last
}

// better reports whether target a is to be preferred to b: it is warm, or it has less
// to do for its weight.
func (c Chooser) better(f *Fleet, a, b int) bool {
	ta, tb := &f.Targets[a], &f.Targets[b]
	if c.Warm != nil {
		if warm := c.Warm(ta.Name); warm != c.Warm(tb.Name) {
			return warm
		}
	}
	return uint64(c.load(f, a))*tb.weight() < uint64(c.load(f, b))*ta.weight()
}

func (c Chooser) load(f *Fleet, i int) int {
	if c.Load == nil {
		return 0
	}
	return c.Load(f.Targets[i].Name)
}

// weight is the target's share of the work, at least 1.
func (t *Target) weight() uint64 { return uint64(max(t.Weight, 1)) }
