package proxy_test

import (
	"fmt"
	"os"
	"strings"
)

// transcript is one file of testdata/transcripts; README.md there has the format.
type transcript struct {
	head    []string // comments, as they are
	setup   string   // SQL for every server, run before each run
	replica []string // the statements that reach the replica; nil where that is not looked at
	groups  []group
}

// group is what is sent at once and the answer to it.
type group struct {
	comments    []string
	send        []string // frontend messages, without the ">"
	until       string   // the message that ends the answer, "" for ReadyForQuery
	want        []string // what PostgreSQL answers, without the "<"
	differences []difference
}

// difference is a decided difference between pgshunt and PostgreSQL.
type difference struct {
	mode   string // "transaction", "session", or "" for both
	reason string
	want   []string
}

func (g *group) differenceIn(mode string) *difference {
	for i := range g.differences {
		if d := &g.differences[i]; d.mode == "" || d.mode == mode {
			return d
		}
	}
	return nil
}

func readTranscript(path string) (*transcript, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := transcriptParser{t: &transcript{}, fresh: true}
	for n, line := range strings.Split(string(text), "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
		}
	}
	if len(p.t.groups) == 0 {
		return nil, fmt.Errorf("%s: no messages", path)
	}
	return p.t, nil
}

type transcriptParser struct {
	t       *transcript
	block   string   // the head block that lines belong to: setup or replica
	pending []string // comments before the next group
	fresh   bool     // the next message begins a group
	want    *[]string
}

func (p *transcriptParser) line(line string) error {
	if p.block != "" && line != "" && len(p.t.groups) == 0 && !strings.HasPrefix(line, "> ") {
		if p.block == "setup" && line != "replica:" {
			p.t.setup += line + "\n"
			return nil
		}
		if p.block == "replica" {
			p.t.replica = append(p.t.replica, strings.TrimSpace(line))
			return nil
		}
	}
	kind, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "":
		p.block, p.fresh = "", true
	case line == "setup:":
		p.block = "setup"
	case line == "replica:":
		p.block, p.t.replica = "replica", []string{}
	case kind == "#" || kind == "":
		if len(p.t.groups) == 0 && p.t.setup == "" && p.t.replica == nil {
			p.t.head = append(p.t.head, line)
			return nil
		}
		p.pending, p.fresh = append(p.pending, line), true
	case kind == ">":
		if p.fresh {
			p.t.groups = append(p.t.groups, group{comments: p.pending})
			p.pending, p.fresh = nil, false
			p.want = nil
		}
		g := p.last()
		g.send = append(g.send, rest)
	case p.last() == nil:
		return fmt.Errorf("%q before the first message", line)
	case kind == "until":
		p.last().until = rest
	case kind == "<":
		if p.want == nil {
			p.want = &p.last().want
		}
		*p.want, p.fresh = append(*p.want, rest), true
	case strings.HasPrefix(line, "difference"):
		what, reason, ok := strings.Cut(line, ": ")
		if !ok {
			return fmt.Errorf("a difference without a reason")
		}
		mode := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(what, "difference"), " in "), " mode")
		g := p.last()
		g.differences = append(g.differences, difference{mode: mode, reason: reason})
		p.want, p.fresh = &g.differences[len(g.differences)-1].want, true
	default:
		return fmt.Errorf("cannot read %q", line)
	}
	return nil
}

func (p *transcriptParser) last() *group {
	if n := len(p.t.groups); n > 0 {
		return &p.t.groups[n-1]
	}
	return nil
}

func (t *transcript) write(path string) error {
	var b strings.Builder
	put := func(prefix string, lines []string) {
		for _, l := range lines {
			b.WriteString(prefix + l + "\n")
		}
	}
	put("", t.head)
	if t.setup != "" {
		b.WriteString("\nsetup:\n" + t.setup)
	}
	if t.replica != nil {
		b.WriteString("\nreplica:\n")
		put("  ", t.replica)
	}
	for _, g := range t.groups {
		b.WriteString("\n")
		put("", g.comments)
		put("> ", g.send)
		if g.until != "" {
			b.WriteString("until " + g.until + "\n")
		}
		put("< ", g.want)
		for _, d := range g.differences {
			what := "difference"
			if d.mode != "" {
				what += " in " + d.mode + " mode"
			}
			b.WriteString(what + ": " + d.reason + "\n")
			put("< ", d.want)
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
