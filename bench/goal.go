package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// goal is a bound that was set for a figure before it was measured. The median decides.
type goal struct {
	What   string  `json:"what"`
	Got    spread  `json:"got"`
	Bound  float64 `json:"bound"`
	AtMost bool    `json:"at_most"` // else at least
	Met    bool    `json:"met"`

	verb string // how figure and bound are printed
}

func atLeast(what string, got spread, bound float64, verb string) goal {
	return goal{What: what, Got: got, Bound: bound, Met: float64(got.Median) >= bound, verb: verb}
}

func atMost(what string, got spread, bound float64, verb string) goal {
	return goal{What: what, Got: got, Bound: bound, AtMost: true, Met: float64(got.Median) <= bound, verb: verb}
}

// String is such as "CPU 1.10 ≤ 1.20 met". What was not measured is not met either.
func (g goal) String() string {
	got, bound := g.Got.Median.format(g.verb), figure(g.Bound).format(g.verb)
	sign, verdict := "≥", "missed"
	if g.AtMost {
		sign = "≤"
	}
	switch {
	case g.Met:
		verdict = "met"
	case math.IsNaN(float64(g.Got.Median)):
		verdict = "not measured"
	case got == bound:
		verdict = "just missed" // by less than is printed
	}
	return fmt.Sprintf("%s %s %s %s %s", g.What, got, sign, bound, verdict)
}

// goalsText is what a line of a table says about its goals.
func goalsText(goals []goal) string {
	words := make([]string, len(goals))
	for i, g := range goals {
		words[i] = g.String()
	}
	return strings.Join(words, "; ")
}

// aim is a goal and the line of the table that it belongs to.
type aim struct {
	line string
	goal goal
}

// aims are all goals of a report.
func (rep *report) aims() []aim {
	var out []aim
	add := func(line string, goals []goal) {
		for _, g := range goals {
			out = append(out, aim{line, g})
		}
	}
	for _, t := range rep.Tables {
		for _, row := range t.Rows {
			add(row.Cell+", "+row.Endpoint, row.Goals)
		}
		for _, row := range t.Idle {
			add(fmt.Sprintf("%d idle clients, %s", row.Clients, row.Endpoint), row.Goals)
		}
		for _, row := range t.Decisions {
			add("decision, "+row.Text, row.Goals)
		}
	}
	return out
}

// printGoals sums up the goals, naming those that are not met.
func (rep *report) printGoals(w io.Writer) {
	aims := rep.aims()
	if len(aims) == 0 {
		return
	}
	var missed []aim
	for _, a := range aims {
		if !a.goal.Met {
			missed = append(missed, a)
		}
	}
	fmt.Fprintf(w, "\nGoals: %d of %d met.\n", len(aims)-len(missed), len(aims))
	for _, a := range missed {
		fmt.Fprintf(w, "- %s: %s (%s-%s)\n", a.line, a.goal, a.goal.Got.Min.format(a.goal.verb), a.goal.Got.Max.format(a.goal.verb))
	}
}
