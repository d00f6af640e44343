package main

import (
	"context"
	"fmt"
	"strconv"
)

const micro = 1e6

// measureSelects runs pgbench -S with each protocol and number of clients.
func measureSelects(ctx context.Context, r *rig, o options) ([]*table, error) {
	t := &table{
		Title: "Select-only transactions (pgbench -S)", Cell: "protocol, clients",
		Rate: "tps", RateForm: "%.0f", Cost: "CPU µs/txn", CostForm: "%.1f",
	}
	for _, protocol := range o.protocols {
		inSession := protocol == "prepared" && !r.bouncer.prepares
		if inSession {
			t.note("† PgBouncer %s cannot pool prepared statements; its prepared rows are in session mode, "+
				"where it does not look at them.", r.bouncer.version)
		}
		for _, clients := range o.clients {
			c := cell{name: fmt.Sprintf("%s %d", protocol, clients)}
			if inSession {
				c.mark = " †"
			}
			round := func(ctx context.Context, e *endpoint, seconds int) (sample, error) {
				db := database
				if inSession && e.name == bouncerName {
					db = sessionDatabase
				}
				res, err := r.runPgbench(ctx, e, db, seconds, "-M", protocol, "-c", strconv.Itoa(clients))
				return sample{res.tps, float64(res.transactions)}, err
			}
			c.round = func(ctx context.Context, e *endpoint) (sample, error) { return round(ctx, e, o.seconds) }
			// A second each for the pools to fill, which also shows what does not work at all.
			for _, e := range r.endpoints {
				if _, err := round(ctx, e, 1); err != nil {
					return nil, fmt.Errorf("%s over %s: %w", c.name, e.name, err)
				}
			}
			res, err := compare(ctx, r.endpoints, c, o.rounds, micro)
			if err != nil {
				return nil, err
			}
			t.Rows = append(t.Rows, res.rows()...)
		}
	}
	return []*table{t}, nil
}

// measureConnects runs pgbench -C, which connects for every transaction.
func measureConnects(ctx context.Context, r *rig, o options) ([]*table, error) {
	t := &table{
		Title: "A connection for each transaction (pgbench -C -S, 8 clients)", Cell: "protocol, clients",
		Rate: "conn/s", RateForm: "%.0f", Cost: "CPU µs/conn", CostForm: "%.1f",
	}
	t.note("The direct connection pays for a server process each time; a pooler hands out one that is there.")
	c := cell{name: "simple 8", round: func(ctx context.Context, e *endpoint) (sample, error) {
		res, err := r.runPgbench(ctx, e, database, o.seconds, "-C", "-M", "simple", "-c", "8")
		return sample{res.tps, float64(res.transactions)}, err
	}}
	res, err := compare(ctx, r.endpoints, c, o.rounds, micro)
	if err != nil {
		return nil, err
	}
	t.Rows = res.rows()
	return []*table{t}, nil
}
