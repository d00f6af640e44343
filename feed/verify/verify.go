package verify

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/schema"
)

const (
	defaultKeys     = 20
	defaultLimit    = 10000
	defaultPatience = time.Minute
)

// Run compares the fed tables on both servers and, with opts.Repair, mends the replica's. It
// returns a report also where tables could not be compared; the error is for what ended it
// before its time. run.Print repairs nothing and says how much would be.
func Run(ctx context.Context, run *feed.Run, opts Options) (Report, error) {
	if opts.Keys == 0 {
		opts.Keys = defaultKeys
	}
	if opts.Limit == 0 {
		opts.Limit = defaultLimit
	}
	if opts.Patience == 0 {
		opts.Patience = defaultPatience
	}
	began := time.Now()
	v := &verification{run: run, opts: opts, report: Report{Replica: run.Replica.Name, Feed: string(run.Replica.Feed), Tables: []TableReport{}}}
	err := v.all(ctx)
	v.report.Took = time.Since(began)
	return v.report, err
}

// verification is one run of Run.
type verification struct {
	run             *feed.Run
	opts            Options
	primary, target *pgx.Conn
	hash            func(string) string
	applied         *applied      // nil where the replica stands still or is read through
	tables          []*feed.Table // of the primary, with partitions
	report          Report
	total           int // tables
}

func (v *verification) all(ctx context.Context) (err error) {
	if v.primary, err = v.run.Primary.Connect(ctx); err != nil {
		return err
	}
	defer v.primary.Close(context.WithoutCancel(ctx))
	if v.target, err = v.run.Target.Connect(ctx); err != nil {
		return err
	}
	defer v.target.Close(context.WithoutCancel(ctx))
	if v.opts.Repair {
		if err := v.run.Lock(ctx, v.target); err != nil {
			return err
		}
		if err := v.follows(ctx); err != nil {
			return err
		}
	}
	if err := v.prepare(ctx); err != nil {
		return err
	}
	primary, err := v.run.Tables(ctx, v.primary)
	if err != nil {
		return &feed.Error{Server: v.run.Primary.Name, Doing: "read the tables", Err: err}
	}
	known := feed.Index(primary)
	replica, err := feed.Tables(ctx, v.target, func(schema, name string) bool {
		return known[schema+"."+name] != nil || v.run.Selection.Has(schema, name)
	})
	if err != nil {
		return &feed.Error{Server: v.run.Target.Name, Doing: "read the tables", Err: err}
	}
	there := feed.Index(replica)
	asked := func(t *feed.Table) bool {
		return len(v.opts.Tables) == 0 || v.opts.Tables.MatchQualified(t.Schema, t.Name)
	}
	for _, t := range replica {
		if known[t.Plain()] == nil && asked(t) {
			v.report.Only = append(v.report.Only, t.Plain())
		}
	}
	listed := slices.DeleteFunc(schema.Listed(v.run, primary), func(t *feed.Table) bool {
		whole := t.ParentSchema + "." + t.ParentName
		return !asked(t) || t.Partition() && known[whole] != nil && asked(known[whole]) && there[whole] != nil
	})
	if len(listed) == 0 {
		return &feed.Error{
			Server: v.run.Primary.Name, Doing: "look for the tables to compare", Err: errors.New("none is fed that is asked for"),
			Next: "see replicas[].tables, and the patterns of the command",
		}
	}
	if v.opts.Repair && !slices.ContainsFunc(listed, func(t *feed.Table) bool { r := there[t.Plain()]; return r == nil || r.Kind != 'f' }) {
		return errors.New("nothing is to be repaired: " + v.run.Replica.Name + " reads the primary itself through foreign tables")
	}
	v.tables, v.total = primary, len(listed)
	for _, p := range listed {
		one, err := v.table(ctx, p, there[p.Plain()])
		v.report.Tables = append(v.report.Tables, one)
		v.report.Rows, v.report.Bytes, v.report.Ranges = v.report.Rows+one.Primary, v.report.Bytes+one.Bytes, v.report.Ranges+one.Ranges
		if err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the connections fit for reading: the primary's cannot write, takes one
// process for each query; and finds the hash that both can compute.
func (v *verification) prepare(ctx context.Context) error {
	const reading = "SET max_parallel_workers_per_gather = 0; SET jit = off"
	probe := [2]struct {
		hash     int64
		encoding string
	}{}
	for i, c := range []struct {
		server *feed.Server
		conn   *pgx.Conn
		set    string
	}{{v.run.Primary, v.primary, reading + "; SET default_transaction_read_only = on"}, {v.run.Target, v.target, reading}} {
		_, err := c.conn.Exec(ctx, c.set)
		if err == nil {
			err = c.conn.QueryRow(ctx, `SELECT hashtextextended('pgshunt 0123456789 abcdefghijklmnop' COLLATE "C", 0), current_setting('server_encoding')`).
				Scan(&probe[i].hash, &probe[i].encoding)
		}
		if err != nil {
			return &feed.Error{Server: c.server.Name, Doing: "prepare to compare", Err: err}
		}
	}
	v.hash = hashAny
	if probe[0] == probe[1] {
		v.hash = hashFast
	}
	var at string
	if err := v.primary.QueryRow(ctx, "SELECT "+currentLSN+"::text").Scan(&at); err != nil {
		return &feed.Error{Server: v.run.Primary.Name, Doing: "read the LSN", Err: err}
	}
	v.report.LSN = at
	if v.run.Replica.Feed != configs.FeedLogical {
		return nil
	}
	var err error
	if v.applied, err = newApplied(ctx, v); err != nil {
		return err
	}
	// What it has still to apply would all look different.
	return v.applied.wait(ctx, nil)
}

// table compares one table. The error is one that ends the whole; what concerns this table
// alone is in its report.
func (v *verification) table(ctx context.Context, p, r *feed.Table) (TableReport, error) {
	began := time.Now()
	one := TableReport{Schema: p.Schema, Name: p.Name, Newer: -1}
	if state, note := v.fit(p, r); state != "" {
		one.State, one.Note = state, note
		v.run.Note("", "%s is not compared: %s", p.Plain(), note)
		return one, nil
	}
	c := newComparison(v, p, r, &one)
	c.tell(feed.StatusStart)
	err := c.run(ctx)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && ctx.Err() == nil && !v.primary.IsClosed() && !v.target.IsClosed():
		one.State, one.Note = Failed, err.Error()
		err = nil
	case err == nil:
		one.State = one.verdict()
		c.explain()
	default:
		one.State = Failed
	}
	one.Took = time.Since(began)
	c.tell(feed.StatusDone)
	return one, err
}

// fit tells why a table cannot be compared; "" if it can.
func (v *verification) fit(p, r *feed.Table) (state, note string) {
	switch {
	case r == nil:
		return Missing, "the replica has no such table; run pgshunt feed apply"
	case p.Kind == 'f':
		return Skipped, "a foreign table on the primary"
	case v.applied == nil:
		return "", ""
	case p.Unlogged:
		return Skipped, "an unlogged table, which is not replicated"
	}
	return v.applied.fit(p)
}

// verdict is the state that follows from what was counted.
func (r *TableReport) verdict() string {
	switch {
	case r.Rows() > 0 || len(r.Differing) > 0 || len(r.Columns) > 0:
		return Differs
	case r.Unsettled > 0:
		return Unsettled
	}
	return Equal
}
