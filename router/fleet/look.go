package fleet

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/router"
)

// seen is what one look at a host found.
type seen struct {
	standby bool
	pgml    string // the extension's version, "" without it
	wal     wal
	// subscriptions are those of a replica with a logical feed, by database.
	subscriptions []subscription
	// copied is when the oldest copy was made, by the watcher's clock: of a dump's tables, or of
	// those that are copies beside foreign tables. It is zero if nobody knows, or there is none.
	copied time.Time
}

// wal places a server in its history. It is zero where the server does not tell.
type wal struct {
	system   int64  // identifies the cluster and its physical copies
	timeline int64  // counts promotions
	position uint64 // written last, or replayed last
	page     uint64 // sizes in bytes
	segment  uint64
}

// subscription is how a logical feed arrives.
type subscription struct {
	Name, Database string
	Slot           string // its slot on the primary, "" if it has none
	Enabled        bool
	// Unready is how many tables of the server's own database no subscription has caught up with yet.
	Unready int64
}

const lookQuery = `SELECT pg_is_in_recovery(),
	coalesce((SELECT extversion FROM pg_extension WHERE extname = 'pgml'), '')`

// The timeline of a standby is in the control file only, which tells it late after a
// promotion elsewhere, and never too early.
const walQuery = `SELECT system_identifier,
	CASE WHEN pg_is_in_recovery()
		THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) FROM pg_control_checkpoint() c, pg_control_recovery() r)
		ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END,
	CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_insert_lsn() END - '0/0',
	current_setting('wal_block_size')::bigint,
	pg_size_bytes(current_setting('wal_segment_size'))
	FROM pg_control_system()`

const subscriptionsQuery = `SELECT s.subname, d.datname, coalesce(s.subslotname, ''), s.subenabled,
	(SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r')
	FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid ORDER BY 1, 2`

// The table is written by whoever copies; it is in the replica's own database.
const copiedQuery = `SELECT extract(epoch FROM clock_timestamp() - min(copied_at))::float8 FROM pgshunt.copies`

// look asks a host what it is. An error means that the host could not be asked.
func (s *server) look(ctx context.Context, conn *pgx.Conn) (seen, error) {
	var f seen
	if err := conn.QueryRow(ctx, lookQuery).Scan(&f.standby, &f.pgml); err != nil {
		return f, err
	}
	// Some hosted servers do not offer all of this; then their place is not known.
	err := conn.QueryRow(ctx, walQuery).Scan(&f.wal.system, &f.wal.timeline, &f.wal.position, &f.wal.page, &f.wal.segment)
	if err = unanswerable(err); err != nil {
		return f, err
	}
	switch {
	case !s.Replica:
		return f, nil
	case s.Feed == router.FeedLogical:
		rows, err := conn.Query(ctx, subscriptionsQuery)
		if err != nil {
			return f, err
		}
		if f.subscriptions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[subscription]); err != nil {
			return f, err
		}
	case s.Feed == router.FeedDump || s.Feed == router.FeedFDW:
		if f.copied, err = copiedAt(ctx, conn); err != nil {
			return f, err
		}
	}
	if f.pgml != "" {
		return f, s.models.refresh(ctx, conn)
	}
	return f, nil
}

func copiedAt(ctx context.Context, conn *pgx.Conn) (time.Time, error) {
	now := time.Now()
	rows, err := briefly(ctx, conn, copiedQuery)
	if err != nil {
		if busy(err) {
			err = nil
		}
		return time.Time{}, unanswerable(err)
	}
	age, err := strconv.ParseFloat(rows[0][0], 64)
	if err != nil {
		return time.Time{}, nil // nothing has been copied
	}
	return now.Add(-time.Duration(age * float64(time.Second))), nil
}

// briefly asks about tables that others may have locked, and gives up the lock before the
// look is over: a server process that waits for one outlives its connection. Values come
// as texts, "" for NULL.
func briefly(ctx context.Context, conn *pgx.Conn, sql string) ([][]string, error) {
	// Both are one transaction, after which the setting is what it was.
	results, err := conn.PgConn().Exec(ctx, "SET LOCAL lock_timeout = '500ms'; "+sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, values := range results[len(results)-1].Rows {
		var row []string
		for _, v := range values {
			row = append(row, string(v))
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// busy reports whether a lock was not to be had.
func busy(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55P03"
}

// unanswerable drops the error of a server that has refused one question and goes on:
// no such relation or function, or not for this role.
func unanswerable(err error) error {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Severity != "FATAL" && (pg.Code[:2] == "42" || pg.Code[:2] == "0A" || pg.Code[:2] == "3F") {
		return nil
	}
	return err
}
