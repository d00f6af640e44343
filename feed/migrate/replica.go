package migrate

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
)

// replica is one server while a change is made. conn is locked for us.
type replica struct {
	run   *feed.Run
	conn  *pgx.Conn
	order *Order
	entry *entry
	// primary is a feed's connection to the primary, which all replicas share.
	primary *pgx.Conn
}

// How long locks are waited for. A lock that does not come lets those behind it pass, and is
// asked for again.
const (
	lockPatience = 2 * time.Second
	lockPause    = 300 * time.Millisecond
	lockTries    = 30
	// restTries is that where a table of the primary is locked meanwhile, behind which clients wait.
	restTries = 2
)

// busy tells whether a statement has failed only because others were in its way.
func busy(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01")
}

// forbidden tells whether a role may not do something.
func forbidden(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "42501"
}

// patiently repeats what fails because others are in the way.
func patiently(ctx context.Context, work func() error) error { return tryUpTo(ctx, lockTries, work) }

func tryUpTo(ctx context.Context, tries int, work func() error) error {
	for try := 1; ; try++ {
		err := work()
		if err == nil || !busy(err) || try == tries {
			return err
		}
		if err := pause(ctx, lockPause); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// oldest names the transaction that is most likely in the way, for an error.
func oldest(ctx context.Context, conn *pgx.Conn) string {
	who, err := find1(ctx, conn, `SELECT format('process %s of %s (%s) has a transaction open since %s; end it and run "pgshunt feed migrate" again', pid, usename, application_name, xact_start::timestamp(0))
		FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1`)
	if err != nil || who == "" {
		return "run \"pgshunt feed migrate\" again, which goes on from here"
	}
	return who
}

// transact runs SQL on the replica and moves the journal to phase and step, in one transaction.
func (r *replica) transact(ctx context.Context, what, sql, phase string, step int) error {
	return r.transactWithin(ctx, lockTries, what, sql, phase, step)
}

func (r *replica) transactWithin(ctx context.Context, tries int, what, sql, phase string, step int) error {
	r.run.Tell(feed.Event{Status: feed.StatusStart, Server: r.run.Target.Name, Step: what, SQL: sql})
	began := time.Now()
	err := tryUpTo(ctx, tries, func() error {
		return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockPatience.String()+"'"); err != nil {
				return err
			}
			if sql != "" {
				if _, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll(); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, "UPDATE pgshunt.changes SET phase = $2, step = $3 WHERE id = $1", r.entry.id, phase, step)
			return err
		})
	})
	if err != nil {
		next := "run \"pgshunt feed migrate\" when that is settled, which goes on from here"
		if pg := (*pgconn.PgError)(nil); busy(err) {
			next = oldest(ctx, r.conn)
		} else if errors.As(err, &pg) && pg.Code == "2BP01" {
			next = "drop on " + r.run.Target.Name + " what depends on it, then run \"pgshunt feed migrate\", which goes on from here"
		}
		return &feed.Error{Server: r.run.Target.Name, Doing: what, Err: err, Next: next}
	}
	r.entry.phase, r.entry.step = phase, step
	r.run.Tell(feed.Event{Status: feed.StatusDone, Server: r.run.Target.Name, Step: what, SQL: sql, Took: time.Since(began)})
	return nil
}

// before carries out the steps of Before that are left.
func (r *replica) before(ctx context.Context) error {
	for i := r.entry.step; i < len(r.order.Before); i++ {
		if err := r.step(ctx, &r.order.Before[i], phaseBefore, i+1); err != nil {
			return err
		}
	}
	return nil
}

// between carries out the steps of Between, all in one transaction. They count as steps
// after those of Before.
func (r *replica) between(ctx context.Context, tries int, phase string) error {
	if len(r.order.Between) == 0 {
		return nil
	}
	what, sql := r.order.betweenSQL()
	return r.transactWithin(ctx, tries, what, sql, phase, len(r.order.Before)+len(r.order.Between))
}

// errInUse has the lock given up. It hides that somebody was in the way, which would have all repeated.
var errInUse = errors.New("a table is in use there, which cannot be waited for while that of the primary is locked")

// atRest does that while tables of the primary are locked.
func (r *replica) atRest(ctx context.Context, phase string) error {
	err := r.between(ctx, restTries, phase)
	if one := (*feed.Error)(nil); busy(err) && errors.As(err, &one) {
		one.Err = errInUse
	}
	return err
}

// after waits until the replica has applied what came before, if it must, and carries out
// the steps of After that are left.
func (r *replica) after(ctx context.Context) error {
	wait := r.entry.step
	if len(r.order.Between) > 0 {
		wait = max(wait, 1) // a subscription that is paused goes on first
	}
	for i := r.entry.step; i < len(r.order.After); i++ {
		if r.order.Applied && i == wait {
			if err := r.applied(ctx, 0); err != nil {
				return err
			}
		}
		if err := r.step(ctx, &r.order.After[i], phaseAfter, i+1); err != nil {
			return err
		}
	}
	for _, note := range r.order.Notes {
		r.run.Note(r.run.Target.Name, "%s", note)
	}
	return r.turn(ctx, phaseDone, 0)
}

// undoBetween takes back what was done under a lock that has been given up.
func (r *replica) undoBetween(ctx context.Context) error {
	before := len(r.order.Before)
	if r.entry.step <= before || ctx.Err() != nil {
		return nil
	}
	var sql []string
	for i := len(r.order.Between) - 1; i >= 0; i-- {
		sql = append(sql, r.order.Between[i].Undo)
	}
	return r.transact(ctx, "take back what was done under the lock", strings.Join(sql, "; "), phaseUndo, before)
}

// undo takes back the steps that are done, last first.
func (r *replica) undo(ctx context.Context) error {
	if err := r.undoBetween(ctx); err != nil {
		return err
	}
	for i := r.entry.step; i > 0; i-- {
		s := &r.order.Before[i-1]
		var err error
		switch s.Kind {
		case unpublish:
			err = r.republish(ctx, s, i-1)
		case closed:
			if err = r.align(ctx, s); err == nil {
				err = r.transact(ctx, "take back: "+s.What, "", phaseUndo, i-1)
			}
		default:
			err = r.transact(ctx, "take back: "+s.What, s.Undo, phaseUndo, i-1)
		}
		if err != nil {
			return err
		}
	}
	return r.turn(ctx, phaseUndone, 0)
}

// republish takes a table that was taken out of the feed in again, with a new copy.
func (r *replica) republish(ctx context.Context, s *Step, step int) error {
	for _, one := range []Step{
		{What: "empty " + s.Name, SQL: "TRUNCATE " + feed.Quote(s.Schema, s.Name)},
		{Kind: publish, What: "publish " + s.Name, Schema: s.Schema, Name: s.Name},
		{Kind: refresh, What: "take " + s.Name + " into the subscription"},
		{Kind: copied, What: "wait for the copy of " + s.Name, Schema: s.Schema, Name: s.Name},
	} {
		if err := r.step(ctx, &one, phaseUndo, step+1); err != nil {
			return err
		}
	}
	return r.transact(ctx, "the copy is there", "", phaseUndo, step)
}

// position is how far the primary's log is, past everything that is committed. The log behind
// it is flushed soon, also where nobody else writes: what is not flushed is not sent.
func position(ctx context.Context, primary *pgx.Conn) (lsn string, err error) {
	if err = primary.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&lsn); err == nil {
		_, err = primary.Exec(ctx, "SELECT txid_current()") // its commit has the log flushed
	}
	return lsn, err
}

// errBehind means that the replica was not up to date in time.
var errBehind = errors.New("the replica is too far behind")

// applied waits until the replica has applied everything up to now; for as long as most, 0
// being as long as it takes.
func (r *replica) applied(ctx context.Context, most time.Duration) error {
	if r.run.Replica.Feed != configs.FeedLogical {
		return nil
	}
	doing := "wait until everything is applied"
	lsn, err := position(ctx, r.primary)
	if err != nil {
		return &feed.Error{Server: r.run.Primary.Name, Doing: doing, Err: err}
	}
	r.run.Tell(feed.Event{Status: feed.StatusStart, Server: r.run.Target.Name, Step: doing})
	began, told := time.Now(), time.Now()
	for {
		var there, slot, enabled bool
		var behind int64
		err := r.primary.QueryRow(ctx, `SELECT coalesce(bool_or(confirmed_flush_lsn >= $2::pg_lsn), false), count(*) > 0,
			coalesce(max(greatest($2::pg_lsn - confirmed_flush_lsn, 0)), 0)::bigint FROM pg_replication_slots WHERE slot_name = $1`, r.run.Name, lsn).Scan(&there, &slot, &behind)
		if err != nil {
			return &feed.Error{Server: r.run.Primary.Name, Doing: doing, Err: err, Next: "run \"pgshunt feed migrate\", which goes on from here"}
		}
		if there {
			r.run.Tell(feed.Event{Status: feed.StatusDone, Server: r.run.Target.Name, Step: doing, Took: time.Since(began)})
			return nil
		}
		if err = r.conn.QueryRow(ctx, `SELECT coalesce(bool_or(s.subenabled), false) FROM pg_subscription s
			JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() AND s.subname = $1`, r.run.Name).Scan(&enabled); err != nil {
			return r.wrong(doing, err)
		}
		switch {
		case !slot, !enabled:
			return r.wrong(doing, errors.New("the subscription does not run; \"pgshunt feed status\" says why"))
		case most > 0 && time.Since(began) > most:
			return errBehind
		}
		if time.Since(told) > time.Second {
			told = time.Now()
			r.run.Tell(feed.Event{Status: feed.StatusProgress, Server: r.run.Target.Name, Step: doing, Bytes: behind})
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
