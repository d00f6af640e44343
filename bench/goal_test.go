package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestTheMedianDecidesOnAGoal(t *testing.T) {
	nan := figure(math.NaN())
	for _, c := range []struct {
		goal goal
		want string
	}{
		{atLeast("tps", spread{1, 0.9, 1.3}, 1, "%.2f"), "tps 1.00 ≥ 1.00 met"},
		{atLeast("tps", spread{0.99, 0.9, 1.3}, 1, "%.2f"), "tps 0.99 ≥ 1.00 missed"},
		{atLeast("tps", spread{0.998, 0.9, 1.3}, 1, "%.2f"), "tps 1.00 ≥ 1.00 just missed"},
		{atMost("CPU", spread{1.2, 1, 2}, 1.2, "%.2f"), "CPU 1.20 ≤ 1.20 met"},
		{atMost("CPU", spread{1.21, 1, 2}, 1.2, "%.2f"), "CPU 1.21 ≤ 1.20 missed"},
		{atMost("CPU", spread{nan, nan, nan}, 1.2, "%.2f"), "CPU failed ≤ 1.20 not measured"},
		{atLeast("tps", spread{nan, nan, nan}, 1, "%.2f"), "tps failed ≥ 1.00 not measured"},
	} {
		if got := c.goal.String(); got != c.want || c.goal.Met != strings.HasSuffix(c.want, " met") {
			t.Errorf("got %q (%v), want %q", got, c.goal.Met, c.want)
		}
	}
}

func TestGoalsOfSelects(t *testing.T) {
	c := &comparison{cell: cell{name: "simple 8"}, series: []series{
		{endpoint: directName, rates: []float64{100, 100}},
		{endpoint: haproxyName, rates: []float64{50, 50}, costs: []float64{1, 1}},
		{endpoint: pgpoolName, rates: []float64{50, 50}, costs: []float64{30, 30}},
		{endpoint: bouncerName, rates: []float64{80, 80}, costs: []float64{10, 10}},
		{endpoint: shuntName, rates: []float64{88, 72}, costs: []float64{15, 10}},
	}}
	rows := c.rows()
	setSelectGoals(rows, c, 8)
	for i, want := range []string{
		"", "", "CPU / pgshunt 2.50 ≥ 1.50 met", "", "tps 1.00 ≥ 1.00 met; CPU 1.25 ≤ 1.20 missed",
	} {
		if got := goalsText(rows[i].Goals); got != want {
			t.Errorf("%s: got %q, want %q", rows[i].Endpoint, got, want)
		}
	}
	rows = c.rows()
	setSelectGoals(rows, c, 1)
	if got := goalsText(rows[4].Goals); got != "tps 1.00 ≥ 1.00 met" {
		t.Errorf("one client: got %q; the bound on CPU is for 8 and more", got)
	}
}

func TestReportsSumUpTheirGoals(t *testing.T) {
	rep := &report{Tables: []*table{
		{Rows: []row{
			{Cell: "simple 8", Endpoint: shuntName, Goals: []goal{atLeast("tps", spread{0.5, 0.4, 0.6}, 1, "%.2f")}},
			{Cell: "simple 8", Endpoint: pgpoolName, Goals: []goal{atLeast("CPU / pgshunt", spread{2, 2, 2}, 1.5, "%.2f")}},
		}},
		{Idle: []idleRow{{Endpoint: shuntName, Clients: 10_000, Goals: []goal{atMost("MB", spread{150, 150, 150}, 100, "%.0f")}}}},
	}}
	var out strings.Builder
	rep.printGoals(&out)
	want := "\nGoals: 1 of 3 met.\n- simple 8, pgshunt: tps 0.50 ≥ 1.00 missed (0.40-0.60)\n" +
		"- 10000 idle clients, pgshunt: MB 150 ≤ 100 missed (150-150)\n"
	if out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
	text, err := json.Marshal(rep)
	if err != nil || !strings.Contains(string(text), `{"what":"tps","got":{"median":0.5,"min":0.4,"max":0.6},"bound":1,"at_most":false,"met":false}`) {
		t.Errorf("got %s and %v", text, err)
	}
}
