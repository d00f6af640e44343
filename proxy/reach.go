package proxy

import (
	"errors"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/router"
)

// reach turns to a replica for d, once it is fresh enough, and returns d as it has been
// carried out. A replica that cannot be logged in to is replaced by another one, once;
// where no replica will do, d comes back for the primary if that may answer instead.
// Nothing of the statement has run before that.
func (s *session) reach(d router.Decision, st *parser.Statement) (router.Decision, error) {
	at, err := s.reachAny(d, st)
	if err == nil && (at.Place != d.Place || d.Target != "" && at.Target != d.Target) {
		moved := at
		_, err = s.announce(&moved) // another server than was said
	}
	return at, err
}

func (s *session) reachAny(d router.Decision, st *parser.Statement) (router.Decision, error) {
	free := s.free || d.Target == ""
	if d.Target == "" {
		d.Target = s.pick(d)
	}
	s.mu.Lock()
	free = free && !s.phase.openReplica && s.keep.why() == "" && s.try.to == ""
	s.mu.Unlock()
	at, err := s.reachOne(d, free, st)
	if away(err) && free {
		d.Target = ""
		if d.Target = router.Pick(d, without(s.srv.latest(s.plan), at.Target), s.srv.pools.Load); d.Target != "" {
			first := at.Target
			if at, err = s.reachOne(d, false, st); away(err) {
				err = &attachError{pgerr.New(pgerr.CannotConnectNow, "no PostgresML server can be reached").
					WithDetail("Neither %q nor %q could be logged in to.", first, at.Target).
					WithHint("See the log of pgshunt, and run \"pgshunt check\".").In("reach").Because(err)}
			}
		}
	}
	if e := (*attachError)(nil); d.OrPrimary && errors.As(err, &e) && e.unavailable() {
		s.untouched = false // the message must not be put back, which would try all of this again
		s.log.Debug("the primary answers instead of a replica", "target", at.Target, "error", err)
		at.Place, at.Target = router.Primary, ""
		return at, nil
	}
	return at, err
}

// reachOne is reach for one replica, or the first of several that is fresh.
func (s *session) reachOne(d router.Decision, free bool, st *parser.Statement) (router.Decision, error) {
	var err error
	if d.Target != "" {
		d, err = s.fresh(d, free)
	}
	if err == nil {
		err = s.onReplica(d, st)
	}
	if err == nil {
		s.attempting(st, d)
	}
	return d, err
}

// away tells whether a replica could not be logged in to because it is not there.
func away(err error) bool {
	e := (*attachError)(nil)
	return errors.As(err, &e) && e.shown.Routine == "login" && e.unavailable()
}

// unavailable tells whether a server is not there or not fresh enough, which says nothing
// about the statement.
func (e *attachError) unavailable() bool {
	return e.shown.Code == pgerr.CannotConnect || e.shown.Code == pgerr.CannotConnectNow
}
