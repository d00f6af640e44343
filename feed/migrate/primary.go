package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// unsureError is a commit of which nobody knows whether it happened. The journal has the
// transaction's number, by which the next run finds out.
type unsureError struct{ err error }

func (e *unsureError) Error() string { return e.err.Error() }
func (e *unsureError) Unwrap() error { return e.err }

// changePrimary carries out the statement, under locks that are waited for with a limit so
// that no queue forms behind us.
func (m *migration) changePrimary(ctx context.Context, st *Statement) error {
	e := feed.Event{Status: feed.StatusStart, Server: m.runs[0].Primary.Name, Step: "change the primary", SQL: st.SQL}
	m.runs[0].Tell(e)
	began := time.Now()
	work := func() error { return m.transaction(ctx, st) }
	if st.Alone {
		work = func() error {
			if _, err := m.script.Exec(ctx, "SET lock_timeout = '"+lockPatience.String()+"'"); err != nil {
				return err
			}
			_, err := m.script.PgConn().Exec(ctx, st.SQL).ReadAll()
			return err
		}
	}
	err := patiently(ctx, work)
	if err != nil {
		wrapped := &feed.Error{Server: m.runs[0].Primary.Name, Doing: "change the primary", Err: err}
		if busy(err) {
			wrapped.Next = oldest(ctx, m.primary)
		}
		return wrapped
	}
	e.Status, e.Took = feed.StatusDone, time.Since(began)
	m.runs[0].Tell(e)
	return nil
}

// transaction is one try. Before it commits, every journal has its number.
func (m *migration) transaction(ctx context.Context, st *Statement) (err error) {
	tx, err := m.script.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if unsure := (*unsureError)(nil); err != nil && !errors.As(err, &unsure) {
			_ = tx.Rollback(context.WithoutCancel(ctx)) // the first error is the one that explains
			for _, r := range m.replicas {
				err = errors.Join(err, r.undoBetween(ctx))
			}
		}
	}()
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockPatience.String()+"'"); err != nil {
		return err
	}
	if err := m.stop(ctx, tx); err != nil {
		return err
	}
	if _, err := m.script.PgConn().Exec(ctx, st.SQL).ReadAll(); err != nil {
		return err
	}
	var xid *string
	if err := tx.QueryRow(ctx, "SELECT txid_current_if_assigned()::text").Scan(&xid); err != nil {
		return err
	}
	for _, r := range m.replicas {
		// step stays what has been done before, for undo.
		if _, err := r.conn.Exec(ctx, "UPDATE pgshunt.changes SET phase = $2, xid = $3 WHERE id = $1", r.entry.id, phasePrimary, xid); err != nil {
			return r.wrong("write the journal", err)
		}
	}
	m.runs[0].Tell(feed.Event{Status: feed.StatusProgress, Server: m.runs[0].Primary.Name, Step: "change the primary"})
	if err := tx.Commit(ctx); err != nil {
		if m.script.IsClosed() || ctx.Err() != nil {
			return &unsureError{err}
		}
		return err
	}
	return nil
}

// errSlow has the lock given up: writers wait behind it.
var errSlow = errors.New("a replica was not up to date within " + stopPatience.String() + " while its tables were locked on the primary; run \"pgshunt feed migrate\" again when it lags less")

// stop locks the tables that a replica needs to be at rest, waits until it has everything
// that was written to them, and makes its change there.
func (m *migration) stop(ctx context.Context, tx pgx.Tx) error {
	for _, r := range m.replicas {
		for _, table := range r.order.Lock {
			if _, err := tx.Exec(ctx, "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE"); err != nil {
				return err
			}
		}
	}
	if err := m.upToDate(ctx); err != nil {
		return err
	}
	for _, r := range m.replicas {
		if err := r.atRest(ctx, phaseBefore); err != nil {
			return err
		}
	}
	return nil
}
