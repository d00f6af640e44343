package dump

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// A long query on a live table holds the swap up, and a swap that waits holds up every query
// after it: so it waits shortly, lets them pass, and tries again.
const (
	swapPatience = time.Second
	swapPause    = 2 * time.Second
	swapTries    = 60
)

// swap puts the new tables in the place of the live ones, all in one transaction.
func (c *copying) swap(ctx context.Context) error {
	step := feed.Step{On: c.run.Target, What: "put the new tables in the place of the old ones"}
	if c.run.Print {
		var sql strings.Builder
		for _, t := range c.tables {
			fmt.Fprintf(&sql, "DROP TABLE IF EXISTS %s; ALTER TABLE %s SET SCHEMA %s;\n", t.Qualified(), t.staged(), feed.Quote("", t.Schema))
		}
		step.SQL = sql.String()
		return c.run.Do(ctx, nil, step)
	}
	c.run.Tell(feed.Event{Status: feed.StatusStart, Server: c.run.Target.Name, Step: step.What})
	began := time.Now()
	for try := 1; ; try++ {
		err := c.swapOnce(ctx)
		if err == nil {
			break
		}
		if _, rerr := c.target.Exec(ctx, "ROLLBACK"); rerr != nil {
			return &feed.Error{Server: c.run.Target.Name, Doing: step.What, Err: errors.Join(err, rerr)}
		}
		if !passing(err) || try == swapTries {
			e := &feed.Error{Server: c.run.Target.Name, Doing: step.What, Err: err}
			var stays *stayed
			switch {
			case passing(err):
				e.Next = "queries on them never ended for long enough; run it again when they have"
			case errors.As(err, &stays):
				e.Next = "drop what this would make, run it again, and make it anew over the new tables"
			}
			return e
		}
		if try == 1 {
			c.run.Note(c.run.Target.Name, "queries hold the live tables; the new copy waits for a moment without")
		}
		select {
		case <-time.After(swapPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.run.Tell(feed.Event{Status: feed.StatusDone, Server: c.run.Target.Name, Step: step.What, Took: time.Since(began), TablesDone: len(c.tables), TablesTotal: len(c.tables)})
	return nil
}

func (c *copying) swapOnce(ctx context.Context) error {
	begin := fmt.Sprintf("BEGIN; SET LOCAL lock_timeout = '%dms'; SET LOCAL synchronous_commit = on; SET LOCAL check_function_bodies = off", swapPatience.Milliseconds())
	if _, err := c.target.Exec(ctx, begin); err != nil {
		return err
	}
	if err := c.lockLive(ctx); err != nil {
		return err
	}
	d, err := c.dependents(ctx)
	if err != nil {
		return err
	}
	for _, sql := range [][]string{d.before, c.exchange(), d.after} {
		for _, one := range sql {
			if _, err := c.target.Exec(ctx, one); err != nil {
				return explain(one, err)
			}
		}
	}
	if err := c.sequences(ctx); err != nil {
		return err
	}
	if c.theirs != nil {
		if err := schema.Align(ctx, c.run, c.theirs, nil, c.target, c.ofPrimary()); err != nil {
			return err
		}
	}
	if err := c.dropOld(ctx, d); err != nil {
		return err
	}
	if err := c.record(ctx); err != nil {
		return err
	}
	_, err = c.target.Exec(ctx, "COMMIT")
	return err
}

// stayed is the error of a statement that would have brought a dependent along.
type stayed struct{ error }

// explain adds what was tried to the error of such a statement.
func explain(sql string, err error) error {
	if passing(err) {
		return err
	}
	const most = 200
	if sql = strings.TrimSuffix(strings.Join(strings.Fields(sql), " "), ";"); len(sql) > most {
		sql = sql[:most] + "..."
	}
	return &stayed{fmt.Errorf("%s, at %s", feed.Cause(err), sql)}
}

// passing tells whether an error is of a lock that another session held.
func passing(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01")
}

// lockLive locks the live tables, and makes sure that they are still those that were looked at.
func (c *copying) lockLive(ctx context.Context) error {
	var names []string
	for _, t := range c.tables {
		switch {
		case t.foreign: // LOCK TABLE has none of these
			if _, err := c.target.Exec(ctx, "ALTER FOREIGN TABLE "+t.Qualified()+" OWNER TO CURRENT_USER"); err != nil {
				return err
			}
		case t.live != 0:
			names = append(names, "ONLY "+t.Qualified())
		}
	}
	if len(names) > 0 {
		if _, err := c.target.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
	}
	for _, t := range c.tables {
		var now uint32
		if err := c.target.QueryRow(ctx, `SELECT coalesce(to_regclass($1)::oid, 0)`, t.Qualified()).Scan(&now); err != nil {
			return err
		}
		if now != t.live {
			return fmt.Errorf("%s was made or dropped meanwhile; run it again", t.Plain())
		}
	}
	return nil
}

// exchange moves the live tables out and the new ones in. What a table owns goes with it.
func (c *copying) exchange() (sql []string) {
	numbers := schemaNumbers(c.tables)
	for _, n := range numbers {
		sql = append(sql, fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s%d", oldPrefix, n))
	}
	for _, t := range c.tables {
		if t.live != 0 {
			sql = append(sql, fmt.Sprintf("ALTER TABLE %s SET SCHEMA %s%d", t.Qualified(), oldPrefix, numbers[t.Schema]))
		}
	}
	for _, t := range c.tables {
		sql = append(sql, fmt.Sprintf("ALTER TABLE %s SET SCHEMA %s", t.staged(), feed.Quote("", t.Schema)))
	}
	return sql
}

// dropOld drops the old tables, and with that finds out whether anything depends on them that
// was not brought along. Where a materialised view still reads them they stay for now.
func (c *copying) dropOld(ctx context.Context, d *dependents) error {
	numbers := schemaNumbers(c.tables)
	var old, foreign []string
	for _, t := range c.tables {
		name := fmt.Sprintf("%s%d.%s", oldPrefix, numbers[t.Schema], feed.Quote("", t.Name))
		switch {
		case t.foreign:
			foreign = append(foreign, name)
		case t.live != 0:
			old = append(old, name)
		}
	}
	var drop strings.Builder
	if len(d.views) > 0 {
		drop.WriteString("SAVEPOINT trial; ")
		for _, view := range d.views {
			drop.WriteString("DROP MATERIALIZED VIEW IF EXISTS " + view + " CASCADE; ")
		}
	}
	if len(old) > 0 {
		drop.WriteString("DROP TABLE " + strings.Join(old, ", ") + "; ")
	}
	if len(foreign) > 0 {
		drop.WriteString("DROP FOREIGN TABLE " + strings.Join(foreign, ", ") + "; ")
	}
	if len(d.views) > 0 {
		drop.WriteString("ROLLBACK TO trial; ")
	} else {
		for _, n := range numbers {
			fmt.Fprintf(&drop, "DROP SCHEMA %s%d; ", oldPrefix, n)
		}
	}
	for _, n := range numbers {
		fmt.Fprintf(&drop, "DROP SCHEMA %s%d CASCADE; DROP SCHEMA %s%[2]d; ", shapePrefix, n, stagingPrefix)
	}
	_, err := c.target.Exec(ctx, drop.String())
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "2BP01" {
		detail := staging.ReplaceAllString(strings.ReplaceAll(pg.Detail, "\n", ", "), "")
		return fmt.Errorf("something cannot follow to the new tables: %s; drop it, or make it so that it does not depend on a table's row type", detail)
	}
	return err
}

// staging is what stands before a name while its table is elsewhere.
var staging = regexp.MustCompile(`pgshunt_(old|new|shape)_[0-9]+\.`)

// record writes the journal of the copy, in the transaction that shows it.
func (c *copying) record(ctx context.Context) error {
	var names []string
	batch := &pgx.Batch{}
	for _, t := range c.tables {
		names = append(names, t.Plain())
		batch.Queue(`INSERT INTO pgshunt.copies (relation, copied_at, copied_rows, copied_bytes, partial, snapshot) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (relation) DO UPDATE SET copied_at = excluded.copied_at, copied_rows = excluded.copied_rows, copied_bytes = excluded.copied_bytes, partial = excluded.partial,
			snapshot = excluded.snapshot`,
			t.Plain(), c.at, t.rows.Load(), t.bytes.Load(), t.partial(), c.snapshot.visible)
	}
	batch.Queue(`DELETE FROM pgshunt.copies WHERE relation <> ALL($1)`, names)
	if err := c.target.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	if err := c.run.Brought(ctx, c.target, names); err != nil {
		return err
	}
	if err := c.run.Applied(ctx, c.target); err != nil {
		return err
	}
	return c.run.Follow(ctx, c.target, c.system)
}
