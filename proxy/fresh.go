package proxy

import (
	"context"
	"errors"
	"slices"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/router"
)

// A session that has written reads from a replica only what has come after that. No
// write is followed by a question: the session notes that it may have written
// (state.wrote), and the next read that needs to know asks for the primary's position,
// once. Then a replica is waited for until it has applied up to there, and from then on
// known to have. reached is that knowledge; only for the session's goroutine.
type reached struct {
	// position is past everything that the session had committed when it was asked for, 0
	// before. primary tells which primary's it is, see Server.PrimaryMoved.
	position, primary uint64
	// by holds the replicas that have come so far.
	by []string
}

// leastWait is the time that a replica which is up to date gets to say so, where the
// policy gives none.
const leastWait = 100 * time.Millisecond

// fresh waits until a replica has what d asks for, and returns d with that replica: the
// one chosen or, where free is set, the first of those that may answer.
func (s *session) fresh(d router.Decision, free bool) (router.Decision, error) {
	if !d.ReadsTables || d.Freshness.Any() {
		return d, nil
	}
	session := d.Freshness.Session
	if session {
		d, session = s.behind(d, free)
	}
	if !session && d.Freshness.Within == 0 {
		return d, nil
	}
	names := []string{d.Target}
	if free {
		names = s.candidates(d)
	}
	wait, tooLong := max(d.Wait, leastWait), errTooOld
	limit := s.statementTimeout(d)
	if limit > 0 && limit <= wait {
		wait, tooLong = limit, errStatementTimeout
	}
	begun, chosen := time.Now(), ""
	err := s.await(func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, wait, tooLong)
		defer cancel()
		if session {
			err = s.askPosition(ctx)
		}
		if err == nil {
			position := uint64(0)
			if session {
				position = s.reached.position
			}
			chosen, err = firstOf(ctx, names, func(ctx context.Context, target string) error {
				return s.srv.waitFresh(ctx, target, position, d.Freshness.Within)
			})
		}
		if cause := context.Cause(ctx); err != nil && cause != nil && cause != errTooOld {
			return cause
		}
		return err
	})
	if err != nil {
		return d, s.notFresh(d, err)
	}
	d.Target = chosen
	if session {
		s.reached.by = append(s.reached.by, chosen)
	}
	if limit > 0 {
		d.Timeout = max(limit-time.Since(begun), time.Millisecond)
	}
	return d, nil
}

// behind tells whether a replica must be waited for because of what the session has
// written. Where free is set, one that is known to have it is taken instead.
func (s *session) behind(d router.Decision, free bool) (router.Decision, bool) {
	r := &s.reached
	s.mu.Lock()
	wrote := s.state.wrote
	s.mu.Unlock()
	switch {
	case wrote || r.position > 0 && r.primary != s.srv.primaries.Load():
		return d, true
	case r.position == 0 || slices.Contains(r.by, d.Target):
		return d, false
	case free:
		for _, name := range s.candidates(d) {
			if slices.Contains(r.by, name) {
				d.Target = name
				return d, false
			}
		}
	}
	return d, true
}

// candidates are the replicas that may answer, the chosen one first.
func (s *session) candidates(d router.Decision) []string {
	names := []string{d.Target}
	d.Target = ""
	for f := s.srv.latest(s.plan); ; {
		next := router.Pick(d, without(f, names...), s.srv.pools.Load)
		if next == "" {
			return names
		}
		names = append(names, next)
	}
}

// askPosition asks for the primary's position where the session may have written since it
// was asked for last.
func (s *session) askPosition(ctx context.Context) error {
	now := s.srv.primaries.Load()
	s.mu.Lock()
	known := !s.state.wrote && s.reached.position > 0 && s.reached.primary == now
	s.mu.Unlock()
	if known {
		return nil
	}
	position := uint64(0)
	err := s.srv.ask(ctx, func(w Watcher) (err error) {
		position, err = w.Position(ctx)
		return err
	})
	if err != nil {
		return err
	}
	s.reached = reached{position: position, primary: now}
	s.mu.Lock()
	s.state.wrote = false // nothing is on its way: the session is quiet
	s.mu.Unlock()
	return nil
}

// waitFresh waits until one replica has come to a position, and is behind by at most
// within; 0 is that neither matters. It may go on for a while after firstOf has returned.
func (srv *Server) waitFresh(ctx context.Context, target string, position uint64, within time.Duration) error {
	return srv.ask(ctx, func(w Watcher) error {
		if position > 0 {
			if err := w.WaitApplied(ctx, target, position); err != nil {
				return err
			}
		}
		if within > 0 {
			return w.WaitLag(ctx, target, within)
		}
		return nil
	})
}

// ask puts a question to the watcher, and to the next one where that takes its place meanwhile.
func (srv *Server) ask(ctx context.Context, question func(Watcher) error) error {
	for p := srv.plan.Load(); ; {
		if p.Watcher == nil {
			return errNoWatcher
		}
		err := question(p.Watcher)
		now := srv.plan.Load()
		if err == nil || ctx.Err() != nil || now.Routing == p.Routing {
			return err
		}
		p = now
	}
}

// firstOf returns the first of the names for which ready succeeds; or, where none does, the
// first name and its error.
func firstOf(ctx context.Context, names []string, ready func(context.Context, string) error) (string, error) {
	if len(names) == 1 {
		return names[0], ready(ctx, names[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		i   int
		err error
	}
	results := make(chan result, len(names))
	for i, name := range names {
		go func() { results <- result{i, ready(ctx, name)} }()
	}
	var first error
	for range names {
		switch got := <-results; {
		case got.err == nil:
			return names[got.i], nil
		case got.i == 0:
			first = got.err
		}
	}
	return names[0], first
}

var (
	errTooOld    = errors.New("the wait was in vain")
	errNoWatcher = errors.New("nobody knows how far it is")
	// errStatementTimeout has PostgreSQL's words.
	errStatementTimeout = pgerr.New(pgerr.QueryCanceled, "canceling statement due to statement timeout").In("fresh")
)

// notFresh is the error for a wait that has ended because of err.
func (s *session) notFresh(d router.Decision, err error) error {
	if end := s.ended(); end != nil {
		return end
	}
	if e := (*pgerr.Error)(nil); errors.As(err, &e) { // a cancel request, a timeout, a shutdown
		return noBackend(e)
	}
	s.log.Debug("replica is not fresh", "target", d.Target, "error", err)
	lag := "unknown"
	f := s.srv.latest(s.plan)
	for i := range f.Targets {
		if t := &f.Targets[i]; t.Name == d.Target && t.LagKnown {
			lag = t.Lag.Round(time.Millisecond).String()
		}
	}
	needs := "what this session has written"
	if !d.Freshness.Session {
		needs = "everything older than " + d.Freshness.Within.String()
	}
	return &attachError{pgerr.New(pgerr.CannotConnectNow, "the data on PostgresML server %q is too old for this statement", d.Target).
		WithDetail("It must have applied %s, and was waited for %s: %v. Its lag at the last look was %s.", needs, max(d.Wait, leastWait), err, lag).
		WithHint("Try again, raise the wait of the routing configuration, or let the statement read older data there (freshness: any).").In("fresh")}
}
