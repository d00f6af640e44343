package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/router"
)

// catalogs compares the databases that are wanted, one at a time.
type catalogs struct {
	w      *Watcher
	urgent chan struct{} // of capacity 1
	// ready is replaced, never changed, so that snapshots may share it.
	ready atomic.Pointer[map[string]*router.Catalog]
	// first is closed when the databases wanted at the start have been looked at.
	first chan struct{}

	mu     sync.Mutex
	wanted map[string]*compared
}

// compared is what is remembered of one database's comparison, for the comparing goroutine alone.
type compared struct {
	// Guarded by catalogs.mu:
	due   bool          // it is known to have changed, or somebody wants to be sure
	tried time.Time     // when the last comparison began
	again time.Time     // before which nobody is sure anew
	ended chan struct{} // closed at the end of the next comparison; nil where nobody waits

	signatures map[*server]string
	at         time.Time // of the last comparison
	rest       time.Time // before which there is none, so that most of the time is left to others
	bodies     bodies
	told       string // what went wrong last, for the log
}

const (
	// catalogAge is how long a catalog is trusted whose servers say that nothing has changed:
	// what they say comes from statistics.
	catalogAge = 5 * time.Minute
	// catalogTimeout bounds a comparison.
	catalogTimeout = 2 * time.Minute
	// catalogRest is how many times its duration a comparison is followed by none of the
	// same database.
	catalogRest = 3
)

func newCatalogs(w *Watcher) *catalogs {
	c := &catalogs{w: w, urgent: make(chan struct{}, 1), first: make(chan struct{}), wanted: make(map[string]*compared)}
	c.ready.Store(&map[string]*router.Catalog{})
	return c
}

// want adds a database.
func (c *catalogs) want(database string) {
	c.mu.Lock()
	if c.wanted[database] == nil {
		c.wanted[database] = &compared{due: true}
	}
	c.mu.Unlock()
	c.wake()
}

// expire has all databases compared soon: at once if it is sure that something has changed.
func (c *catalogs) expire(sure bool) {
	c.mu.Lock()
	for _, d := range c.wanted {
		d.due = d.due || sure
	}
	c.mu.Unlock()
	c.wake()
}

func (c *catalogs) wake() {
	select {
	case c.urgent <- struct{}{}:
	default:
	}
}

// run compares until the watcher ends.
func (c *catalogs) run() {
	w := c.w
	for _, s := range w.servers {
		for _, h := range s.hosts {
			if !await(w.ctx, h.looked) {
				return
			}
		}
	}
	if !w.settled(w.ctx) {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for first := true; ; first = false {
		next := time.Now().Add(w.cfg.CatalogInterval)
		for _, database := range c.databases() {
			if rest := c.compare(database); rest.Before(next) {
				next = rest
			}
		}
		if first {
			close(c.first)
		}
		timer.Reset(max(time.Until(next), 0))
		select {
		case <-timer.C:
		case <-c.urgent:
		case <-w.ctx.Done():
			return
		}
	}
}

func (c *catalogs) databases() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.wanted))
}

// compare makes the catalog of a database anew if it may have changed. It returns when it
// wants to be called again, at the latest.
func (c *catalogs) compare(database string) (again time.Time) {
	c.mu.Lock()
	d := c.wanted[database]
	due := d.due
	if due && time.Now().Before(d.rest) {
		c.mu.Unlock()
		return d.rest
	}
	d.due = false
	c.mu.Unlock()

	start := time.Now()
	defer c.tell(d, start)
	ctx, cancel := context.WithTimeout(c.w.ctx, catalogTimeout)
	defer cancel()
	again = start.Add(c.w.cfg.CatalogInterval)
	sources, err := c.w.sources(ctx, database)
	defer func() {
		for _, s := range sources {
			s.close()
		}
	}()
	if err != nil {
		c.mu.Lock()
		d.due = d.due || due // nothing has been looked at
		c.mu.Unlock()
		c.fail(database, d, err)
		return again
	}
	if !due && time.Since(d.at) < catalogAge && d.covers(sources) {
		return again
	}
	made, err := c.make(ctx, sources, &d.bodies)
	d.rest = time.Now().Add(catalogRest * time.Since(start))
	if err != nil {
		d.at = time.Time{}
		c.fail(database, d, err)
		return again
	}
	d.told = ""
	d.at, d.signatures = start, make(map[*server]string)
	for _, s := range sources {
		d.signatures[s.server] = s.signature
	}
	c.publish(database, made)
	return again
}

// tell ends the waits for a comparison that began after they did.
func (c *catalogs) tell(d *compared, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.tried, d.again = began, time.Now().Add(catalogRest*time.Since(began))
	if d.ended != nil {
		close(d.ended)
		d.ended = nil
	}
}

// sure returns true after a comparison that began after the call; false when there is none
// before ctx ends.
func (c *catalogs) sure(ctx context.Context, database string) bool {
	asked := time.Now()
	for {
		c.mu.Lock()
		d := c.wanted[database]
		if d == nil || d.tried.After(asked) {
			c.mu.Unlock()
			return d != nil
		}
		if rest := time.Until(d.again); rest > 0 {
			c.mu.Unlock()
			if end, ok := ctx.Deadline(); ok && end.Before(time.Now().Add(rest)) || !pause(ctx, rest) {
				return false
			}
			continue
		}
		d.due = true
		if d.ended == nil {
			d.ended = make(chan struct{})
		}
		ended := d.ended
		c.mu.Unlock()
		c.wake()
		if !await(ctx, ended) {
			return false
		}
	}
}

// pause waits for d; it reports false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// covers reports whether all of sources have been compared, and say what they said then.
func (d *compared) covers(sources []*source) bool {
	for _, s := range sources {
		if was, ok := d.signatures[s.server]; !ok || was != s.signature {
			return false
		}
	}
	return true
}

// make reads all sources. One that fails is left out: what its server has is not known then.
func (c *catalogs) make(ctx context.Context, sources []*source, known *bodies) (*router.Catalog, error) {
	if err := sources[0].prepare(ctx, nil); err != nil {
		return nil, err
	}
	for _, s := range sources[1:] {
		s.leave(s.prepare(ctx, sources[0]))
	}
	defer known.turn()
	for {
		var replicas []router.Source
		for _, s := range sources[1:] {
			if !s.left {
				replicas = append(replicas, s.facts(ctx, sources[0], known))
			}
		}
		made, err := router.NewCatalog(sources[0].facts(ctx, sources[0], known), replicas...)
		if err == nil || sources[0].failed != nil || ctx.Err() != nil {
			return made, err
		}
		others := false
		for _, s := range sources[1:] {
			if s.failed != nil && !s.left {
				s.leave(s.failed)
				others = true
			}
		}
		if !others {
			return nil, err
		}
	}
}

// leave leaves a source out whose server could not be read because of err.
func (s *source) leave(err error) {
	if err == nil {
		return
	}
	s.server.w.cfg.Log.Warn("catalog of replica not read", "target", s.server.Name, "database", s.database, "error", err)
	s.left, s.signature = true, "" // it is asked again
}

// publish shows a catalog in the snapshots; nil takes it out.
func (c *catalogs) publish(database string, made *router.Catalog) {
	ready := *c.ready.Load()
	if made.Equal(ready[database]) {
		return
	}
	next := maps.Clone(ready)
	next[database] = made
	if made == nil {
		delete(next, database)
	}
	c.ready.Store(&next)
	c.w.change()
	relations, functions := made.Size()
	c.w.cfg.Log.Info("catalog compared", "database", database, "relations", relations, "functions", functions)
}

// fail logs why a database could not be compared, once. What is known of it stays known,
// but for a database that is not there.
func (c *catalogs) fail(database string, d *compared, err error) {
	if c.w.ctx.Err() != nil {
		return
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == codeNoDatabase {
		c.mu.Lock()
		delete(c.wanted, database)
		c.mu.Unlock()
		c.w.wanted.Delete(database)
		c.publish(database, nil)
		return
	}
	if text := err.Error(); text != d.told {
		d.told = text
		c.w.cfg.Log.Warn("catalog not compared", "database", database, "error", err)
	}
}
