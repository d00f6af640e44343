package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// figure is a measured number; NaN where there was nothing to measure.
type figure float64

// format prints a figure with a verb, and digits grouped where it has none after
// the point.
func (f figure) format(verb string) string {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return "failed"
	}
	text := fmt.Sprintf(verb, float64(f))
	for at := len(text) - 3; at > 0 && !strings.Contains(text, "."); at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// format prints a spread as its median, with the extremes in parentheses.
func (s spread) format(verb string) string {
	if math.IsNaN(float64(s.Median)) {
		return s.Median.format(verb)
	}
	return fmt.Sprintf("%s (%s-%s)", s.Median.format(verb), s.Min.format(verb), s.Max.format(verb))
}

// MarshalJSON writes null for a figure that is none.
func (f figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// grid is text in columns: the first ones, of words, flush left, the others flush
// right, but for the last one where it has remarks.
type grid struct {
	words   int
	remarks bool
	lines   [][]string
}

func (g *grid) add(words ...string) { g.lines = append(g.lines, words) }

// gap sets off the next line from those before, which a Markdown table cannot.
func (g *grid) gap() { g.add() }

// print writes the columns, as a Markdown table if asked to. The first line is
// the head.
func (g *grid) print(w io.Writer, markdown bool) {
	widths := make([]int, len(g.lines[0]))
	for _, line := range g.lines {
		for i, word := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(word))
		}
	}
	for n, line := range g.lines {
		if len(line) == 0 && markdown {
			continue
		}
		padded := make([]string, len(line))
		rule := make([]string, len(line))
		for i, word := range line {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(word))
			padded[i], rule[i] = space+word, strings.Repeat("-", widths[i]+1)+":"
			if i < g.words || g.remarks && i == len(line)-1 {
				padded[i], rule[i] = word+space, strings.Repeat("-", widths[i]+2)
			}
		}
		if !markdown {
			fmt.Fprintln(w, strings.TrimRight(strings.Join(padded, "  "), " "))
			continue
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(padded, " | "))
		if n == 0 {
			fmt.Fprintf(w, "|%s|\n", strings.Join(rule, "|"))
		}
	}
}
