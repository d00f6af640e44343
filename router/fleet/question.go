package fleet

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// What a subscriber has applied is known before it is confirmed, to those who may see it.
const primaryQuery = `SELECT p.inserted - '0/0', p.flushed - '0/0', coalesce(s.slot_name, ''),
	coalesce(greatest(s.confirmed_flush_lsn, r.replay_lsn) - '0/0', 0), coalesce(s.active, false)
	FROM (SELECT pg_current_wal_insert_lsn() AS inserted, pg_current_wal_flush_lsn() AS flushed OFFSET 0) p
	LEFT JOIN pg_replication_slots s ON s.slot_type = 'logical'
	LEFT JOIN pg_stat_get_wal_senders() r ON r.pid = s.active_pid`

// flushQuery has the primary write its log out. What an open transaction has written
// stays in memory until somebody commits, and on a server where nobody does, that may take
// long; a wait for a position beyond it would, too. It adds a few bytes to the log.
const flushQuery = `SELECT pg_logical_emit_message(false, 'pgshunt', '')`

// askPrimary asks for everything that a reading of the primary holds, and notes where
// it is.
func (w *Watcher) askPrimary(ctx context.Context, conn *pgx.Conn, r *reading) error {
	if w.primary.progress.push.CompareAndSwap(true, false) {
		if _, err := conn.Exec(ctx, flushQuery); unanswerable(err) != nil {
			return err
		}
	}
	rows, err := conn.Query(ctx, primaryQuery)
	if err != nil {
		return err
	}
	r.slots = make(map[string]slot)
	var name string
	var s slot
	_, err = pgx.ForEachRow(rows, []any{&r.insert, &r.flushed, &name, &s.applied, &s.active}, func() error {
		r.slots[name] = s
		return nil
	})
	if err != nil {
		return err
	}
	seat := w.primary.progress.seat
	r.insert = seat.wal.end(r.insert)
	w.history.note(seat, r.flushed, r.start)
	return nil
}

// end is the end of the last record, given where the next one will be written. At the
// start of a page there is a header in between, which is sent only with that next record:
// who has everything would still not be there.
func (w wal) end(next uint64) uint64 {
	const header, longHeader = 24, 40 // of a page, and of a segment's first page
	switch {
	case w.segment != 0 && next%w.segment == longHeader:
		return next - longHeader
	case w.page != 0 && next%w.page == header:
		return next - header
	}
	return next
}

const standbyQuery = `SELECT coalesce(pg_last_wal_replay_lsn() - '0/0', 0), (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
	FROM pg_control_checkpoint() c, pg_control_recovery() r)`

func askStandby(ctx context.Context, conn *pgx.Conn, r *reading) error {
	return conn.QueryRow(ctx, standbyQuery).Scan(&r.replayed, &r.timeline)
}
