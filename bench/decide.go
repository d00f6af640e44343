package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// decisionRow is one text to route: the decision with the text in the cache, as a session
// of package proxy asks for it, and as the benchmarks of package parser measure it the
// decision without, and pg_query's own time for it.
type decisionRow struct {
	Text     string  `json:"text"`
	Cached   spread  `json:"cached_ns"`
	Allocs   float64 `json:"cached_allocations"`
	Uncached spread  `json:"uncached_ns"`
	Parse    spread  `json:"pg_query_ns"`
	Ratio    spread  `json:"uncached_over_pg_query"`
	Goals    []goal  `json:"goals"`
}

const (
	benchCached   = "Cached"
	benchUncached = "Uncached"
	benchParse    = "Parse"
)

// measureDecisions runs the benchmarks of decisions in rounds. They need no server.
func measureDecisions(ctx context.Context, r *rig, o options) ([]*table, error) {
	packages := []string{"parser", "proxy"}
	for _, p := range packages {
		if _, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", filepath.Join(r.dir, p+".test"), "pgshunt/"+p).Output(); err != nil {
			return nil, fmt.Errorf("building the benchmarks of decisions: %w", explain(err))
		}
	}
	var all benchSeries
	for range o.rounds {
		for _, p := range packages {
			cmd := exec.CommandContext(ctx, filepath.Join(r.dir, p+".test"), "-test.run=^$", "-test.bench=^BenchmarkDecision", "-test.benchtime=50ms")
			cmd.SysProcAttr = helperAttr()
			out, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("benchmarks of decisions: %w", explain(err))
			}
			if err := all.add(string(out)); err != nil {
				return nil, err
			}
		}
	}
	t := &table{Title: "A routing decision (facts of the text, and where it goes)", Decisions: []decisionRow{}}
	t.note("pg_query is its Parse alone, in Go, of the same texts.")
	for _, text := range all.texts {
		row := all.row(text)
		progress("decision, %s: cached %s ns, uncached / pg_query %s", text, row.Cached.Median.format("%.0f"), row.Ratio.Median.format("%.2f"))
		t.Decisions = append(t.Decisions, row)
	}
	return []*table{t}, nil
}

// benchSeries holds what rounds of `go test -bench` have printed.
type benchSeries struct {
	texts  []string                // in their order
	times  map[[2]string][]float64 // nanoseconds by benchmark and text
	allocs map[[2]string]float64   // the most
}

var benchLine = regexp.MustCompile(`(?m)^BenchmarkDecision(\w+)/(\S+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op\s.*?(\d+) allocs/op`)

// add reads one round.
func (s *benchSeries) add(out string) error {
	lines := benchLine.FindAllStringSubmatch(out, -1)
	if lines == nil {
		return fmt.Errorf("benchmarks of decisions: unexpected output %q", out)
	}
	if s.times == nil {
		s.times, s.allocs = make(map[[2]string][]float64), make(map[[2]string]float64)
	}
	for _, line := range lines {
		key := [2]string{line[1], line[2]}
		time, err1 := strconv.ParseFloat(line[3], 64)
		allocs, err2 := strconv.ParseFloat(line[4], 64)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		s.times[key], s.allocs[key] = append(s.times[key], time), math.Max(s.allocs[key], allocs)
		if !slices.Contains(s.texts, key[1]) {
			s.texts = append(s.texts, key[1])
		}
	}
	return nil
}

// row sums up a text, with its goals.
func (s *benchSeries) row(text string) decisionRow {
	cached, uncached, parse := [2]string{benchCached, text}, [2]string{benchUncached, text}, [2]string{benchParse, text}
	row := decisionRow{
		Text: text, Cached: spreadOf(s.times[cached]), Allocs: s.allocs[cached],
		Uncached: spreadOf(s.times[uncached]), Parse: spreadOf(s.times[parse]),
		Ratio: spreadOf(ratios(s.times[uncached], s.times[parse])),
	}
	row.Goals = []goal{
		atMost("ns", row.Cached, 300, "%.0f"),
		atMost("allocations", spreadOf([]float64{row.Allocs}), 0, "%.0f"),
		atMost("/ pg_query", row.Ratio, 1.3, "%.2f"),
	}
	return row
}

func (t *table) decisions() *grid {
	g := &grid{words: 1, remarks: true}
	g.add("text", "cached ns", "allocations", "uncached µs", "pg_query µs", "/ pg_query", "goals")
	for _, row := range t.Decisions {
		g.add(row.Text, row.Cached.format("%.0f"), figure(row.Allocs).format("%.0f"), (row.Uncached.Median / 1e3).format("%.1f"),
			(row.Parse.Median / 1e3).format("%.1f"), row.Ratio.format("%.2f"), goalsText(row.Goals))
	}
	return g
}
