package router

// serves reports whether t is healthy and may be asked for work of that class.
func (t *Target) serves(class Class) bool {
	return t.Replica && t.Healthy && t.offers(class)
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

func (f *Fleet) serves(class Class) bool { return f.count(class) > 0 }

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

// Pick returns the replica for a Decision whose Place is Replica: its Target where it
// names one, else the least loaded of those that serve its class, the first of equals.
// It is "" if none is left, which is an error 57P03 for the client. load may be nil.
func Pick(d Decision, f *Fleet, load func(target string) int) string {
	return PickNear(d, f, load, "", 0)
}

// PickNear is Pick for a session that used the replica named last: it keeps that one
// while its load is at most slack above the least, because its backends are warm.
func PickNear(d Decision, f *Fleet, load func(target string) int, last string, slack int) string {
	if d.Target != "" {
		return d.Target
	}
	best, least := "", 0
	stays, lastLoad := false, 0
	for i := range f.Targets {
		t := &f.Targets[i]
		if !t.serves(d.Class) {
			continue
		}
		n := 0
		if load != nil {
			n = load(t.Name)
		}
		if t.Name == last {
			stays, lastLoad = true, n
		}
		if best == "" || n < least {
			best, least = t.Name, n
		}
	}
	if stays && lastLoad <= least+slack {
		return last
	}
	return best
}
