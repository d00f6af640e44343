package main

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// cell is one group of lines in a table: work that is done over each endpoint in turn.
type cell struct {
	name string
	// mark is added to PgBouncer's figure, for a note below the table.
	mark string
	// memory says that rounds look at the memory of the proxy too.
	memory bool
	// round does the work once.
	round func(ctx context.Context, e *endpoint) (sample, error)
}

// sample is one round over one endpoint.
type sample struct {
	rate float64 // in the unit of the table's rates
	work float64 // what the CPU time is divided by
	// The most memory in MB that the proxy took, and for a small piece of the same work.
	peak, smallPeak float64
}

// comparison is a cell measured in rounds over several endpoints.
type comparison struct {
	cell   cell
	series []series // one for each endpoint, in their order
}

// series holds one value for each round of an endpoint, NaN where the round failed.
type series struct {
	endpoint          string
	rates, costs      []float64
	peaks, smallPeaks []float64
	failed            int
}

// compare runs a cell in rounds over all endpoints, another one first each time.
// costScale turns CPU seconds into the unit of the table's costs. A failed round is
// reported and left out; the error is only for the end of everything.
func compare(ctx context.Context, endpoints []*endpoint, c cell, rounds int, costScale float64) (*comparison, error) {
	res := &comparison{cell: c, series: make([]series, len(endpoints))}
	for round := range rounds {
		for i := range endpoints {
			n := (round + i) % len(endpoints)
			e, s := endpoints[n], &res.series[n]
			s.endpoint = e.name
			done, cost, err := measured(ctx, c, e, costScale)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				s.failed++
				progress("%s, round %d over %s failed and is not counted: %v", c.name, round+1, e.name, err)
				done = sample{rate: math.NaN(), peak: math.NaN(), smallPeak: math.NaN()}
			}
			s.rates, s.costs = append(s.rates, done.rate), append(s.costs, cost)
			s.peaks, s.smallPeaks = append(s.peaks, done.peak), append(s.smallPeaks, done.smallPeak)
		}
	}
	progress("%s: pgshunt / pgbouncer %s, CPU %s", c.name,
		res.rateOver(shuntName, bouncerName).Median.format("%.2f"), res.costOver(shuntName, bouncerName).Median.format("%.2f"))
	return res, nil
}

// of returns the series of an endpoint, which is empty where it was not measured.
func (c *comparison) of(name string) series {
	for _, s := range c.series {
		if s.endpoint == name {
			return s
		}
	}
	return series{}
}

// rateOver is the rate of one endpoint over that of another, round by round.
func (c *comparison) rateOver(name, base string) spread {
	return spreadOf(ratios(c.of(name).rates, c.of(base).rates))
}

// costOver is the same of their costs.
func (c *comparison) costOver(name, base string) spread {
	return spreadOf(ratios(c.of(name).costs, c.of(base).costs))
}

// row is a cell over one endpoint, as it is printed.
type row struct {
	Cell     string `json:"cell"`
	Endpoint string `json:"endpoint"`
	Mark     string `json:"-"`
	Rate     spread `json:"rate"`
	// The ratios are those within rounds.
	OfBouncer spread `json:"rate_over_pgbouncer"`
	OfDirect  spread `json:"rate_over_direct"`
	// Cost is the CPU time of the proxy for each unit of work; the direct connection has none.
	Cost          spread `json:"cpu"`
	CostOfBouncer spread `json:"cpu_over_pgbouncer"`
	// Peak is the memory of the proxy in MB, Growth its ratio to that of little work.
	Peak   spread `json:"peak_mb,omitzero"`
	Growth spread `json:"peak_over_small,omitzero"`
	Failed int    `json:"failed_rounds"`
	Goals  []goal `json:"goals,omitempty"`
}

// rows are a comparison's endpoints in their order.
func (c *comparison) rows() []row {
	out := make([]row, 0, len(c.series))
	for _, s := range c.series {
		r := row{
			Cell: c.cell.name, Endpoint: s.endpoint, Rate: spreadOf(s.rates), Cost: spreadOf(s.costs), Failed: s.failed,
			OfBouncer: c.rateOver(s.endpoint, bouncerName), OfDirect: c.rateOver(s.endpoint, directName),
			CostOfBouncer: c.costOver(s.endpoint, bouncerName),
		}
		if c.cell.memory && s.endpoint != directName {
			r.Peak, r.Growth = spreadOf(s.peaks), spreadOf(ratios(s.peaks, s.smallPeaks))
		}
		if s.endpoint == bouncerName {
			r.Mark = c.cell.mark
		}
		out = append(out, r)
	}
	return out
}

// setGoals gives the line of an endpoint its goals.
func setGoals(rows []row, endpoint string, goals ...goal) {
	for i := range rows {
		if rows[i].Endpoint == endpoint {
			rows[i].Goals = append(rows[i].Goals, goals...)
		}
	}
}

// measured does one round and returns it with the cost of the proxy, which is NaN
// where there is none.
func measured(ctx context.Context, c cell, e *endpoint, costScale float64) (done sample, cost float64, err error) {
	cost = math.NaN()
	if e.proc == nil {
		done, err = c.round(ctx, e)
		return done, cost, err
	}
	select {
	case <-e.proc.done:
		return done, cost, fmt.Errorf("%s has ended", e.name)
	default:
	}
	before, err := e.proc.cpuTime()
	if err != nil {
		return done, cost, err
	}
	if done, err = c.round(ctx, e); err != nil {
		return done, cost, err
	}
	after, err := e.proc.cpuTime()
	if err != nil {
		return done, cost, err
	}
	return done, (after - before).Seconds() / done.work * costScale, nil
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
	out := make([]float64, min(len(over), len(under)))
	for i := range out {
		out[i] = over[i] / under[i]
		if under[i] == 0 {
			out[i] = math.NaN()
		}
	}
	return out
}
