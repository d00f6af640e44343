package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgshunt/router"
)

// NotMeasured is the error of a wait for a replica whose progress cannot be told.
type NotMeasured struct{ Target, Reason string }

func (e *NotMeasured) Error() string {
	return fmt.Sprintf("how far replica %q is behind cannot be told: %s", e.Target, e.Reason)
}

// Behind is the error of a wait that ended before the replica was there.
type Behind struct {
	Target string
	// Missing is how many bytes of the primary's log the replica had still to apply for
	// WaitApplied; 0 if that is not known.
	Missing uint64
	// Lag is the most that the replica was behind, if LagKnown.
	Lag      time.Duration
	LagKnown bool
	// Reason is a phrase that says what holds it up, "" where nothing is seen to.
	Reason string
	// Err is why the wait ended: the context's cause, mostly.
	Err error
}

func (e *Behind) Error() string {
	text := fmt.Sprintf("replica %q is behind the primary", e.Target)
	switch {
	case e.Missing > 0:
		text += fmt.Sprintf(" by %d bytes of its log", e.Missing)
	case e.LagKnown:
		text += fmt.Sprintf(" by up to %v", e.Lag)
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

func (e *Behind) Unwrap() error { return e.Err }

// Unreachable is the error of a question that the primary did not answer.
type Unreachable struct {
	Target string
	Reason string // a phrase, as Target.Trouble
	Err    error
}

func (e *Unreachable) Error() string { return fmt.Sprintf("server %q %s", e.Target, e.Reason) }
func (e *Unreachable) Unwrap() error { return e.Err }

var errNoPrimary = errors.New("no primary has been found")

// Position returns where the primary's log ends: after everything that was committed
// before the call. Callers at the same time share one question, which is sent after all
// of them have called.
func (w *Watcher) Position(ctx context.Context) (uint64, error) {
	r, err := w.readPrimary(ctx)
	if err != nil {
		return 0, err
	}
	return r.insert, nil
}

func (w *Watcher) readPrimary(ctx context.Context) (*reading, error) {
	if w.primary == nil {
		return nil, errNoPrimary
	}
	r, err := w.primary.progress.read(ctx)
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	reason := trouble(err)
	if errors.Is(err, errNoPrimary) {
		reason = "has not been found"
	}
	return nil, &Unreachable{Target: w.primary.Name, Reason: reason, Err: err}
}

// unflushed is how long a position may lie beyond what the primary has written to disk
// before it is pushed. An asynchronous commit takes less.
const unflushed = 700 * time.Millisecond

// WaitApplied returns nil once everything up to position, a result of Position, can be
// read on the replica. An fdw feed has everything at once, unless some of its tables are copies;
// router.Decide asks for no wait where none of those is read. The error is a NotMeasured
// at once, a Behind when ctx ends, or that of a watcher that was closed. ctx is to have a
// deadline.
func (w *Watcher) WaitApplied(ctx context.Context, target string, position uint64) error {
	return w.wait(ctx, target, func(s *server, r *reading, b *Behind) (bool, error) {
		applied, err := s.applied(r)
		b.Missing = position - min(applied, position)
		return applied >= position, err
	}, func(r *reading) bool { return r.flushed < position })
}

// WaitLag returns nil once the replica is seen to be at most within behind the primary:
// it has all that was committed before that. Errors are as for WaitApplied; for copies
// there is nothing to wait for, and a Behind at once.
func (w *Watcher) WaitLag(ctx context.Context, target string, within time.Duration) error {
	if s := w.byName[target]; s != nil && s.Replica && (s.Feed == router.FeedDump || s.copies()) {
		return s.young(within)
	}
	return w.wait(ctx, target, func(s *server, r *reading, b *Behind) (bool, error) {
		applied, err := s.applied(r)
		since, ok := w.history.since(applied)
		b.Lag, b.LagKnown = r.end.Sub(since), ok
		return ok && b.Lag <= within, err
	}, nil)
}

// young is WaitLag for a dump feed: what counts is the age of the copy.
func (s *server) young(within time.Duration) error {
	f := s.hosts[0].finding()
	if f.copied.IsZero() {
		return &NotMeasured{s.Name, "nobody has recorded when it was copied"}
	}
	age := time.Since(f.copied)
	if age <= within {
		return nil
	}
	return &Behind{Target: s.Name, Lag: age, LagKnown: true, Reason: "its copy is that old"}
}

// copies reports whether some tables of a feed of foreign tables are copies.
func (s *server) copies() bool {
	return s.Replica && s.Feed == router.FeedFDW && !s.hosts[0].finding().copied.IsZero()
}

// wait has progress ask until done. unsent reports of a reading of the primary that what
// is waited for has not left it yet.
func (w *Watcher) wait(ctx context.Context, target string, done func(*server, *reading, *Behind) (bool, error), unsent func(*reading) bool) error {
	s := w.byName[target]
	if s == nil {
		return &NotMeasured{target, "no such replica is configured"}
	}
	switch {
	case s.copies():
		return &NotMeasured{target, "what is read there is a copy"}
	case !s.Replica || s.Feed == router.FeedFDW:
		return nil
	}
	p, err := s.gauge()
	if err != nil {
		return err
	}
	results := make(chan Behind, 1) // of the last reading
	attempt := func(ctx context.Context) error {
		return p.wait(ctx, &waiter{done: func(r *reading) (bool, error) {
			b := Behind{Target: target, Reason: s.obstacle(r)}
			ok, err := done(s, r, &b)
			select {
			case <-results:
			default:
			}
			results <- b
			return ok || err != nil, err
		}})
	}
	if unsent != nil {
		soon, cancel := context.WithTimeout(ctx, unflushed)
		err = attempt(soon)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return w.late(s, results, err)
		}
		if r, err := w.readPrimary(ctx); err == nil && unsent(r) {
			w.primary.progress.push.Store(true)
		}
	}
	return w.late(s, results, attempt(ctx))
}

// late words the end of a wait.
func (w *Watcher) late(s *server, results chan Behind, err error) error {
	if err == nil || errors.As(err, new(*NotMeasured)) {
		return err
	}
	b := Behind{Target: s.Name}
	select {
	case b = <-results:
	default:
	}
	b.Err = err
	return &b
}
