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
				return sample{rate: res.tps, work: float64(res.transactions)}, err
			}
			c.round = func(ctx context.Context, e *endpoint) (sample, error) { return round(ctx, e, o.seconds) }
			for _, e := range r.endpoints {
				if err := warmUp(func(seconds int) error {
					_, err := round(ctx, e, seconds)
					return err
				}); err != nil {
					return nil, fmt.Errorf("%s over %s: %w", c.name, e.name, err)
				}
			}
			res, err := compare(ctx, r.endpoints, c, o.rounds, micro)
			if err != nil {
				return nil, err
			}
			rows := res.rows()
			setSelectGoals(rows, res, clients)
			t.Rows = append(t.Rows, rows...)
		}
	}
	return []*table{t}, nil
}

// warmUp runs a second of work for the pools to fill, which also shows what does not
// work at all. A busy machine may need more to log everybody in.
func warmUp(work func(seconds int) error) error {
	if work(1) == nil {
		return nil
	}
	return work(5)
}

// setSelectGoals: as fast as PgBouncer and, where the proxy has enough to do for its
// cost to show, little dearer; much cheaper than what parses and routes too. haproxy
// has no goal: it forwards bytes and does nothing that a pooler does.
func setSelectGoals(rows []row, c *comparison, clients int) {
	const form = "%.2f"
	setGoals(rows, shuntName, atLeast("tps", c.rateOver(shuntName, bouncerName), 1, form))
	if clients >= 8 {
		setGoals(rows, shuntName, atMost("CPU", c.costOver(shuntName, bouncerName), 1.2, form))
	}
	setGoals(rows, pgpoolName, atLeast("CPU / pgshunt", c.costOver(pgpoolName, shuntName), 1.5, form))
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
		return sample{rate: res.tps, work: float64(res.transactions)}, err
	}}
	res, err := compare(ctx, r.endpoints, c, o.rounds, micro)
	if err != nil {
		return nil, err
	}
	t.Rows = res.rows()
	setGoals(t.Rows, shuntName, atLeast("conn/s", res.rateOver(shuntName, bouncerName), 0.8, "%.2f"))
	return []*table{t}, nil
}
