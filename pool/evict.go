package pool

// Evict has every backend of a target that exists now, or is being dialed, end with
// what it is used for: the target's Login leads to another server from now on. Those
// that are idle are closed at once, the others when they are released.
func (ps *Pools) Evict(target string) {
	ps.mu.RLock()
	t := ps.targets[target]
	ps.mu.RUnlock()
	if t == nil {
		return
	}
	t.moves.Add(1)
	for _, p := range ps.poolsOf(target) {
		p.mu.Lock()
		idle := p.idle
		p.idle = nil
		p.cutPause()
		p.mu.Unlock()
		for _, b := range idle {
			b.Close()
		}
	}
}

// outdated tells whether b leads to a server that is not its target any more.
func (b *Backend) outdated() bool { return b.moves != b.pool.target.moves.Load() }

// poolsOf returns the pools of a target.
func (ps *Pools) poolsOf(target string) (pools []*Pool) {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	for key, p := range ps.pools {
		if key.Target == target {
			pools = append(pools, p)
		}
	}
	return pools
}
