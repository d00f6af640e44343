package proxy

import (
	"context"
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

// SetFleet replaces the snapshot that decisions are made from.
func (srv *Server) SetFleet(f *router.Fleet) { srv.fleet.Store(f) }

// PrimaryMoved tells that the primary is another server from now on: connections to the
// old one end with what they are used for, and positions of its log mean nothing any more.
func (srv *Server) PrimaryMoved() {
	srv.primaries.Add(1)
	srv.pools.Evict(primaryTarget)
}

// look has a server looked at.
func (srv *Server) look(target string) {
	if srv.cfg.Watcher != nil {
		srv.cfg.Watcher.Look(target)
	}
}

// want says that the session's database is in use.
func (s *session) want() {
	if w := s.srv.cfg.Watcher; w != nil && s.walsender == nil {
		w.Want(s.who.database)
	}
}

// maxDoubt bounds how long a refusal waits for another look at what the replicas have.
const maxDoubt = 5 * time.Second

// doubted reports whether d says that something is missing on the replicas, which may have
// been brought there since they were compared, and has them compared again.
func (s *session) doubted(d *router.Decision) bool {
	w := s.srv.cfg.Watcher
	if w == nil || d.Place != router.Refused || d.Err.Code != pgerr.NotInPrerequisiteState {
		return false
	}
	_ = s.await(func(ctx context.Context) error { // the end of the wait is the end of the doubt, whatever ended it
		ctx, cancel := context.WithTimeout(ctx, maxDoubt)
		defer cancel()
		w.Compare(ctx, s.who.database)
		return nil
	})
	return true
}
