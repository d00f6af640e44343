package proxy

import (
	"errors"
	"strings"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/router"
)

// reach turns to a replica for d, once it is fresh enough, and returns d as it has been
// carried out. A replica that cannot be logged in to, by anybody or as this session's user, is
// replaced by another one, once; where no replica will do, d comes back for the primary if that may answer instead.
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
			if at, err = s.reachOne(d, false, st); away(err) && !shutOut(err) {
				err = &attachError{pgerr.New(pgerr.CannotConnectNow, "no PostgresML server can be reached").
					WithDetail("Neither %q nor %q could be logged in to.", first, at.Target).
					WithHint("See the log of pgshunt, and run \"pgshunt check\".").In("reach").Because(err)}
			}
		}
	}
	if d.OrPrimary && (unavailable(err) || shutOut(err)) {
		s.untouched = false // the message must not be put back, which would try all of this again
		s.log.Debug("the primary answers instead of a replica", "target", at.Target, "error", err)
		at.Place, at.Target = router.Primary, ""
		return at, nil
	}
	if e := (*attachError)(nil); shutOut(err) && errors.As(err, &e) && e.shown.Hint == "" {
		shown := *e.shown // it reads as if the primary had said it
		err = &attachError{shown.WithHint("This was pgshunt's login to server %q as the session's user.", at.Target)}
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

// away tells whether a replica could not be logged in to, because it is not there or does
// not let the session in.
func away(err error) bool {
	e := (*attachError)(nil)
	return errors.As(err, &e) && e.shown.Routine == "login" && unavailable(err) || shutOut(err)
}

// unavailable tells whether a server is not there or not fresh enough, which says nothing
// about the statement.
func unavailable(err error) bool {
	e := (*attachError)(nil)
	return errors.As(err, &e) && (e.shown.Code == pgerr.CannotConnect || e.shown.Code == pgerr.CannotConnectNow)
}

// shutOut tells whether a server has refused the session's login: it has no such user or
// database, or does not let the one into the other.
func shutOut(err error) bool {
	e := (*attachError)(nil)
	if !errors.As(err, &e) || e.shown.Routine != "login" {
		return false
	}
	code := e.shown.Code
	return strings.HasPrefix(code, "28") || code == pgerr.UndefinedDatabase || code == pgerr.InsufficientPrivilege
}
