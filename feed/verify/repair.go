package verify

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
)

// repair writes the rows that differ, in one transaction, and returns those that differ even
// then: they have changed on the primary meanwhile, or could not be settled.
func (c *comparison) repair(ctx context.Context, found map[string]pair) (map[string]pair, error) {
	keys := slices.Sorted(maps.Keys(found))
	tx, err := c.replica.conn.Begin(ctx)
	if err != nil {
		return nil, c.replica.failed("repair", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	if err := c.still(ctx, tx); err != nil {
		return nil, err
	}
	same, err := c.asCompared(ctx, found, keys)
	if err != nil {
		return nil, err
	}
	written, err := c.write(ctx, tx, same)
	if err == nil {
		err = tx.Commit(ctx)
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "23505" && !c.late {
		if c.conflicts == nil {
			c.conflicts = make(map[string]pair)
		}
		maps.Copy(c.conflicts, found)
		return nil, nil
	}
	if err != nil {
		return nil, c.replica.failed("repair", err)
	}
	c.report.Repaired += written
	c.v.run.Note(c.replica.server.Name, "rows repaired in %s: %d", c.primary.table.Plain(), written)
	return c.again(ctx, keys)
}

// repairConflicts writes the rows that could not be, because of a unique value that another
// row has which differs too: all at once.
func (c *comparison) repairConflicts(ctx context.Context) error {
	if len(c.conflicts) == 0 {
		return nil
	}
	c.late = true
	found, err := c.repair(ctx, c.conflicts)
	if err != nil {
		return err
	}
	return c.record(ctx, Range{}, found)
}

// asCompared returns those of the rows that both servers still have as they were compared.
// From the lock on nothing is applied to the table. A row that the primary has in the same
// version, and that no transaction is about to change, was not touched since it was
// compared; so nothing that is still to be applied is older than it.
func (c *comparison) asCompared(ctx context.Context, found map[string]pair, keys []string) (map[string]pair, error) {
	if !c.live {
		return found, nil
	}
	writers, err := c.v.applied.writers(ctx)
	if err != nil {
		return nil, err
	}
	var ended bool
	for range endingLooks {
		running, err := c.v.applied.running(ctx)
		if err != nil {
			return nil, err
		}
		if ended = !overlap(writers, running); ended {
			break
		}
		if err := sleep(ctx, longestPause/10); err != nil {
			return nil, err
		}
	}
	p, err := c.primary.find(ctx, keys)
	if err != nil {
		return nil, err
	}
	r, err := c.replica.find(ctx, keys)
	if err != nil {
		return nil, err
	}
	same := make(map[string]pair)
	for _, k := range keys {
		var now pair
		if e, ok := p[k]; ok {
			now.primary = &e
		}
		if e, ok := r[k]; ok {
			now.replica = &e
		}
		if now.unchanged(found[k]) && (ended || now.primary == nil || now.primary.untouched()) {
			same[k] = now
		}
	}
	return same, nil
}

// again compares rows that were repaired.
func (c *comparison) again(ctx context.Context, keys []string) (map[string]pair, error) {
	p, err := c.primary.find(ctx, keys)
	if err != nil {
		return nil, err
	}
	r, err := c.replica.find(ctx, keys)
	if err != nil {
		return nil, err
	}
	return c.settle(ctx, join(p, r))
}

// lockPatience bounds how long a repair waits for what reads or writes the table, and how
// long it keeps others waiting.
const lockPatience = "10s"

// endingLooks bounds how often transactions that may be committed are waited for meanwhile.
const endingLooks = 100

// still keeps others from writing the table, and triggers and foreign keys from acting on
// what is written. Without the right to that, a table without triggers can be written.
func (c *comparison) still(ctx context.Context, tx pgx.Tx) error {
	s := c.replica
	lock := "SET LOCAL lock_timeout = '" + lockPatience + "'; LOCK TABLE " + s.table.Qualified() + " IN SHARE ROW EXCLUSIVE MODE; SET LOCAL lock_timeout = 0"
	if _, err := tx.Exec(ctx, lock); err != nil {
		return s.failed("lock", err)
	}
	nested, err := tx.Begin(ctx)
	if err != nil {
		return s.failed("repair", err)
	}
	_, err = nested.Exec(ctx, "SET LOCAL session_replication_role = replica")
	if err == nil {
		return s.failed("repair", nested.Commit(ctx))
	}
	if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "42501" {
		return s.failed("repair", err)
	}
	if err := nested.Rollback(ctx); err != nil {
		return s.failed("repair", err)
	}
	var triggers bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid IN (SELECT $1::oid UNION ALL SELECT relid FROM pg_partition_tree($1::oid::regclass)))`, s.table.OID).Scan(&triggers)
	if err == nil && triggers {
		return &feed.Error{
			Server: s.server.Name, Doing: "repair " + s.table.Plain(), Err: errors.New("it has triggers or foreign keys, which would act on the repair"),
			Next: "run GRANT SET ON PARAMETER session_replication_role TO " + feed.Quote("", s.server.User()) + " (PostgreSQL 15 and later), or use a superuser",
		}
	}
	return s.failed("repair", err)
}
