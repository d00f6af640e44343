package proxy

import (
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// place decides where the message about st goes and turns to that server. bind is
// the Bind message where it is one, for prepared. done means that the message has been
// dealt with.
func (s *session) place(st *parser.Statement, prepared *pool.Prepared, bind *wire.Message) (done bool, err error) {
	d, err := s.decide(st)
	if err != nil {
		return true, err
	}
	s.resolve(st, &d, prepared, bind)
	s.unseen, s.toTrain = d.MayWrite, trainingBy(d)
	if s.phaseSkipping() {
		return true, nil
	}
	runs := bind != nil || d.Place == router.Refused // Parse and Describe only prepare for it
	why := d
	switch {
	case !runs:
		s.parsed.set(st, s.names.batch, d, &s.decision)
	case d.Rule == router.RuleTransaction && s.parsed.of(st, s.names.batch):
		why = s.parsed.decision
		if why.Timeout > 0 {
			s.own(&d).Timeout = why.Timeout
		}
	}
	if runs {
		if skipped, err := s.announce(why); skipped || err != nil {
			return true, err
		}
		s.routed(st, why)
	}
	s.bounded = d.Timeout
	return s.turnFor(d, st)
}

// parsed is the decision of the last Parse. From there on the batch counts as a
// transaction, which must not pass for the reason why the statement is where it is.
type parsed struct {
	st       *parser.Statement
	batch    uint64
	decision *router.Decision
	own      router.Decision // what decision points to where it is not the Server's
}

// set notes d; passing is where decisions are that do not stay.
func (p *parsed) set(st *parser.Statement, batch uint64, d, passing *router.Decision) {
	p.st, p.batch, p.decision = st, batch, d
	if d == passing {
		p.own = *d
		p.decision = &p.own
	}
}

func (p *parsed) of(st *parser.Statement, batch uint64) bool {
	return p.st == st && p.batch == batch && p.decision.Rule != router.RuleTransaction
}

// resolve completes a decision that depends on parameters of the Bind message. Without
// one it is about any values: the project that has no name.
func (s *session) resolve(st *parser.Statement, d **router.Decision, prepared *pool.Prepared, bind *wire.Message) {
	if (*d).Place != router.Replica || (*d).ProjectParam+(*d).SourceParam == 0 || s.try.to != "" {
		return
	}
	own := s.own(d)
	if bind != nil {
		values := parametersOf(prepared, bind)
		*own = s.plan.Policy.DecideBound(st, &s.view, s.plan.fleet, values)
		if s.doubted(own) {
			*own = s.plan.Policy.DecideBound(st, &s.view, s.plan.fleet, values)
		}
	}
	switch {
	case own.Place != router.Replica || own.Target != "":
	case own.ProjectParam > 0:
		own.Target = router.HomeOf("", s.plan.fleet)
	default:
		s.free = true
		own.Target = s.pick(*own)
	}
}

// turnFor turns to the server that a decision names.
func (s *session) turnFor(d *router.Decision, st *parser.Statement) (done bool, err error) {
	onReplica := false
	switch d.Place {
	case router.Refused:
		return true, s.fail(d.Err, false)
	case router.Replica:
		if onReplica, err = s.turnToReplica(*d, st); err != nil {
			return true, s.failAttach(err, false)
		}
	}
	if !onReplica {
		s.ranOnPrimary(d.Class)
		if err = s.onPrimary(); err == nil {
			err = s.curb(d.Timeout)
		}
		if err == nil {
			err = s.foresee(st)
		}
	}
	if err != nil {
		return true, s.failAttach(err, false)
	}
	if err = s.deserted(d); err != nil {
		return true, err
	}
	return s.refused, nil
}

// turnToReplica is turnFor where the decision is for a replica; the primary may turn out to
// have to take its place.
func (s *session) turnToReplica(d router.Decision, st *parser.Statement) (onReplica bool, err error) {
	if err := s.beforeReplica(d); err != nil {
		return false, err
	}
	if d.OrPrimary && s.standsIn.of(st, s.names.batch) { // it has been waited for already
		d.Place, d.Target = router.Primary, ""
		_, err = s.announce(&d)
		return false, err
	}
	if d, err = s.reach(d, st); err != nil {
		return false, err
	}
	if d.Place != router.Replica {
		s.standsIn.set(st, s.names.batch, &d, &d)
		return false, nil
	}
	s.sentToReplica(st, d)
	return true, nil
}

// beforeReplica settles what is on its way elsewhere before the session turns to
// a replica, and says so when training leaves the client's transaction.
func (s *session) beforeReplica(d router.Decision) error {
	if s.onReplicaNow() {
		return nil
	}
	if err := s.settle(); err != nil {
		return err
	}
	if d.Detached {
		return s.answer(detachedNotice())
	}
	return nil
}

// stay keeps the session where it is, or on the primary.
func (s *session) stay() (done bool, err error) {
	if s.phaseSkipping() {
		return true, nil
	}
	if s.onReplicaNow() {
		s.hold()
		return false, nil
	}
	if err := s.onPrimary(); err != nil {
		return true, s.failAttach(err, false)
	}
	return false, s.curb(0)
}

// followPortal turns to the server that has a portal, for a message of kind E, D or C.
func (s *session) followPortal(p *portal, kind byte) (done bool, err error) {
	if p.facts == nil || p.onReplica && s.onReplicaNow() {
		return s.stay()
	}
	if s.phaseSkipping() {
		return true, nil
	}
	if p.onReplica {
		if there, done, err := s.backToBlock(p, kind); there || done || err != nil {
			return done, err
		}
	}
	if err := s.onPrimary(); err != nil {
		return true, s.failAttach(err, false)
	}
	return s.refused, nil
}

// passToPrimary sends a message that could not be understood; its rejection is
// the server's.
func (s *session) passToPrimary(m *wire.Message, kind byte) error {
	if done, err := s.stay(); done || err != nil {
		return err
	}
	s.passing = true
	return s.expectAndPass(&reply{kind: kind}, m)
}
