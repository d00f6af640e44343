package pool

import "pgshunt/internal/pgerr"

// Add adds a target. One of that name must not be there.
func (ps *Pools) Add(t *Target) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.targets[t.Name] = t
}

// Remove takes a target away. Whoever waits or asks for one of its backends gets 57P03.
// Those that are idle are closed at once, the others when they are released.
func (ps *Pools) Remove(target string) {
	var pools []*Pool
	ps.mu.Lock()
	delete(ps.targets, target)
	for key, p := range ps.pools {
		if key.Target == target {
			pools = append(pools, p)
			delete(ps.pools, key)
		}
	}
	ps.mu.Unlock()
	for _, p := range pools {
		p.remove()
	}
}

// remove closes what is idle and answers all who wait.
func (p *Pool) remove() {
	p.mu.Lock()
	p.removed = true
	for p.handOver(nil, errRemoved(p.key.Target)) {
	}
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, b := range idle {
		b.Close()
	}
}

// errRemoved is for those that come for a target which has been removed. It is like the
// failure of a login: another server may take its place.
func errRemoved(target string) error {
	return pgerr.New(pgerr.CannotConnectNow, "server %q is not configured any more", target).
		WithDetail("The configuration was reloaded without it. Nothing of the statement has run.").In("login")
}
