package logical

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// attempts counts from outside how often the workers of a subscription have failed, for servers
// before PostgreSQL 15, which do not. It has to look every moment, from one goroutine.
type attempts struct {
	of     map[string]*attempt
	looked time.Time
}

// attempt is what has been seen of one task: its processes, and how long it had none though
// there was room for one.
type attempt struct {
	workers map[int]bool
	idle    time.Duration
}

// attemptsQuery lists the tables whose copy has begun and not ended, and as "" what applies, with
// the worker of each and whether there is room for one. A worker that has failed comes back after
// some time.
const attemptsQuery = `WITH w AS (SELECT relid, pid FROM pg_stat_subscription WHERE subid = $1 AND pid IS NOT NULL),
	task AS (SELECT n.nspname || '.' || c.relname AS name, w.pid, (SELECT count(*) FROM w WHERE relid IS NOT NULL) < current_setting('max_sync_workers_per_subscription')::int AS room
		FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN w ON w.relid = r.srrelid
		WHERE r.srsubid = $1 AND r.srsubstate = 'd' UNION ALL SELECT '', (SELECT max(pid) FROM w WHERE relid IS NULL), true)
	SELECT name, coalesce(pid, 0), room, (SELECT setting::int FROM pg_settings WHERE name = 'wal_retrieve_retry_interval') FROM task`

// look reads once how the workers are. It returns how often one task has failed since the first
// look, and how long it had no worker; the most of all.
func (a *attempts) look(ctx context.Context, target *pgx.Conn, sub *subscription) (failed int64, idle time.Duration, err error) {
	since, now := time.Duration(0), time.Now()
	if !a.looked.IsZero() {
		since = now.Sub(a.looked)
	}
	a.looked = now
	rows, err := target.Query(ctx, attemptsQuery, sub.OID)
	if err != nil {
		return 0, 0, err
	}
	before := a.of
	a.of = make(map[string]*attempt)
	var name string
	var pid, retry int
	var room bool
	_, err = pgx.ForEachRow(rows, []any{&name, &pid, &room, &retry}, func() error {
		one := before[name]
		if one == nil {
			one = &attempt{workers: make(map[int]bool)}
		}
		a.of[name] = one
		switch {
		case pid != 0:
			one.workers[pid] = true
		case room:
			one.idle += since
		}
		// Of those that fail at once hardly any is seen.
		unseen := one.idle / max(time.Duration(retry)*time.Millisecond, time.Second)
		failed, idle = max(failed, int64(len(one.workers)-1), int64(unseen)), max(idle, one.idle)
		return nil
	})
	return failed, idle, err
}
