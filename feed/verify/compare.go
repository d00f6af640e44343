package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgshunt/feed"
)

// Bounds of a range; the first one has few rows, the next as many as these bytes have.
const (
	rangeBytes = 32 << 20
	rangeRows  = 50000
	firstRows  = 100
)

// Buckets have so many rows on average, up to a number of buckets.
const (
	bucketRows = 1000
	maxBuckets = 4096
)

// comparison is the work on one table.
type comparison struct {
	v                *verification
	report           *TableReport
	primary, replica *side
	// rows is how many there are, by the statistics; -1 is not known.
	rows int64
	// live is set where the replica follows the primary while it is read.
	live bool
	// snapshot is what the primary's rows were visible in when the copy was made, "" unknown.
	snapshot string
	// conflicts are rows whose repair is put off to the end, late is set then.
	conflicts map[string]pair
	late      bool
}

func newComparison(v *verification, p, r *feed.Table, report *TableReport) *comparison {
	c := &comparison{v: v, report: report, rows: v.estimate(p), live: v.applied != nil || r.Kind == 'f'}
	c.primary = &side{server: v.run.Primary, conn: v.primary, table: p, where: v.run.Selection.Where(p.Schema, p.Name), hash: v.hash}
	c.primary.heirs = r.Kind == 'f' // read through, a table comes with them
	c.replica = &side{server: v.run.Target, conn: v.target, table: r, hash: v.hash}
	for i := range p.Columns {
		col := &p.Columns[i]
		have := r.Column(col.Name)
		switch {
		case have == nil:
			report.Columns = append(report.Columns, col.Name+" is not there")
		case have.Type != col.Type:
			report.Columns = append(report.Columns, col.Name+" is "+have.Type+" there and not "+col.Type)
		default:
			c.primary.columns = append(c.primary.columns, col)
		}
	}
	if len(report.Columns) > 0 {
		report.Note = "see the drift that pgshunt feed status shows"
	}
	c.replica.columns = c.primary.columns
	c.primary.key = c.key()
	c.replica.key = c.primary.key
	return c
}

// estimate is how many rows the primary's table has with its partitions, -1 if nobody knows.
func (v *verification) estimate(p *feed.Table) int64 {
	if p.Kind != 'p' {
		return p.Rows
	}
	rows := int64(0)
	for _, t := range v.tables {
		if t.Partition() && t.ParentSchema == p.Schema && t.ParentName == p.Name {
			one := v.estimate(t)
			if one < 0 {
				return -1
			}
			rows += one
		}
	}
	return rows
}

// key is what tells rows apart on both servers.
func (c *comparison) key() []*feed.Column {
	p := c.primary.table
	for _, names := range [][]string{p.PrimaryKey, p.IdentityColumns} {
		var key []*feed.Column
		for _, name := range names {
			i := slices.IndexFunc(c.primary.columns, func(col *feed.Column) bool { return col.Name == name })
			if i < 0 || !c.primary.columns[i].NotNull {
				key = nil
				break
			}
			key = append(key, c.primary.columns[i])
		}
		if key != nil {
			return key
		}
	}
	return nil
}

// walks tells whether both servers can go through the table by ranges of its key. A foreign
// table can with one column: a comparison of several is not left to the primary.
func (c *comparison) walks() bool {
	r := c.replica.table
	var names []string
	for _, col := range c.primary.key {
		names = append(names, col.Name)
	}
	switch {
	case names == nil:
		return false
	case r.Kind == 'f':
		return len(names) == 1
	}
	return slices.Equal(r.PrimaryKey, names) || slices.Equal(r.IdentityColumns, names)
}

// errOrder means that the replica sorts keys in another order than the primary.
var errOrder = errors.New("the servers sort keys differently")

func (c *comparison) run(ctx context.Context) error {
	if !c.live {
		if err := c.loadSnapshot(ctx); err != nil {
			return err
		}
	}
	if c.walks() {
		if err := c.plan(ctx, "off"); err != nil {
			return err
		}
		err := c.ranges(ctx)
		if err == nil {
			return c.repairConflicts(ctx)
		}
		if !errors.Is(err, errOrder) {
			return err
		}
		*c.report = TableReport{Schema: c.report.Schema, Name: c.report.Name, Newer: c.report.Newer, Columns: c.report.Columns, Note: err.Error()}
	}
	if err := c.plan(ctx, "on"); err != nil {
		return err
	}
	if err := c.buckets(ctx); err != nil {
		return err
	}
	return c.repairConflicts(ctx)
}

// plan keeps the planner from reading a whole table for one range of it, however wrong its
// statistics are; or lets it.
func (c *comparison) plan(ctx context.Context, whole string) error {
	for _, s := range []*side{c.primary, c.replica} {
		if _, err := s.conn.Exec(ctx, "SET enable_seqscan = "+whole+"; SET enable_sort = "+whole); err != nil {
			return s.failed("prepare to read", err)
		}
	}
	return nil
}

// part is a set of rows, the same on both servers: of each the condition over t, and the one
// over key and hash.
type part struct {
	span          Range
	primary, over string
	replica       string
	low, high     []string
}

// ranges goes through the table by its key.
func (c *comparison) ranges(ctx context.Context) error {
	size := c.v.opts.RangeRows
	if size == 0 {
		size = firstRows
	}
	var low []string
	for {
		high, err := c.boundary(ctx, low, size)
		if err != nil {
			return err
		}
		if low != nil && high != nil {
			var ordered bool
			if err := c.replica.conn.QueryRow(ctx, "SELECT "+c.replica.keyValues(low)+" < "+c.replica.keyValues(high), direct).Scan(&ordered); err != nil {
				return c.replica.failed("compare keys of", err)
			} else if !ordered {
				return errOrder
			}
		}
		one := part{primary: c.primary.between(low, high), replica: c.replica.between(low, high), low: low, high: high}
		one.span = Range{From: show(low), To: show(high)}
		p, r, err := c.both(ctx, &one)
		if err != nil {
			return err
		}
		c.count(p, r)
		if p.rows != r.rows || p.hash != r.hash {
			if err := c.differs(ctx, one); err != nil {
				return err
			}
		}
		c.tell(feed.StatusProgress)
		if high == nil {
			return nil
		}
		low = high
		if c.v.opts.RangeRows == 0 {
			size = int(max(1, min(rangeRows, 10*int64(size), rangeBytes/max(1, p.bytes/max(1, p.rows)))))
		}
	}
}

// boundary is the key of the n-th row after low; nil where there are no more.
func (c *comparison) boundary(ctx context.Context, low []string, n int) (high []string, err error) {
	s := c.primary
	var where []string
	if low != nil {
		where = append(where, s.between(low, nil))
	}
	if s.where != "" {
		where = append(where, "("+s.where+")")
	}
	query := "SELECT " + s.keyText() + " FROM " + s.from()
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	order := strings.Trim(s.keyColumns(), "()")
	rows, err := s.conn.Query(ctx, fmt.Sprintf("%s ORDER BY %s OFFSET %d LIMIT 1", query, order, n-1), direct)
	if err != nil {
		return nil, s.failed("read the keys of", err)
	}
	for rows.Next() {
		if err := rows.Scan(&high); err != nil {
			return nil, err
		}
	}
	return high, s.failed("read the keys of", rows.Err())
}

// both reads the sums of a part on both servers at once.
func (c *comparison) both(ctx context.Context, one *part) (p, r sums, err error) {
	err = together(
		func() (err error) { p, err = c.primary.sums(ctx, one.primary); return err },
		func() (err error) { r, err = c.replica.sums(ctx, one.replica); return err })
	return p, r, err
}

// together does two things at once, on two connections.
func together(a, b func() error) error {
	done := make(chan error, 1)
	go func() { done <- b() }()
	err := a()
	if other := <-done; err == nil {
		err = other
	}
	return err
}

func (c *comparison) count(p, r sums) {
	c.report.Primary += p.rows
	c.report.Replica += r.rows
	c.report.Bytes += p.bytes
	c.report.Ranges++
}

// buckets goes through a table that has no key to go by: each row belongs to a bucket by its
// hash, and those whose sums differ are read once more.
func (c *comparison) buckets(ctx context.Context) error {
	n := 1
	for n < maxBuckets && (c.rows < 0 || int64(n)*bucketRows < c.rows) {
		n *= 2
	}
	var p, r []sums
	err := together(
		func() (err error) { p, err = c.primary.buckets(ctx, n); return err },
		func() (err error) { r, err = c.replica.buckets(ctx, n); return err })
	if err != nil {
		return err
	}
	var some []string
	var rows int64
	look := func() error {
		if len(some) == 0 {
			return nil
		}
		over := c.primary.bucket(n) + " IN (" + strings.Join(some, ", ") + ")"
		some, rows = nil, 0
		return c.differs(ctx, part{over: over})
	}
	for i := range p {
		c.count(p[i], r[i])
		if p[i].rows == r[i].rows && p[i].hash == r[i].hash {
			continue
		}
		some = append(some, fmt.Sprint(i))
		if rows += max(p[i].rows, r[i].rows); rows >= 2*rangeRows {
			if err := look(); err != nil {
				return err
			}
			c.tell(feed.StatusProgress)
		}
	}
	return look()
}

func (c *comparison) tell(status feed.Status) {
	c.v.run.Tell(feed.Event{
		Status: status, Step: "compare", Table: c.primary.table.Plain(), Rows: c.report.Primary, TotalRows: max(c.rows, 0),
		Bytes: c.report.Bytes, TablesDone: len(c.v.report.Tables), TablesTotal: c.v.total,
	})
}

// show is a key for people.
func show(values []string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	return "(" + strings.Join(values, ", ") + ")"
}
