package dump

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// copying is one copy from the primary to a replica.
type copying struct {
	run *feed.Run
	// target holds the lock of the feed and does all that is done one step at a time.
	target                        *pgx.Conn
	primaryVersion, targetVersion int
	snapshot                      *snapshot
	// at is the moment of the snapshot by the replica's clock, which its age is told by.
	at     time.Time
	tables []*table
	byName map[string]*feed.Table
	// from is the directory that the copy comes from, nil where it comes from the primary.
	from *manifest
	// least is the least size of a part, in pages.
	least int64
	// values are those of sequences; later has what is done after the swap.
	values []reached
	later  []string
	// system is the primary's system identifier, "" where it is not known.
	system string
	// theirs are the primary's rights on the tables, as the swap has them follow.
	theirs *schema.Rights
}

// Apply brings the first copy, and does nothing where every table has been copied.
func Apply(ctx context.Context, run *feed.Run) error {
	c, err := begin(ctx, run)
	if err != nil {
		return err
	}
	defer c.close()
	all, err := c.copied(ctx)
	if err != nil {
		return err
	}
	if all {
		run.Done(feed.Step{On: run.Target, What: "copy the tables"})
		if err := c.align(ctx); err != nil {
			return err
		}
		return c.clean(ctx)
	}
	return c.copy(ctx)
}

// Refresh brings a new copy of every table.
func Refresh(ctx context.Context, run *feed.Run) error {
	c, err := begin(ctx, run)
	if err != nil {
		return err
	}
	defer c.close()
	return c.copy(ctx)
}

// begin locks the feed, checks, and finishes what a copy before has left to be done.
func begin(ctx context.Context, run *feed.Run) (*copying, error) {
	c, err := open(ctx, run)
	if err != nil {
		return nil, err
	}
	if err = c.allowed(ctx, Check); err == nil {
		err = c.finish(ctx)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// allowed checks under the lock of the feed, since another command may have been at work before.
func (c *copying) allowed(ctx context.Context, check func(context.Context, *feed.Run) ([]feed.Problem, error)) error {
	problems, err := check(ctx, c.run)
	if err != nil {
		return err
	}
	return c.run.Block(problems)
}

// open connects to the replica and locks the feed there.
func open(ctx context.Context, run *feed.Run) (c *copying, err error) {
	c = &copying{run: run, least: leastPart}
	if c.target, err = run.Target.Connect(ctx); err != nil {
		return nil, err
	}
	if err := run.Lock(ctx, c.target); err != nil {
		return nil, errors.Join(err, closeConn(c.target))
	}
	if c.targetVersion, err = versionOf(ctx, c.target); err != nil {
		return nil, errors.Join(&feed.Error{Server: run.Target.Name, Doing: "ask for its version", Err: err}, closeConn(c.target))
	}
	return c, nil
}

func (c *copying) close() {
	if c.snapshot != nil {
		c.snapshot.close()
	}
	_ = closeConn(c.target)
}

// copied tells whether every table has been copied already, with the columns and rows that
// are wanted now.
func (c *copying) copied(ctx context.Context) (bool, error) {
	primary, err := c.run.Primary.Connect(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = closeConn(primary) }()
	chosen, err := choose(ctx, primary, c.run)
	if err != nil {
		return false, err
	}
	have, err := copies(ctx, c.run, c.target)
	if err != nil {
		return false, err
	}
	for _, t := range newTables(c.run, chosen) {
		one, ok := have[t.Plain()]
		if !ok || one.missing || one.partial != t.partial() {
			return false, nil
		}
	}
	return len(chosen) == len(have), nil
}

// copy does all the work of a copy, from the snapshot to the swap and what follows it.
func (c *copying) copy(ctx context.Context) (err error) {
	if err := c.clean(ctx); err != nil {
		return err
	}
	if err := c.run.Journal(ctx, c.target); err != nil {
		return err
	}
	if err := c.look(ctx); err != nil {
		return err
	}
	if err := c.load(ctx); err != nil {
		return c.undo(ctx, err)
	}
	return c.settle(ctx)
}

// look takes the snapshot and measures the tables.
func (c *copying) look(ctx context.Context) (err error) {
	if c.from != nil {
		return c.lookInto(ctx)
	}
	if err := c.target.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&c.at); err != nil {
		return &feed.Error{Server: c.run.Target.Name, Doing: "ask for the time", Err: err}
	}
	if c.snapshot, err = take(ctx, c.run); err != nil {
		return err
	}
	if c.system, err = c.run.Primary.System(ctx, c.snapshot.guard); err != nil {
		return err
	}
	if c.primaryVersion, err = versionOf(ctx, c.snapshot.keeper); err != nil {
		return &feed.Error{Server: c.run.Primary.Name, Doing: "ask for its version", Err: err}
	}
	c.tables, c.byName = newTables(c.run, c.snapshot.tables), feed.Index(c.snapshot.tables)
	if err := c.snapshot.describe(ctx, c.run, c.tables, c.primaryVersion/10000 == c.targetVersion/10000); err != nil {
		return err
	}
	if c.theirs, err = schema.ReadRights(ctx, c.snapshot.keeper, c.snapshot.tables); err != nil {
		return &feed.Error{Server: c.run.Primary.Name, Doing: "read who may do what", Err: err}
	}
	if c.primaryVersion >= blanksOf {
		if err := c.snapshot.measurePadding(ctx, c.run, c.tables); err != nil {
			return err
		}
	}
	return c.readSequences(ctx)
}

// load makes the new tables and swaps them in.
func (c *copying) load(ctx context.Context) error {
	if err := c.stage(ctx); err != nil {
		return err
	}
	if err := c.transfer(ctx); err != nil {
		return err
	}
	if err := c.foresee(ctx); err != nil {
		return err
	}
	return c.swap(ctx)
}

// undo drops what a failed copy has made, and returns its error. The replica may be what has
// failed; then the next run drops it.
func (c *copying) undo(ctx context.Context, failed error) error {
	if c.run.Print {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = closeConn(c.target)
	conn, err := c.run.Target.Connect(ctx)
	if err != nil {
		return failed
	}
	c.target = conn
	quiet := *c.run
	quiet.Sink = func(feed.Event) {}
	if err := quiet.Lock(ctx, conn); err != nil {
		return failed
	}
	if err := (&copying{run: &quiet, target: conn}).clean(ctx); err != nil {
		c.run.Note(c.run.Target.Name, "schemas pgshunt_new_* are left over; the next run drops them")
	}
	return failed
}

// settle does what follows the swap.
func (c *copying) settle(ctx context.Context) error {
	for _, sql := range c.later {
		step := feed.Step{On: c.run.Target, What: "look through a foreign key of the replica's own", SQL: sql}
		if err := c.run.Do(ctx, c.target, step); err != nil {
			c.run.Note(c.run.Target.Name, "the replica's own tables refer to rows that the primary has no more: %v", err)
		}
	}
	return c.finish(ctx)
}

// Drop removes what a copy may have left, and the journal's lines. The tables stay.
func Drop(ctx context.Context, run *feed.Run) error {
	c, err := open(ctx, run)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.finish(ctx); err != nil {
		return err
	}
	if err := c.clean(ctx); err != nil {
		return err
	}
	have, err := copies(ctx, run, c.target)
	if err != nil {
		return err
	}
	step := feed.Step{On: run.Target, What: "forget the copies", SQL: "DELETE FROM pgshunt.copies"}
	if len(have) == 0 {
		run.Done(step)
	} else if err := run.Do(ctx, c.target, step); err != nil {
		return err
	}
	return run.Forgotten(ctx, c.target)
}
