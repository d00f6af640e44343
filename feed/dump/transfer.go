package dump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"pgshunt/feed"
)

// A part is what one COPY brings: a table, or a range of its pages.
type part struct {
	*table
	// from and to are pages, to is 0 for the end of the table. whole is set for all of it.
	from, to int64
	whole    bool
	size     int64 // estimate in bytes
}

// leastPart is the least size of a part in pages (64 MiB): a COPY of its own has its price.
const leastPart = 8192

// ranges is the version that reads ranges of pages without the pages before. Few streams do
// not divide a table: one that has it to itself writes its rows frozen, which saves a
// second writing of every page, now for the index builds and later for VACUUM, and that is
// worth more than half of a second stream.
const (
	ranges       = 140000
	fewestRanges = 3
)

// parts divides the tables, largest first, so that all connections end at about one time.
func (c *copying) parts() (all []part) {
	var total int64
	for _, t := range c.tables {
		total += t.blocks
	}
	most := max(c.least, total/int64(c.run.Jobs)/4)
	for _, t := range c.tables {
		if !t.data() {
			continue
		}
		n := (t.blocks + most - 1) / most
		if n < 2 || c.run.Jobs < fewestRanges || c.primaryVersion < ranges {
			all = append(all, part{table: t, whole: true, size: t.volume()})
			continue
		}
		for i := range n {
			p := part{table: t, from: t.blocks * i / n, to: t.blocks * (i + 1) / n, size: t.volume() / n}
			if i == n-1 {
				p.to = 0
			}
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b part) int { return cmp.Compare(b.size, a.size) })
	return all
}

// statements are the COPY of both sides.
func (p part) statements() (out, in string) {
	format := " WITH (FORMAT text)"
	if p.binary {
		format = " WITH (FORMAT binary)"
	}
	var conditions []string
	if !p.whole {
		conditions = append(conditions, fmt.Sprintf("ctid >= '(%d,0)'", p.from))
		if p.to > 0 {
			conditions = append(conditions, fmt.Sprintf("ctid < '(%d,0)'", p.to))
		}
	}
	if p.where != "" {
		conditions = append(conditions, "("+p.where+"\n)")
	}
	list := p.columnList()
	if len(p.columns) == 0 {
		list = ""
	}
	out = "COPY " + p.Qualified() + list + " TO STDOUT" + format
	if len(conditions) > 0 || len(p.columns) == 0 || len(p.unpadded) > 0 {
		out = "COPY (SELECT " + p.values() + " FROM ONLY " + p.Qualified()
		if len(conditions) > 0 {
			out += " WHERE " + strings.Join(conditions, " AND ")
		}
		out += ") TO STDOUT" + format
	}
	in = "COPY " + p.staged() + list + " FROM STDIN" + format
	if p.whole {
		// Rows of a table that was emptied in the same transaction need no later visit.
		in = strings.TrimSuffix(in, ")") + ", FREEZE)"
	}
	return out, in
}

// transfer brings the rows. Parts are taken by as many pairs of connections as the run has
// jobs; the first error ends all of them.
func (c *copying) transfer(ctx context.Context) error {
	all := c.parts()
	if c.run.Print {
		for _, p := range all {
			out, in := p.statements()
			if c.from != nil {
				out = "pg_restore --data-only --use-list=" + p.Plain() + " " + c.from.rows.Archive
			}
			c.run.Tell(feed.Event{Status: feed.StatusWould, Server: c.run.Target.Name, Step: stepRows, SQL: out + " | " + in, Table: p.Plain(), TotalBytes: p.size})
		}
		return nil
	}
	p := newProgress(c, all)
	defer p.end()
	queue := make(chan part)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		for _, one := range all {
			select {
			case queue <- one:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range min(c.run.Jobs, len(all)) {
		group.Go(func() error { return c.worker(ctx, queue, p) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	p.done()
	return nil
}

// loading is how connections of the replica write a copy: nothing of it matters before it is
// swapped in, and that waits for the disk.
const loading = "SET synchronous_commit = off"

func (c *copying) worker(ctx context.Context, queue <-chan part, p *progress) (err error) {
	var from *line
	if c.from == nil {
		if from, err = openLine(ctx, c.run.Primary, c.snapshot.join()); err != nil {
			return err
		}
		defer from.close()
	}
	to, err := openLine(ctx, c.run.Target, loading)
	if err != nil {
		return err
	}
	defer to.close()
	for one := range queue {
		if err := c.move(ctx, from, to, one, p); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e := &feed.Error{Server: c.run.Target.Name, Doing: "copy " + one.Plain(), Err: err}
			if at := (*side)(nil); errors.As(err, &at) {
				e.Server, e.Err = at.server, at.err
			}
			return e
		}
	}
	return nil
}

// move brings a part. from is nil where the copy comes from a directory.
func (c *copying) move(ctx context.Context, from, to *line, one part, p *progress) error {
	if from == nil {
		if err := c.unpack(ctx, to, one); err != nil {
			return err
		}
		p.finished(one)
		return nil
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
	p.finished(one)
	return err
}

// progress tells how far a transfer is, twice a second.
type progress struct {
	c       *copying
	began   time.Time
	total   int64
	tables  int
	stop    chan struct{}
	stopped sync.WaitGroup
	ended   sync.Once
	mu      sync.Mutex
	left    map[*table]int // parts that are not yet here
	full    atomic.Int64   // tables that are
}

func newProgress(c *copying, all []part) *progress {
	p := &progress{c: c, began: time.Now(), stop: make(chan struct{}), left: make(map[*table]int)}
	for _, one := range all {
		p.total += one.size
		p.left[one.table]++
	}
	p.tables = len(p.left)
	p.tell(feed.StatusStart, "")
	p.stopped.Go(func() {
		tick := time.NewTicker(time.Second / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.tell(feed.StatusProgress, "")
			case <-p.stop:
				return
			}
		}
	})
	return p
}

func (p *progress) finished(one part) {
	p.mu.Lock()
	p.left[one.table]--
	full := p.left[one.table] == 0
	p.mu.Unlock()
	if full {
		p.full.Add(1)
		p.tell(feed.StatusProgress, one.Plain())
	}
}

const stepRows = "copy the rows"

// tell tells of the whole transfer; table is what it has just finished, or "".
func (p *progress) tell(status feed.Status, table string) {
	e := feed.Event{
		Status: status, Server: p.c.run.Target.Name, Step: stepRows, Table: table,
		TotalBytes: p.total, TablesDone: int(p.full.Load()), TablesTotal: p.tables,
	}
	for _, t := range p.c.tables {
		e.Bytes += t.bytes.Load()
		e.Rows += t.rows.Load()
	}
	if status == feed.StatusDone {
		e.Took = time.Since(p.began)
	}
	p.c.run.Tell(e)
}

func (p *progress) end() {
	p.ended.Do(func() { close(p.stop) })
	p.stopped.Wait()
}

func (p *progress) done() {
	p.end()
	p.tell(feed.StatusDone, "")
}
