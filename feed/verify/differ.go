package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgshunt/feed"
)

// repairAttempts is how often the rows of a range are repaired until they are equal.
const repairAttempts = 3

// What a Key may be.
const (
	wasMissing = "missing"
	wasExtra   = "extra"
	wasChanged = "changed"
)

// pair is what both servers have under one key, nil where one has nothing.
type pair struct{ primary, replica *entry }

func (p pair) equal() bool {
	if p.primary == nil || p.replica == nil {
		return p.primary == p.replica
	}
	return p.primary.value == p.replica.value
}

func (p pair) what() string {
	switch {
	case p.replica == nil:
		return wasMissing
	case p.primary == nil:
		return wasExtra
	}
	return wasChanged
}

// unchanged tells whether neither server has another version than before.
func (p pair) unchanged(before pair) bool {
	return same(p.primary, before.primary) && same(p.replica, before.replica)
}

func same(a, b *entry) bool { return a == b || a != nil && b != nil && *a == *b }

// join joins two listings, without what is equal.
func join(primary, replica map[string]entry) map[string]pair {
	all := make(map[string]pair)
	for k, e := range primary {
		one := pair{primary: &e}
		if other, ok := replica[k]; ok {
			one.replica = &other
		}
		if !one.equal() {
			all[k] = one
		}
	}
	for k, e := range replica {
		if _, ok := primary[k]; !ok {
			all[k] = pair{replica: &e}
		}
	}
	return all
}

// differs reads a part row by row, finds out which rows really differ, counts them and, if
// that is wanted, mends them.
func (c *comparison) differs(ctx context.Context, one part) error {
	repair := c.v.opts.Repair && c.replica.table.Kind != 'f'
	if !repair && c.report.Rows() >= c.v.opts.Limit {
		c.report.Limited = true
		c.span(one.span, 0)
		return nil
	}
	var p, r map[string]entry
	err := together(
		func() (err error) { p, err = c.primary.list(ctx, one.primary, one.over); return err },
		func() (err error) { r, err = c.replica.list(ctx, one.replica, one.over); return err })
	if err != nil {
		return err
	}
	found := join(p, r)
	if !c.live && one.over == "" {
		if err := c.misplaced(ctx, found); err != nil {
			return err
		}
	}
	if found, err = c.settle(ctx, found); err != nil {
		return err
	}
	if len(found) > 0 && repair && c.v.run.Print {
		c.v.run.Tell(feed.Event{Status: feed.StatusWould, Server: c.v.run.Target.Name, Step: fmt.Sprintf("write %d of the primary's rows to %s", len(found), c.primary.table.Plain())})
	} else if len(found) > 0 && repair {
		// Rows that have changed meanwhile are left to the next attempt.
		for attempt := 0; attempt < repairAttempts && len(found) > 0; attempt++ {
			if found, err = c.repair(ctx, found); err != nil {
				return err
			}
		}
	}
	return c.record(ctx, one.span, found)
}

// misplaced takes out of the rows that only one server has in a range those that the other has
// in another range, as where it sorts by another collation; what differs in them is found in
// the primary's.
func (c *comparison) misplaced(ctx context.Context, found map[string]pair) error {
	var missing, extra []string
	for k, one := range found {
		switch one.what() {
		case wasMissing:
			missing = append(missing, k)
		case wasExtra:
			extra = append(extra, k)
		}
	}
	elsewhere, err := c.primary.find(ctx, extra)
	if err != nil {
		return err
	}
	for k := range elsewhere {
		delete(found, k)
	}
	there, err := c.replica.find(ctx, missing)
	if err != nil {
		return err
	}
	for k, e := range there {
		one := found[k]
		if one.primary == nil {
			continue // another spelling of a key that was asked for
		}
		if one.replica = &e; one.equal() {
			delete(found, k)
		} else {
			found[k] = one
		}
	}
	return nil
}

// record counts what differs and keeps the first keys.
func (c *comparison) record(ctx context.Context, span Range, found map[string]pair) error {
	if len(found) == 0 {
		return nil
	}
	if err := c.countNewer(ctx, found); err != nil {
		return err
	}
	rows := 0
	for _, k := range slices.Sorted(maps.Keys(found)) {
		one := found[k]
		what, n := one.what(), 1
		if c.primary.key == nil {
			what, n = one.number()
		}
		switch what {
		case wasMissing:
			c.report.Missing += int64(n)
		case wasExtra:
			c.report.Extra += int64(n)
		default:
			c.report.Changed += int64(n)
		}
		rows += n
		if len(c.report.Keys) < c.v.opts.Keys {
			c.report.Keys = append(c.report.Keys, Key{Key: show(strings.Split(k, separator)), What: what})
		}
	}
	c.span(span, rows)
	return nil
}

// number says, of rows that are all the same, of how many one server has more.
func (p pair) number() (what string, n int) {
	var primary, replica int64
	if p.primary != nil {
		primary = p.primary.value
	}
	if p.replica != nil {
		replica = p.replica.value
	}
	if primary > replica {
		return wasMissing, int(primary - replica)
	}
	return wasExtra, int(replica - primary)
}

// span keeps a range in which rows differ. A table without a key has none.
func (c *comparison) span(span Range, rows int) {
	if span.Rows = rows; len(c.report.Differing) < c.v.opts.Keys {
		c.report.Differing = append(c.report.Differing, span)
	}
}

// Bounds of the rounds in which a row is looked at again: so many rounds at least, then so
// long, and never longer than much.
const (
	minRounds  = 40
	settleTime = 10 * time.Second
	settleMost = 5 * time.Minute
	// sampled is how many keys are read again and again while the subscription is waited for.
	sampled = 200
)

// sighting is what a row looked like in a round, and who was writing on the primary then.
type sighting struct {
	pair
	writers map[string]bool
}

// settle looks again at rows that seem to differ and returns those that do; see the
// package's documentation. Where nothing is applied meanwhile they are what they seem.
func (c *comparison) settle(ctx context.Context, found map[string]pair) (map[string]pair, error) {
	if !c.live || len(found) == 0 {
		return found, nil
	}
	real := make(map[string]pair)
	open := slices.Sorted(maps.Keys(found))
	before := make(map[string]sighting)
	began := time.Now()
	for round := 0; len(open) > 0; round++ {
		if took := time.Since(began); round >= minRounds && took > settleTime || took > settleMost {
			c.report.Unsettled += int64(len(open))
			break
		}
		now, err := c.look(ctx, open)
		if err != nil {
			return nil, err
		}
		var still []string
		changed := false
		for _, k := range open {
			one := now.pairs[k]
			old, known := before[k]
			switch {
			case one.equal() || now.seen.has(k, one.replica) || known && (pair{one.primary, old.replica}).equal():
				delete(before, k)
				continue
			case !known || !one.unchanged(old.pair):
				before[k], changed = sighting{one, now.writers}, true
			case one.primary != nil && one.primary.untouched() || !overlap(old.writers, now.running):
				real[k] = one
				continue
			}
			still = append(still, k)
		}
		if open = still; len(open) > 0 && !changed {
			if err := sleep(ctx, longestPause); err != nil {
				return nil, err
			}
		}
	}
	return real, nil
}

func overlap(a, b map[string]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

// glance is what one round sees.
type glance struct {
	pairs map[string]pair
	// seen has what else the primary had meanwhile.
	seen versions
	// running are transactions that the primary's rows were not seen from, writers those that
	// may have been committed when the replica was read.
	running, writers map[string]bool
}

// look reads some keys on the primary, waits until the replica has applied what the primary had
// then, and reads them there.
func (c *comparison) look(ctx context.Context, keys []string) (*glance, error) {
	g := &glance{pairs: make(map[string]pair, len(keys)), seen: make(versions)}
	a := c.v.applied
	var err error
	if a != nil {
		if g.running, err = a.running(ctx); err != nil {
			return nil, err
		}
	}
	p, err := c.primary.find(ctx, keys)
	if err != nil {
		return nil, err
	}
	var sample func() error
	if len(keys) <= sampled && c.primary.key != nil {
		sample = func() error {
			some, err := c.primary.find(ctx, keys)
			for _, k := range keys {
				e, ok := some[k]
				g.seen.add(k, e, ok)
			}
			return err
		}
	}
	if a != nil {
		if err := a.wait(ctx, sample); err != nil {
			return nil, err
		}
	}
	r, err := c.replica.find(ctx, keys)
	if err != nil {
		return nil, err
	}
	if a != nil {
		if g.writers, err = a.writers(ctx); err != nil {
			return nil, err
		}
	}
	for _, k := range keys {
		var one pair
		if e, ok := p[k]; ok {
			one.primary = &e
		}
		if e, ok := r[k]; ok {
			one.replica = &e
		}
		g.pairs[k] = one
	}
	return g, nil
}

// versions are values that the primary had under a key, false for none at all.
type versions map[string]map[int64]bool

// absent stands for no row; a row's hash may be the same once in 2^64.
const absent int64 = -0x7067736875_6e74

func (v versions) add(key string, e entry, there bool) {
	if v[key] == nil {
		v[key] = make(map[int64]bool)
	}
	if !there {
		e.value = absent
	}
	v[key][e.value] = true
}

func (v versions) has(key string, e *entry) bool {
	if e == nil {
		return v[key][absent]
	}
	return v[key][e.value]
}
