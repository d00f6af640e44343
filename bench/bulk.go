package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// bulk is a statement that moves much data, in a large and a small size.
type bulk struct {
	name string
	move func(t *transfer, size bulkSize) (bytes int64, err error)
}

// bulkSize is how much a statement moves.
type bulkSize struct {
	copies int   // of pgbench_accounts, about 0.1 GB each
	limit  int   // rows of all of it
	bytes  int64 // of COPY FROM STDIN
}

var (
	gigabyte = bulkSize{copies: 10, limit: 10_000_000, bytes: 1_000_000_000}
	megabyte = bulkSize{copies: 1, limit: 10_000, bytes: 1_000_000}
)

// bulkSink takes the rows that are sent and, as they are all filtered out, keeps none:
// its disk is not what we measure.
const bulkSink = "CREATE UNLOGGED TABLE IF NOT EXISTS bulk_sink (LIKE pgbench_accounts)"

var bulks = []bulk{
	{"SELECT", func(t *transfer, s bulkSize) (int64, error) { return t.fetch(s.query()) }},
	{"COPY TO STDOUT", func(t *transfer, s bulkSize) (int64, error) { return t.fetch("COPY (" + s.query() + ") TO STDOUT") }},
	{"COPY FROM STDIN", func(t *transfer, s bulkSize) (int64, error) {
		return t.send("COPY bulk_sink FROM STDIN WHERE false", bulkRows(), s.bytes)
	}},
}

func (s bulkSize) query() string {
	return fmt.Sprintf("SELECT a.* FROM pgbench_accounts a, generate_series(1, %d) LIMIT %d", s.copies, s.limit)
}

// bulkRows are rows as pgbench_accounts has them, in COPY's text form.
func bulkRows() []byte {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "%d\t%d\t0\t%-84s\n", 500_000+i, 1+i%10, "")
	}
	return []byte(b.String())
}

// measureBulk moves a gigabyte by SELECT and by COPY in both directions, and beside
// each a megabyte, to compare the memory that the proxy takes. It leaves out the other
// peers, for which no goal is set here, to save their time.
func measureBulk(ctx context.Context, r *rig, o options) ([]*table, error) {
	endpoints := r.named(directName, bouncerName, shuntName)
	if _, err := r.client(ctx, r.psql, endpoints[0], database, "-qXc", "SET client_min_messages = warning; "+bulkSink); err != nil {
		return nil, err
	}
	t := &table{
		Title: "Bulk transfer (1 GB in one statement, rows of pgbench_accounts)", Cell: "statement",
		Rate: "MB/s", RateForm: "%.0f", Cost: "CPU s/GB", CostForm: "%.2f", Memory: true,
	}
	t.note("MB and GB are those on the wire. The client counts bytes and forgets them; the server filters out what it is sent.")
	t.note("Peak is the highest resident memory of the proxy; / 1 MB compares with the same statement for 1 MB.")
	for _, b := range bulks {
		c := cell{name: b.name, memory: true, round: func(ctx context.Context, e *endpoint) (sample, error) {
			return bulkRound(ctx, e, b)
		}}
		res, err := compare(ctx, endpoints, c, o.rounds, 1)
		if err != nil {
			return nil, err
		}
		rows := res.rows()
		setBulkGoals(rows, res)
		t.Rows = append(t.Rows, rows...)
	}
	return []*table{t}, nil
}

func setBulkGoals(rows []row, c *comparison) {
	const form = "%.2f"
	s := c.of(shuntName)
	setGoals(rows, shuntName,
		atLeast("MB/s of direct", c.rateOver(shuntName, directName), 0.95, form),
		atMost("CPU s/GB", spreadOf(s.costs), 1.5, form),
		// No more memory: the twentieth is for what a heap does by itself.
		atMost("peak / 1 MB", spreadOf(ratios(s.peaks, s.smallPeaks)), 1.05, form))
}

// bulkRound moves a megabyte and then a gigabyte, over a connection each. The CPU time
// is that of both, over the bytes of both; the rate is that of the gigabyte.
func bulkRound(ctx context.Context, e *endpoint, b bulk) (sample, error) {
	small, _, smallPeak, err := bulkOnce(ctx, e, b, megabyte)
	if err != nil {
		return sample{}, err
	}
	large, took, peak, err := bulkOnce(ctx, e, b, gigabyte)
	return sample{
		rate: float64(large) / 1e6 / took.Seconds(), work: float64(small+large) / 1e9,
		peak: float64(peak) / 1e6, smallPeak: float64(smallPeak) / 1e6,
	}, err
}

func bulkOnce(ctx context.Context, e *endpoint, b bulk, size bulkSize) (bytes int64, took time.Duration, peak int64, err error) {
	if err := e.proc.resetPeak(); err != nil {
		return 0, 0, 0, err
	}
	t, err := openTransfer(ctx, e)
	if err != nil {
		return 0, 0, 0, err
	}
	defer t.close()
	started := time.Now()
	if bytes, err = b.move(t, size); err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w", b.name, err)
	}
	took = time.Since(started)
	peak, err = e.proc.peakBytes()
	return bytes, took, peak, err
}
