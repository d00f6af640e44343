package proxy

import (
	"context"
	"time"

	"pgshunt/router"
)

// Watcher knows how far the replicas have come. Package fleet has it. Its methods are called
// from any goroutine; those without a context must not wait.
type Watcher interface {
	// Look has a server looked at soon: something has happened to it.
	Look(target string)
	// Want has a database of the primary compared with the replicas'.
	Want(database string)
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
