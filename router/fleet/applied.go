package fleet

import (
	"fmt"

	"pgshunt/router"
)

// measured reports whether the replica's progress can be told.
func (s *server) measured() bool {
	return s.Replica && s.w.primary != nil && (s.Feed == router.FeedLogical || s.Feed == router.FeedNative)
}

// gauge is whose readings show the replica's progress.
func (s *server) gauge() (*progress, error) {
	switch {
	case !s.measured():
		return nil, &NotMeasured{s.Name, fmt.Sprintf("its feed is %q", s.Feed)}
	case s.progress != nil:
		return s.progress, nil
	}
	return s.w.primary.progress, nil
}

// applied is a position up to which everything can be read on the replica, 0 while that
// is not known.
//
// A standby's replay position moves after a commit has become visible. So do the positions
// that a subscriber reports, of what its apply worker has committed, and has flushed; where
// there was nothing to apply, they are what it has received. (The origin's progress, in
// pg_replication_origin_status, moves before the commit is visible.) A disabled
// subscription counts too: what it would have brought is missing.
func (s *server) applied(r *reading) (uint64, error) {
	f := s.hosts[0].finding()
	seat := s.w.seat.Load()
	if !f.done || seat == nil {
		return 0, nil
	}
	if s.Feed == router.FeedNative {
		if r.timeline != seat.wal.timeline { // the same number would mean something else
			return 0, &NotMeasured{s.Name, "it does not follow the present primary, or not yet"}
		}
		return r.replayed, nil
	}
	var least uint64
	found := false
	for _, sub := range f.subscriptions {
		if !s.concerns(sub) {
			continue
		}
		slot, ok := r.slots[sub.Slot]
		if !ok || sub.Slot == "" {
			return 0, &NotMeasured{s.Name, fmt.Sprintf("the primary has no slot for its subscription %q", sub.Name)}
		}
		if !found || slot.applied < least {
			least, found = slot.applied, true
		}
	}
	if !found {
		return 0, &NotMeasured{s.Name, "it has no subscription"}
	}
	return least, nil
}

// obstacle says what is seen to hold a replica up, or "".
func (s *server) obstacle(r *reading) string {
	f := s.hosts[0].finding()
	if f.err != nil {
		return "it " + trouble(f.err)
	}
	for _, sub := range f.subscriptions {
		if s.concerns(sub) && !sub.Enabled {
			return fmt.Sprintf("its subscription %q is disabled", sub.Name)
		}
		if slot, ok := r.slots[sub.Slot]; ok && s.concerns(sub) && !slot.active {
			return fmt.Sprintf("its subscription %q is not connected", sub.Name)
		}
	}
	return ""
}

// concerns reports whether a subscription brings what clients may read: it is in a
// database that is used through the watcher's owner. Others may come from other servers.
func (s *server) concerns(sub subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.databases {
		if name == sub.Database {
			return true
		}
	}
	return false
}
