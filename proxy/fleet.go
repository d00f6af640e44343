package proxy

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/router"
)

// Watcher knows how far the replicas have come. Package fleet has it. Its methods are called
// from any goroutine; those without a context must not wait.
type Watcher interface {
	// Look has a server looked at soon: something has happened to it.
	Look(target string)
	// Want has a database of the primary compared with the replicas'.
	Want(database string)
	// Compare does so now, and returns when SetFleet has been given the result, or when ctx ends.
	Compare(ctx context.Context, database string)
	// Position asks the primary for its position, past everything committed before the call.
	Position(ctx context.Context) (uint64, error)
	// WaitApplied returns when a replica has applied everything up to a position.
	WaitApplied(ctx context.Context, target string, position uint64) error
	// WaitLag returns when a replica is behind by at most bound.
	WaitLag(ctx context.Context, target string, bound time.Duration) error
}

// Routing is what decisions are made by, from one reload of the configuration to the next.
// It is read-only once given.
type Routing struct {
	Policy *router.Policy
	// Zone is where the proxy stands, as in router.Chooser.
	Zone string
	// Watcher knows how far the replicas have come; nil where nobody does.
	Watcher Watcher
	// FinishTraining has a training go on whose client has gone; else it is ended.
	FinishTraining bool
	// Orderer has schema changes reach the replicas too; nil where the primary alone has them.
	Orderer Orderer
}

// plan is a Routing with a snapshot of its servers. They are replaced together, since rules
// and decisions name servers, and decisions hold their indexes. Immutable: a decision is
// made by one plan, and what is remembered of it is valid for that one.
type plan struct {
	*Routing
	fleet *router.Fleet
}

// latest is the newest snapshot that has the servers of p in the same order.
func (srv *Server) latest(p *plan) *router.Fleet {
	if now := srv.plan.Load(); now.Routing == p.Routing {
		return now.fleet
	}
	return p.fleet
}

// SetFleet replaces the snapshot that decisions are made from, of the same servers in the
// same order.
func (srv *Server) SetFleet(f *router.Fleet) {
	srv.planning.Lock()
	defer srv.planning.Unlock()
	srv.plan.Store(&plan{srv.plan.Load().Routing, f})
}

// Reroute has all decisions from now on made by r for the servers of f, in one step. Pools
// must have targets for all of them. Statements under way go on; sessions that are kept on a
// server stay there until nothing keeps them.
func (srv *Server) Reroute(r Routing, f *router.Fleet) {
	srv.planning.Lock()
	srv.plan.Store(&plan{&r, f})
	srv.planning.Unlock()
	srv.primaries.Add(1) // a replica of the same name may be another server
	for _, database := range srv.Databases() {
		if r.Watcher != nil {
			r.Watcher.Want(database)
		}
	}
}

// Databases are the names of the databases that sessions use at present, in order.
func (srv *Server) Databases() []string { return srv.databases.names() }

// databases counts sessions by their databases. The zero value is empty. Safe for concurrent use.
type databases struct {
	mu     sync.Mutex
	counts map[string]int
}

func (d *databases) add(name string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = make(map[string]int)
	}
	if d.counts[name] += n; d.counts[name] == 0 {
		delete(d.counts, name)
	}
}

func (d *databases) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.counts))
}

// PrimaryMoved tells that the primary is another server from now on: connections to the
// old one end with what they are used for, and positions of its log mean nothing any more.
func (srv *Server) PrimaryMoved() {
	srv.primaries.Add(1)
	srv.pools.Evict(primaryTarget)
}

// Look has a server looked at soon: something has happened to it. It does not wait.
func (srv *Server) Look(target string) {
	if w := srv.plan.Load().Watcher; w != nil {
		w.Look(target)
	}
}

// want says that the session's database is in use: first to Reroute, then to the watcher,
// so that none that comes meanwhile misses it.
func (s *session) want() {
	if s.walsender != nil {
		return
	}
	s.srv.databases.add(s.who.database, 1)
	if w := s.srv.plan.Load().Watcher; w != nil {
		w.Want(s.who.database)
	}
}

// maxDoubt bounds how long a refusal waits for another look at what the replicas have.
const maxDoubt = 5 * time.Second

// doubted reports whether d says that something is missing on the replicas, which may have
// been brought there since they were compared. If so it has had them compared again, and the
// decision is to be made anew.
func (s *session) doubted(d *router.Decision) bool {
	w := s.plan.Watcher
	if w == nil || d.Place != router.Refused || d.Err.Code != pgerr.NotInPrerequisiteState {
		return false
	}
	_ = s.await(func(ctx context.Context) error { // the end of the wait is the end of the doubt, whatever ended it
		ctx, cancel := context.WithTimeout(ctx, maxDoubt)
		defer cancel()
		w.Compare(ctx, s.who.database)
		return nil
	})
	s.plan = s.srv.plan.Load()
	s.look()
	return true
}
