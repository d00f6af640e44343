package main

import (
	"context"
	"fmt"
	"strings"
)

// demoStep is one step of the story: a statement for psql with what is expected of
// it, or something done past the proxy.
type demoStep struct {
	chapter string // heading before it, if a new chapter begins
	say     string // what a newcomer should know before it
	sql     string // with its semicolon, or \gset
	after   string // a line for psql that shows what \gset has kept
	data    string // of a COPY FROM STDIN, shown as `source`
	source  string

	on       string // the server that must run it; "" for none
	sqlstate string // of the error expected; "" for success
	rows     int    // expected of a statement that succeeds; anyRows for any
	shows    []string
	// quotes is set where the text mentions pgml without calling it.
	quotes bool

	do func(context.Context, *demoFleet, *demoPage) error // instead of sql
}

const anyRows = -1

// tell goes through the story. An error means that it cannot go on; what went
// otherwise than expected is noted in the report.
func (d *demo) tell(ctx context.Context, story []demoStep) error {
	chapter := 0
	for i := range story {
		step := &story[i]
		if step.chapter != "" {
			chapter++
			d.page.chapter(chapter, step.chapter)
		}
		if step.say != "" {
			d.page.say("%s", step.say)
		}
		if step.do != nil {
			if err := step.do(ctx, d.fleet, d.page); err != nil {
				return err
			}
			continue
		}
		r, err := d.take(ctx, step)
		if err != nil {
			return err
		}
		d.report.Steps = append(d.report.Steps, r)
		d.page.place(&r)
	}
	return nil
}

// take has psql run one statement and finds out where it ran.
func (d *demo) take(ctx context.Context, step *demoStep) (demoResult, error) {
	r := demoResult{Number: len(d.report.Steps) + 1, SQL: step.sql, quotes: step.quotes}
	d.page.statement(step)
	d.seen.take()
	answer, err := d.psql.run(ctx, step.sql, step.data)
	if err != nil {
		return r, err
	}
	r.Output, r.State, r.Rows, r.Elapsed = answer.lines, answer.sqlstate, answer.rows, answer.elapsed
	if step.after != "" {
		shown, err := d.psql.run(ctx, step.after, "")
		if err != nil {
			return r, err
		}
		r.Output = append(r.Output, shown.lines...)
	}
	d.page.output(r.Output)
	if err := d.locate(&r); err != nil {
		return r, err
	}
	r.check(step)
	return r, nil
}

// locate fills in where the statement ran, by the servers' own logs, and why, by
// the proxy's decision.
func (d *demo) locate(r *demoResult) error {
	for _, s := range d.fleet.all() {
		runs, err := s.runs()
		if err != nil {
			return err
		}
		for _, run := range runs {
			if !sameSQL(r.SQL, run.sql) {
				continue
			}
			if r.Server != "" {
				r.wrong("it ran on %s and on %s", r.Server, s.Name)
			}
			r.Server, r.Elapsed = s.Name, run.elapsed
		}
	}
	decisions := d.seen.take()
	if len(decisions) != 1 {
		r.wrong("the proxy logged %d decisions for it where one was expected", len(decisions))
	}
	for _, made := range decisions {
		r.Role, r.Rule, r.Reason = made.role, made.rule, made.reason
	}
	return nil
}

// check compares what happened with what the story expects.
func (r *demoResult) check(step *demoStep) {
	if r.Server != step.on {
		r.wrong("it ran on %s; expected: %s", orNone(r.Server), orNone(step.on))
	}
	role := map[string]string{"": "refused", "primary": "primary", "ml1": "replica", "ml2": "replica"}[step.on]
	if r.Role != role && !(role == "primary" && r.Role == "stay") {
		r.wrong("the proxy's log says role %q; expected: %s", r.Role, role)
	}
	want := step.sqlstate
	if want == "" {
		want = "00000"
	}
	if r.State != want {
		r.wrong("SQLSTATE %s; expected: %s", r.State, want)
	}
	if step.sqlstate == "" && step.rows != anyRows && r.Rows != step.rows {
		r.wrong("%d rows; expected: %d", r.Rows, step.rows)
	}
	output := strings.Join(r.Output, "\n")
	for _, text := range step.shows {
		if !strings.Contains(output, text) {
			r.wrong("the answer does not contain %q", text)
		}
	}
}

func (r *demoResult) wrong(what string, args ...any) {
	r.Wrong = append(r.Wrong, fmt.Sprintf(what, args...))
}

func orNone(server string) string {
	if server == "" {
		return "no server"
	}
	return server
}
