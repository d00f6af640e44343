package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// currentLSN is where the primary writes. A standby that stands in for it has no such place.
const currentLSN = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"

// applied knows how far a subscription has come.
type applied struct {
	v    *verification
	slot string
	// states are those of its tables, pg_subscription_rel.srsubstate.
	states map[string]string
}

func newApplied(ctx context.Context, v *verification) (*applied, error) {
	a := &applied{v: v, states: make(map[string]string)}
	wrong := func(err error) error {
		return &feed.Error{Server: v.run.Target.Name, Doing: "look at subscription " + v.run.Name, Err: err, Next: "run pgshunt feed status"}
	}
	var enabled bool
	err := v.target.QueryRow(ctx, `SELECT coalesce(subslotname, ''), subenabled FROM pg_subscription
		WHERE subname = $1 AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`, v.run.Name).Scan(&a.slot, &enabled)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, &feed.Error{Server: v.run.Target.Name, Doing: "look at subscription " + v.run.Name, Err: errors.New("there is none"), Next: "run pgshunt feed apply"}
	case err != nil:
		return nil, wrong(err)
	case !enabled:
		return nil, wrong(errors.New("it is disabled, so there is no common point"))
	}
	rows, err := v.target.Query(ctx, `SELECT n.nspname || '.' || c.relname, r.srsubstate::text FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
		JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.subname = $1
		AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`, v.run.Name)
	if err != nil {
		return nil, wrong(err)
	}
	var name, state string
	_, err = pgx.ForEachRow(rows, []any{&name, &state}, func() error {
		a.states[name] = state
		return nil
	})
	if err != nil {
		return nil, wrong(err)
	}
	return a, nil
}

// fit tells whether changes of the table are applied. A partitioned table is subscribed
// itself or by its partitions.
func (a *applied) fit(p *feed.Table) (state, note string) {
	switch of := a.state(p); of {
	case "":
		return Skipped, "the subscription does not bring it; run pgshunt feed apply"
	case "r":
		return "", ""
	}
	return Skipped, "it is still being copied"
}

// state is that of a table, or of its partitions where these are subscribed: 'r' if all of
// them are ready, "" if none is there.
func (a *applied) state(p *feed.Table) string {
	all := a.states[p.Plain()]
	for _, t := range a.v.tables {
		if t.Partition() && t.ParentSchema == p.Schema && t.ParentName == p.Name {
			if of := a.state(t); of != "" && (all == "" || all == "r") {
				all = of
			}
		}
	}
	return all
}

// flushes is after how many times wal_writer_delay every commit is on disk, also one that did
// not wait for that. What is not may stay in memory for long on a quiet server: an open
// transaction's, of which nobody has seen anything. Nothing is written to hurry it.
const flushes = 4

// Pauses between two looks at how far the subscription is.
const (
	firstPause   = time.Millisecond
	longestPause = 200 * time.Millisecond
)

// worthTelling is how many bytes behind a person is told of.
const worthTelling = 1 << 20

// wait returns when the subscription has applied all that the primary had when it was
// called. meanwhile is called between the looks, if it is not nil.
func (a *applied) wait(ctx context.Context, meanwhile func() error) error {
	v := a.v
	var want, have, best, flushed int64
	var settled time.Duration
	wrong := func(err error) error {
		return &feed.Error{Server: v.run.Primary.Name, Doing: "wait for subscription " + v.run.Name, Err: err, Next: "run pgshunt feed status"}
	}
	err := v.primary.QueryRow(ctx, "SELECT ("+currentLSN+" - '0/0')::bigint, current_setting('wal_writer_delay')::interval").Scan(&want, &settled)
	if err != nil {
		return wrong(err)
	}
	want, settled = recordEnd(want), flushes*settled
	told := false
	began, since, pause := time.Now(), time.Now(), firstPause
	for {
		err := v.primary.QueryRow(ctx, `SELECT coalesce(greatest(s.confirmed_flush_lsn, r.replay_lsn) - '0/0', 0)::bigint,
			(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint
			FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = $1`, a.slot).Scan(&have, &flushed)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return wrong(fmt.Errorf("the primary has no slot %s", a.slot))
		case err != nil:
			return wrong(err)
		case have >= want, have >= flushed && time.Since(began) > settled:
			return nil
		}
		if have > best {
			best, since = have, time.Now()
		}
		if time.Since(since) > v.opts.Patience {
			return wrong(fmt.Errorf("nothing was applied for %v, and it is %d bytes behind", v.opts.Patience, want-have))
		}
		if meanwhile != nil {
			if err := meanwhile(); err != nil {
				return err
			}
		} else if want-have > worthTelling && !told {
			told = true
			v.run.Note(v.run.Target.Name, "%d bytes of WAL are to be applied before it can be compared", want-have)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

// recordEnd is where the last record ends if lsn is where the next one begins: at the
// beginning of a page that is after its header, which nobody ever confirms.
func recordEnd(lsn int64) int64 {
	const page, header, longHeader = 8192, 24, 40
	if over := lsn % page; over == header || over == longHeader {
		return lsn - over
	}
	return lsn
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// A commit is sent as soon as it is on disk, which is a moment before others see it on the
// primary, and with synchronous replication long before. So a replica may be ahead of what
// the primary shows.

// running are the transactions with an xid that a query would not see the effects of.
func (a *applied) running(ctx context.Context) (map[string]bool, error) {
	return a.transactions(ctx, "SELECT x::text FROM pg_snapshot_xip(pg_current_snapshot()) x")
}

// writers are those of them that may be committed already: not the ones that wait for their
// client's next word, and not prepared ones.
func (a *applied) writers(ctx context.Context) (map[string]bool, error) {
	return a.transactions(ctx, `SELECT x::text FROM pg_snapshot_xip(pg_current_snapshot()) x WHERE x::text::numeric % 4294967296 NOT IN (
		SELECT backend_xid::text::numeric FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND state LIKE 'idle in transaction%'
		UNION ALL SELECT transaction::text::numeric FROM pg_prepared_xacts)`)
}

func (a *applied) transactions(ctx context.Context, query string) (map[string]bool, error) {
	rows, err := a.v.primary.Query(ctx, query)
	if err == nil {
		var names []string
		if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			all := make(map[string]bool, len(names))
			for _, name := range names {
				all[name] = true
			}
			return all, nil
		}
	}
	return nil, &feed.Error{Server: a.v.run.Primary.Name, Doing: "look for running transactions", Err: err}
}
