package router

// HomeOf returns the replica that trains project: the same one for as long as the
// set of training replicas is the same, and when that changes only the projects of
// the replica that came or went move (rendezvous hashing). Health does not matter,
// since training elsewhere meanwhile would give the project two homes.
//
// For "", where no project is known, it is the first training replica of the
// config. It is "" if there is none.
func HomeOf(project string, f *Fleet) string {
	best, score := "", uint64(0)
	if f == nil {
		return best
	}
	for i := range f.Targets {
		t := &f.Targets[i]
		if !t.Replica || !t.Training {
			continue
		}
		if project == "" {
			return t.Name
		}
		if s := weight(t.Name, project); best == "" || s > score {
			best, score = t.Name, s
		}
	}
	return best
}

// weight is FNV-1a over both names, with the finalizer of MurmurHash3 so that names
// that differ in their last byte only are spread as well.
func weight(target, project string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(target) {
		h = (h ^ uint64(target[i])) * prime
	}
	h = (h ^ 0xff) * prime
	for i := range len(project) {
		h = (h ^ uint64(project[i])) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
