package verify

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

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

// write brings the replica's rows to what the primary has: it deletes and copies them, or,
// where the replica has columns of its own, changes those that it has.
func (c *comparison) write(ctx context.Context, tx pgx.Tx, found map[string]pair) (written int64, err error) {
	if len(found) == 0 {
		return 0, nil
	}
	if c.primary.key == nil {
		return c.writeKeyless(ctx, tx, found)
	}
	var gone, come, change []string
	for _, k := range slices.Sorted(maps.Keys(found)) {
		one := found[k]
		if one.primary != nil && one.replica != nil && c.ownColumns() {
			change = append(change, k)
			continue
		}
		if one.replica != nil {
			gone = append(gone, k)
		}
		if one.primary != nil {
			come = append(come, k)
		}
	}
	for keys := range slices.Chunk(gone, keysAtOnce) {
		if _, err := tx.Exec(ctx, "DELETE FROM "+c.replica.from()+" WHERE "+c.replica.among(keys), direct); err != nil {
			return 0, err
		}
	}
	for keys := range slices.Chunk(come, keysAtOnce) {
		if err := c.copy(ctx, c.rowsOf(keys), c.replica.table.Qualified()); err != nil {
			return 0, err
		}
	}
	for keys := range slices.Chunk(change, keysAtOnce) {
		if err := c.change(ctx, tx, keys); err != nil {
			return 0, err
		}
	}
	return int64(len(found)), nil
}

// ownColumns tells whether the replica's table has columns that are not written.
func (c *comparison) ownColumns() bool {
	return slices.ContainsFunc(c.replica.table.Columns, func(col feed.Column) bool {
		return col.Generated == 0 && !slices.Contains(c.written(), col.Name)
	})
}

// written are the columns that can be written on the replica.
func (c *comparison) written() (list []string) {
	for _, col := range c.primary.columns {
		if own := c.replica.table.Column(col.Name); own.Generated == 0 {
			list = append(list, col.Name)
		}
	}
	return list
}

// rowsOf is a query of the primary's rows of some keys.
func (c *comparison) rowsOf(keys []string) string {
	condition := c.primary.among(keys)
	if c.primary.where != "" {
		condition += " AND (" + c.primary.where + ")"
	}
	return "SELECT " + columns("t.", c.written()) + " FROM " + c.primary.from() + " WHERE " + condition
}

// change gives rows the primary's values and keeps those of the replica's own columns.
func (c *comparison) change(ctx context.Context, tx pgx.Tx, keys []string) error {
	const stage = "pg_temp.pgshunt_rows"
	_, err := tx.Exec(ctx, "CREATE TEMP TABLE pgshunt_rows ON COMMIT DROP AS SELECT "+columns("t.", c.written())+" FROM "+c.replica.from()+" WHERE false", direct)
	if err != nil {
		return err
	}
	if err := c.copy(ctx, c.rowsOf(keys), stage); err != nil {
		return err
	}
	var set, same []string
	for _, name := range c.written() {
		name = feed.Quote("", name)
		if slices.ContainsFunc(c.primary.key, func(col *feed.Column) bool { return feed.Quote("", col.Name) == name }) {
			same = append(same, "t."+name+" = s."+name)
		} else {
			set = append(set, name+" = s."+name)
		}
	}
	if _, err := tx.Exec(ctx, "UPDATE "+c.replica.from()+" SET "+strings.Join(set, ", ")+" FROM "+stage+" s WHERE "+strings.Join(same, " AND "), direct); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DROP TABLE "+stage, direct)
	return err
}

// writeKeyless evens out the numbers of rows that are all the same.
func (c *comparison) writeKeyless(ctx context.Context, tx pgx.Tx, found map[string]pair) (written int64, err error) {
	for k, one := range found {
		what, n := one.number()
		if what == wasExtra {
			_, err = tx.Exec(ctx, "DELETE FROM "+c.replica.from()+" WHERE "+c.replica.version()+" IN (SELECT v FROM ("+c.replica.rows("")+
				" OFFSET 0) AS y WHERE h = "+k+" LIMIT "+strconv.Itoa(n)+")", direct)
		} else {
			err = c.copy(ctx, "SELECT "+columns("t.", c.written())+" FROM "+c.primary.from()+" JOIN (SELECT v FROM ("+c.primary.rows("")+
				" OFFSET 0) AS y WHERE h = "+k+" LIMIT "+strconv.Itoa(n)+") AS few ON few.v = "+c.primary.version(), c.replica.table.Qualified())
		}
		if err != nil {
			return written, err
		}
		written += int64(n)
	}
	return written, nil
}

// copy brings what a query finds on the primary into a table on the replica, within the
// transaction there. Memory depends on the longest row only.
func (c *comparison) copy(ctx context.Context, query, to string) error {
	read, write := io.Pipe()
	failed := make(chan error, 1)
	go func() {
		_, err := c.primary.conn.PgConn().CopyTo(ctx, write, "COPY ("+query+") TO STDOUT")
		_ = write.CloseWithError(err) // nil is the end of the data
		failed <- err
	}()
	_, err := c.replica.conn.PgConn().CopyFrom(ctx, read, "COPY "+to+" ("+columns("", c.written())+") FROM STDIN")
	_, _ = io.Copy(io.Discard, read) // where it failed: the primary's connection is still needed
	if reading := <-failed; reading != nil && err == nil {
		return c.primary.failed("read", reading)
	}
	return err
}

func columns(prefix string, names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = prefix + feed.Quote("", name)
	}
	return strings.Join(quoted, ", ")
}
