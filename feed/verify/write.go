package verify

import (
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

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
	if len(set) == 0 {
		return nil // there is nothing but the key
	}
	if _, err := tx.Exec(ctx, "UPDATE "+c.replica.from()+" SET "+strings.Join(set, ", ")+" FROM "+stage+" s WHERE "+strings.Join(same, " AND "), direct); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DROP TABLE "+stage, direct)
	return err
}

// writeKeyless evens out the numbers of rows that are all the same.
func (c *comparison) writeKeyless(ctx context.Context, tx pgx.Tx, found map[string]pair) (written int64, err error) {
	var gone, come []string // hash and number, as SQL
	for _, k := range slices.Sorted(maps.Keys(found)) {
		what, n := found[k].number()
		one := "(" + k + ", " + strconv.Itoa(n) + ")"
		if written += int64(n); what == wasExtra {
			gone = append(gone, one)
		} else {
			come = append(come, one)
		}
	}
	for some := range slices.Chunk(gone, keysAtOnce) {
		if _, err := tx.Exec(ctx, "DELETE FROM "+c.replica.from()+" WHERE "+c.replica.version()+" IN ("+c.replica.some(some)+")", direct); err != nil {
			return 0, err
		}
	}
	for some := range slices.Chunk(come, keysAtOnce) {
		query := "SELECT " + columns("t.", c.written()) + " FROM " + c.primary.from() + " WHERE " + c.primary.version() + " IN (" + c.primary.some(some) + ")"
		if err := c.copy(ctx, query, c.replica.table.Qualified()); err != nil {
			return 0, err
		}
	}
	return written, nil
}

// some is a query of the versions of so many rows of each of some hashes.
func (s *side) some(wanted []string) string {
	return "SELECT v FROM (SELECT v, h, row_number() OVER (PARTITION BY h) AS number FROM (" + s.rows("") +
		" OFFSET 0) AS y) AS z JOIN (VALUES " + strings.Join(wanted, ", ") + ") AS wanted(hash, count) ON hash = h AND number <= count"
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
	if list := columns("", c.written()); list != "" { // else the table has none
		to += " (" + list + ")"
	}
	_, err := c.replica.conn.PgConn().CopyFrom(ctx, read, "COPY "+to+" FROM STDIN")
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
