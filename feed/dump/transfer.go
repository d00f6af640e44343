package dump

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"pgshunt/feed"
)

// transfer brings the rows and makes the indexes of the new tables. Workers, as many as the
// run has jobs, bring the rows first, so that the primary's snapshot lasts no longer than it
// must; who finds none left builds what has all its rows, beside those that still bring
// some. The first error ends all of them.
func (c *copying) transfer(ctx context.Context) error {
	parts := c.parts()
	tasks, begin, err := c.tasks(ctx)
	if err != nil {
		return err
	}
	if c.run.Print {
		return c.printTransfer(ctx, parts, tasks)
	}
	if err := c.share(ctx, tasks); err != nil {
		return err
	}
	w := &work{copying: c, queue: make(chan part, len(parts)), progress: newProgress(c, parts)}
	defer w.progress.end()
	for _, one := range parts {
		w.queue <- one
	}
	close(w.queue)
	if w.left.Store(int64(len(parts))); len(parts) == 0 {
		w.arrived()
	}
	w.rows = c.awaitRows(parts, begin)
	w.agenda = newAgenda(tasks)
	group, ctx := errgroup.WithContext(ctx)
	for range c.run.Jobs {
		group.Go(func() error {
			if err := w.bring(ctx); err != nil {
				return err
			}
			return c.build(ctx, w.agenda)
		})
	}
	return group.Wait()
}

// work is what the workers of a transfer share.
type work struct {
	*copying
	queue    chan part
	left     atomic.Int64 // parts that are not here yet
	rows     map[*table]*rows
	agenda   *agenda
	progress *progress
}

// arrived ends the bringing of rows: the primary is not needed any more.
func (w *work) arrived() {
	w.progress.done()
	w.snapshot.close()
}

// rows are those that tasks wait for together, left the parts of them that are not here yet.
type rows struct {
	left  atomic.Int64
	begin []*task
}

// awaitRows has the first tasks wait for the rows of their tables. A directory's rows of one
// partition may fall into any of the same table.
func (c *copying) awaitRows(parts []part, begin map[*table]*task) map[*table]*rows {
	of := make(map[*feed.Table]*rows)
	waiting := make(map[*table]*rows)
	for _, p := range parts {
		whole := p.Table
		if c.from != nil {
			whole = c.root(whole)
		}
		if of[whole] == nil {
			of[whole] = new(rows)
		}
		of[whole].left.Add(1)
		if waiting[p.table] == nil { // its first part
			waiting[p.table] = of[whole]
			if one := begin[p.table]; one != nil {
				one.waits++
				of[whole].begin = append(of[whole].begin, one)
			}
		}
	}
	return waiting
}

func (c *copying) printTransfer(ctx context.Context, parts []part, tasks []*task) error {
	for _, p := range parts {
		out, in := p.statements()
		if c.from != nil {
			out = "pg_restore --data-only --use-list=" + p.Plain() + " " + c.from.rows.Archive
		}
		c.run.Tell(feed.Event{Status: feed.StatusWould, Server: c.run.Target.Name, Step: stepRows, SQL: out + " | " + in, Table: p.Plain(), TotalBytes: p.size})
	}
	for _, t := range tasks {
		if err := c.run.Do(ctx, nil, t.step); err != nil { // only tells
			return err
		}
	}
	return nil
}

// loading is how connections of the replica write a copy: nothing of it matters before it is
// swapped in, and that waits for the disk.
const loading = "SET synchronous_commit = off"

// bring takes parts as long as there are any. It connects when it has one: until that is here
// the snapshot lasts.
func (w *work) bring(ctx context.Context) error {
	var from, to *line
	defer func() {
		for _, l := range []*line{from, to} {
			if l != nil {
				l.close()
			}
		}
	}()
	for one := range w.queue {
		var err error
		if from == nil && w.from == nil {
			if from, err = openLine(ctx, w.run.Primary, w.snapshot.join()); err != nil {
				return err
			}
		}
		if to == nil {
			if to, err = openLine(ctx, w.run.Target, loading); err != nil {
				return err
			}
		}
		if err := w.move(ctx, from, to, one); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e := &feed.Error{Server: w.run.Target.Name, Doing: "copy " + one.Plain(), Err: err}
			if at := (*side)(nil); errors.As(err, &at) {
				e.Server, e.Err = at.server, at.err
			}
			return e
		}
		w.progress.finished(one)
		if w.left.Add(-1) == 0 {
			w.arrived()
		}
		if waited := w.rows[one.table]; waited.left.Add(-1) == 0 {
			w.agenda.arrived(waited.begin...)
		}
	}
	return nil
}

// move brings a part. from is nil where the copy comes from a directory.
func (c *copying) move(ctx context.Context, from, to *line, one part) error {
	if from == nil {
		return c.unpack(ctx, to, one)
	}
	out, in := one.statements()
	if one.whole {
		if _, err := to.exec("BEGIN; TRUNCATE ONLY " + one.staged()); err != nil {
			return err
		}
	}
	rows, err := pump(from, to, out, in, &one.bytes)
	if err != nil {
		return err
	}
	one.rows.Add(rows)
	if one.whole {
		_, err = to.exec("COMMIT")
	}
	return err
}
