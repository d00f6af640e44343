package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// demoPage prints the story: plain lines, or with colours and lines around tables
// on a terminal. It may be written to from several goroutines.
type demoPage struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	boxes  bool
}

// newDemoPage looks at out for what it can show; NO_COLOR takes the colours away.
func newDemoPage(out io.Writer) *demoPage {
	p := &demoPage{out: out, colour: wantsColour(out)}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.boxes = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	return p
}

// Colours, as the numbers of ANSI escape sequences.
const (
	bold    = "1"
	dim     = "2"
	red     = "31"
	green   = "32"
	yellow  = "33"
	blue    = "34"
	magenta = "35"
)

func (p *demoPage) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (p *demoPage) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, text)
}

// say prints a sentence to the reader.
func (p *demoPage) say(format string, args ...any) { p.line(fmt.Sprintf(format, args...)) }

// note prints a fact, indented.
func (p *demoPage) note(format string, args ...any) { p.line("   " + fmt.Sprintf(format, args...)) }

// block prints a text of several lines, indented.
func (p *demoPage) block(text string) {
	for line := range strings.Lines(text) {
		p.line("   " + p.paint(dim, strings.TrimSuffix(line, "\n")))
	}
}

func (p *demoPage) chapter(n int, title string) {
	heading := fmt.Sprintf("%d. %s", n, title)
	rule := strings.Repeat("=", len(heading))
	if p.boxes {
		rule = strings.Repeat("━", len(heading))
	}
	p.line("\n" + p.paint(bold, heading) + "\n" + rule)
}

// statement prints what psql is about to be given, as it would show it.
func (p *demoPage) statement(step *demoStep) {
	var b strings.Builder
	prompt := demoDatabase + "=> "
	for line := range strings.Lines(step.sql) {
		b.WriteString("\n" + p.paint(dim, prompt) + p.paint(bold, strings.TrimSuffix(line, "\n")))
		prompt = demoDatabase + "-> "
	}
	if step.source != "" {
		b.WriteString("\n" + p.paint(dim, "("+step.source+")"))
	}
	if step.after != "" {
		b.WriteString("\n" + p.paint(dim, demoDatabase+"=> ") + p.paint(bold, step.after))
	}
	p.line(b.String())
}

// Of longer answers only the head and the tail are shown, and lines up to a width.
const (
	demoHead  = 3
	demoTail  = 10
	demoWidth = 118
)

func (p *demoPage) output(lines []string) {
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	left := len(lines) - demoHead - demoTail
	for i, line := range lines {
		switch {
		case left > 1 && i == demoHead:
			p.line(p.paint(dim, fmt.Sprintf("(%d more lines)", left)))
			continue
		case left > 1 && i > demoHead && i < demoHead+left:
			continue
		}
		if runes := []rune(line); len(runes) > demoWidth {
			line = string(runes[:demoWidth-3]) + "..."
		}
		p.line(line)
	}
}

// place prints where a statement ran, how long, and why.
func (p *demoPage) place(r *demoResult) {
	arrow := "-->"
	if p.boxes {
		arrow = "──▶"
	}
	where := fmt.Sprintf("%s %s, %s", arrow, p.server(r.Server), demoMillis(r.Elapsed))
	p.line(fmt.Sprintf("%s   %s", where, p.paint(dim, "rule "+r.Rule+": "+r.Reason)))
	for _, wrong := range r.Wrong {
		p.line(p.paint(red, "    NOT AS EXPECTED: "+wrong))
	}
}

// server is a server's name in its colour.
func (p *demoPage) server(name string) string {
	switch name {
	case "primary":
		return p.paint(blue, name)
	case "ml1":
		return p.paint(green, name)
	case "ml2":
		return p.paint(magenta, name)
	}
	return p.paint(yellow, "answered by pgshunt itself")
}

// directly prints what is done on a server past the proxy.
func (p *demoPage) directly(server, what string) {
	p.line(fmt.Sprintf("   on %-7s %s", server, p.paint(dim, what)))
}

// visitor prints where a statement went that somebody else has sent.
func (p *demoPage) visitor(d demoDecision) {
	where := d.target
	if where == "" {
		where = map[string]string{"stay": "primary"}[d.role]
	}
	if where == "" {
		where = d.role
	}
	p.line(fmt.Sprintf("   a statement: %-8s %s", where, p.paint(dim, "rule "+d.rule+": "+d.reason)))
}

func demoMillis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}
