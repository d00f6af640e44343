package plan

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// counts are what the statistics have counted, at one time.
type counts struct {
	at     time.Time
	tables map[uint32][3]int64 // inserted, updated and deleted rows by table
	wal    int64               // the end of WAL
	// since is when counting began, zero where that is not known.
	since time.Time
	// walBytes is how much WAL was written since walSince, if that is known.
	walBytes int64
	walSince time.Time
}

const countsQuery = `SELECT clock_timestamp(),
	(SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
	CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') END::bigint`

// count takes one look at a server of that version.
func count(ctx context.Context, conn *pgx.Conn, version int) (*counts, error) {
	c := &counts{tables: make(map[uint32][3]int64)}
	var reset *time.Time
	if err := conn.QueryRow(ctx, countsQuery).Scan(&c.at, &reset, &c.wal); err != nil {
		return nil, err
	}
	if reset != nil {
		c.since = *reset
	}
	rows, err := conn.Query(ctx, "SELECT relid, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables")
	if err != nil {
		return nil, err
	}
	var relid uint32
	var n [3]int64
	_, err = pgx.ForEachRow(rows, []any{&relid, &n[0], &n[1], &n[2]}, func() error {
		c.tables[relid] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, c.writtenWAL(ctx, conn, version)
}

// writtenWAL reads how much WAL was written since when; versions before 14 do not count it.
func (c *counts) writtenWAL(ctx context.Context, conn *pgx.Conn, version int) error {
	if version < 140000 {
		return nil
	}
	var since *time.Time
	err := conn.QueryRow(ctx, "SELECT wal_bytes::bigint, stats_reset FROM pg_stat_wal").Scan(&c.walBytes, &since)
	if since != nil {
		c.walSince = *since
	}
	return err
}

// known says whether rates can be told from this look alone.
func (c *counts) known() bool { return !c.since.IsZero() }

// churn makes rates of two looks, or, where second is nil, of one that knows since when it
// counts. perDay turns a table's counts into rows a day.
func churn(first, second *counts) (c Churn, perDay func(oid uint32) [3]float64) {
	c.WAL = -1
	if second != nil {
		c.Watched, c.Seconds = true, max(second.at.Sub(first.at).Seconds(), 1e-3)
		c.WAL = float64(second.wal-first.wal) / c.Seconds
	} else {
		c.Seconds = max(first.at.Sub(first.since).Seconds(), 1)
		if !first.walSince.IsZero() {
			c.WAL = float64(first.walBytes) / max(first.at.Sub(first.walSince).Seconds(), 1)
		}
	}
	return c, func(oid uint32) (rates [3]float64) {
		n := first.tables[oid]
		if second != nil {
			now := second.tables[oid]
			for i := range n {
				n[i] = max(now[i]-n[i], 0) // a reset between the looks
			}
		}
		for i := range n {
			rates[i] = float64(n[i]) / c.Seconds * 86400
		}
		return rates
	}
}
