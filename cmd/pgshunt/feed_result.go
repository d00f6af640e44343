package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pgshunt/feed"
)

// printResult says at the end what was done for a replica, or why not.
func printResult(to feedStreams, verb feedVerb, printed bool, r feedResult) {
	switch {
	case len(r.Problems) > 0:
		blocks := 0
		for _, p := range r.Problems {
			if p.Blocks {
				blocks++
			}
		}
		stand := "stand"
		if blocks == 1 {
			stand = "stands"
		}
		fmt.Fprintf(to.out, "%s: %s %s against the %s feed; nothing was changed:\n", r.Replica, counted(blocks, "thing"), stand, r.Feed)
		printProblems(to.out, "  ", r.Problems, to.colour)
		return
	case !r.OK:
		fmt.Fprintf(to.err, "%s: %s\n", r.Replica, paint(to.colour, red, "not "+verb.done)+": "+r.Error)
	case printed:
		fmt.Fprintf(to.out, "-- %s: %s; nothing was done.\n", r.Replica, counted(len(r.Done), "step"))
		return
	}
	took := shortTime(time.Duration(r.Seconds * float64(time.Second)))
	switch {
	case r.OK && len(r.Done) == 0:
		fmt.Fprintf(to.out, "%s: %s, nothing was left to do (%s, %s)\n", r.Replica, paint(to.colour, green, verb.done), counted(r.Skipped, "step"), took)
		return
	case r.OK:
		fmt.Fprintf(to.out, "%s: %s in %s. What was done:\n", r.Replica, paint(to.colour, green, verb.done), took)
	case len(r.Done) == 0:
		fmt.Fprintf(to.out, "%s: nothing was done.\n", r.Replica)
		return
	default:
		fmt.Fprintf(to.out, "%s: what was done before:\n", r.Replica)
	}
	for _, d := range folded(r.Done) {
		fmt.Fprintf(to.out, "  - %s\n", d.line())
	}
	if r.Skipped > 0 {
		fmt.Fprintf(to.out, "  %s found done already\n", counted(r.Skipped, "step"))
	}
}

// folded makes one of steps that differ only in what they are "of", if there are many.
func folded(all []feedDone) (short []feedDone) {
	const many = 4
	key := func(d feedDone) feedDone {
		verb, _, _ := strings.Cut(d.Step, " of ")
		return feedDone{Server: d.Server, Step: verb}
	}
	times := make(map[feedDone]int)
	for _, d := range all {
		times[key(d)] += d.Times
	}
	for _, d := range all {
		k := key(d)
		if times[k] < many || d.Step == k.Step {
			short = append(short, d)
			continue
		}
		i := slices.IndexFunc(short, func(s feedDone) bool { return s.Server == k.Server && s.Step == k.Step })
		if i < 0 {
			short, i = append(short, k), len(short)
		}
		s := &short[i]
		s.Times, s.Rows, s.Bytes, s.Took = s.Times+d.Times, s.Rows+d.Rows, s.Bytes+d.Bytes, s.Took+d.Took
	}
	return short
}

func (d feedDone) line() string {
	text := d.Step + on(d.Server)
	if d.Times > 1 && d.Tables == 0 {
		text += fmt.Sprintf(" (%d times)", d.Times)
	}
	return text + amounts(d.Tables, d.Rows, d.Bytes)
}

// printProblems prints each with what removes it below, what blocks first.
func printProblems(out io.Writer, indent string, problems []feed.Problem, colour bool) {
	for _, blocks := range []bool{true, false} {
		label := paint(colour, yellow, "note    ")
		if blocks {
			label = paint(colour, red, "blocks  ")
		}
		for _, p := range problems {
			if p.Blocks != blocks {
				continue
			}
			fmt.Fprintf(out, "%s%s %s\n", indent, label, p.Says())
			for _, line := range strings.Split(p.Remedy, "\n") {
				if line != "" {
					fmt.Fprintf(out, "%s%8s -> %s\n", indent, "", line)
				}
			}
			if p.Note != "" {
				fmt.Fprintf(out, "%s%8s    %s\n", indent, "", p.Note)
			}
		}
	}
}

// paint colours a text, by one of the codes of demo_page.go.
func paint(colour bool, code, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
