package main

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// cell is one line of a table: work that is done over each endpoint in turn.
type cell struct {
	name string
	// mark is added to PgBouncer's figure, for a note below the table.
	mark string
	// round does the work once.
	round func(ctx context.Context, e *endpoint) (sample, error)
}

// sample is one round over one endpoint.
type sample struct {
	rate float64 // in the unit of the table's rates
	work float64 // what the CPU time is divided by
}

// comparison is a cell measured.
type comparison struct {
	Cell      string `json:"cell"`
	Mark      string `json:"-"`
	Direct    figure `json:"direct"`
	Pgbouncer figure `json:"pgbouncer"`
	Pgshunt   figure `json:"pgshunt"`
	// Ratio is pgshunt / pgbouncer, OfDirect pgshunt / direct, both by rounds.
	Ratio    spread `json:"pgshunt_over_pgbouncer"`
	OfDirect spread `json:"pgshunt_over_direct"`
	// The CPU time of the proxies for each unit of work.
	PgbouncerCost figure `json:"pgbouncer_cpu"`
	PgshuntCost   figure `json:"pgshunt_cpu"`
	CostRatio     spread `json:"cpu_ratio"`
	Failed        int    `json:"failed_rounds"`
}

// series holds one value for each round, NaN where the round failed.
type series struct{ rates, costs []float64 }

// compare runs a cell in rounds over the three endpoints, another one first each
// time. costScale turns CPU seconds into the unit of the table's costs. A failed
// round is reported and left out; the error is only for the end of everything.
func compare(ctx context.Context, r *rig, c cell, rounds int, costScale float64) (comparison, error) {
	const direct, bouncer, shunt = 0, 1, 2
	all := make([]series, len(r.endpoints))
	failed := 0
	for round := range rounds {
		for i := range r.endpoints {
			n := (round + i) % len(r.endpoints)
			e := r.endpoints[n]
			rate, cost, err := measured(ctx, c, e, costScale)
			if ctx.Err() != nil {
				return comparison{}, ctx.Err()
			}
			if err != nil {
				failed++
				progress("%s, round %d over %s failed and is not counted: %v", c.name, round+1, e.name, err)
			}
			all[n].rates, all[n].costs = append(all[n].rates, rate), append(all[n].costs, cost)
		}
	}
	median := func(values []float64) figure { return spreadOf(values).Median }
	res := comparison{
		Cell: c.name, Mark: c.mark, Failed: failed,
		Direct: median(all[direct].rates), Pgbouncer: median(all[bouncer].rates), Pgshunt: median(all[shunt].rates),
		Ratio:         spreadOf(ratios(all[shunt].rates, all[bouncer].rates)),
		OfDirect:      spreadOf(ratios(all[shunt].rates, all[direct].rates)),
		PgbouncerCost: median(all[bouncer].costs), PgshuntCost: median(all[shunt].costs),
		CostRatio: spreadOf(ratios(all[shunt].costs, all[bouncer].costs)),
	}
	progress("%s: pgshunt / pgbouncer %s, CPU %s", c.name, res.Ratio.Median.format("%.2f"), res.CostRatio.Median.format("%.2f"))
	return res, nil
}

// measured does one round and returns its rate and the cost of the proxy.
func measured(ctx context.Context, c cell, e *endpoint, costScale float64) (rate, cost float64, err error) {
	nan := math.NaN()
	if e.proc != nil {
		select {
		case <-e.proc.done:
			return nan, nan, fmt.Errorf("%s has ended", e.name)
		default:
		}
	}
	before, err := e.proc.cpuTime()
	if err != nil {
		return nan, nan, err
	}
	s, err := c.round(ctx, e)
	if err != nil {
		return nan, nan, err
	}
	after, err := e.proc.cpuTime()
	if err != nil {
		return nan, nan, err
	}
	return s.rate, (after - before).Seconds() / s.work * costScale, nil
}

// spread is a median with its extremes.
type spread struct {
	Median figure `json:"median"`
	Min    figure `json:"min"`
	Max    figure `json:"max"`
}

// spreadOf leaves out what was not measured (NaN); of nothing it is nothing.
func spreadOf(values []float64) spread {
	known := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(known) == 0 {
		nan := figure(math.NaN())
		return spread{nan, nan, nan}
	}
	slices.Sort(known)
	mid := len(known) / 2
	median := known[mid]
	if len(known)%2 == 0 {
		median = (known[mid-1] + known[mid]) / 2
	}
	return spread{figure(median), figure(known[0]), figure(known[len(known)-1])}
}

// ratios divides round by round; a round that lacks one of both has none.
func ratios(over, under []float64) []float64 {
	out := make([]float64, len(over))
	for i := range over {
		out[i] = over[i] / under[i]
		if under[i] == 0 {
			out[i] = math.NaN()
		}
	}
	return out
}
