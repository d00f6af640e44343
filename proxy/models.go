package proxy

import (
	"sync"

	"pgshunt/parser"
	"pgshunt/pool"
)

// PostgresML declares its inference functions IMMUTABLE, so a server that plans
// pgml.predict('p', ARRAY[1, 2]) calls it then and there and keeps the answer in the
// plan, and of a prepared statement it keeps the plan. After another model has been
// deployed such statements are prepared anew, where they are used next.

// modelChanges holds the moment of the last training or deployment on each target.
// Safe for concurrent use.
type modelChanges struct{ last sync.Map }

func (c *modelChanges) on(target string) uint64 {
	at, _ := c.last.Load(target)
	moment, _ := at.(uint64)
	return moment
}

// deployed notes at a ReadyForQuery that what may have changed models is over, and so
// committed or not. The caller holds mu.
func (s *session) deployed(b *pool.Backend) {
	if !s.deploys || b == s.primary {
		return
	}
	s.srv.modelsChanged(b.Key.Target)
	s.deploys = s.inflight.len() > 0 // more of it may be on its way
}

// modelsChanged notes that a target may have other models from now on.
func (srv *Server) modelsChanged(target string) {
	srv.models.last.Store(target, srv.catalog.Tick())
	srv.Look(target)
}

// usableSince is the moment since which a copy of st on the current backend is of use.
func (s *session) usableSince(st statement) uint64 {
	if st.prepared == nil {
		return 0
	}
	since := max(st.since, st.prepared.Renewed())
	if st.facts == nil || !s.onReplicaNow() || !folds(st.facts) {
		return since
	}
	s.mu.Lock()
	deploys := s.deploys
	s.mu.Unlock()
	if deploys {
		return s.srv.catalog.Tick() // it runs before what is sent from now on
	}
	return max(since, s.srv.models.on(s.to.Key.Target))
}

// folds tells whether a plan of st may hold the answer of a call that a model gave.
func folds(st *parser.Statement) bool {
	for i := range st.Parts {
		for j := range st.Parts[i].Calls {
			if c := &st.Parts[i].Calls[j]; c.Constant && !c.Builtin {
				return true
			}
		}
	}
	return false
}
