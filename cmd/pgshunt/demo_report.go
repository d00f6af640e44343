package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// demoReport is what a run of the demo has found out.
type demoReport struct {
	Dir    string // everything was written here; gone after the run
	Config string // the configuration file in it
	PIDs   []int  // of the servers; ended after the run
	URL    string // the one connection string
	Steps  []demoResult
	// Proof is what the primary itself says about pgml; Wrong what spoke against it.
	Proof []string
	Wrong []string
}

// demoResult is one statement of the story as it went.
type demoResult struct {
	Number  int
	SQL     string
	Output  []string
	State   string // SQLSTATE, 00000 for success
	Rows    int
	Server  string        // that ran it, by its own log; "" for none
	Elapsed time.Duration // on that server; until psql had the answer where there is none
	// Role, Rule and Reason are the proxy's decision.
	Role, Rule, Reason string
	// Wrong holds every expectation that failed.
	Wrong []string

	quotes bool
}

// failures counts what went otherwise than expected.
func (r *demoReport) failures() int {
	n := len(r.Wrong)
	for i := range r.Steps {
		n += len(r.Steps[i].Wrong)
	}
	return n
}

// on counts the statements that a server has run, with their time there.
func (r *demoReport) on(servers ...string) (n int, elapsed time.Duration) {
	for i := range r.Steps {
		for _, server := range servers {
			if r.Steps[i].Server == server {
				n++
				elapsed += r.Steps[i].Elapsed
			}
		}
	}
	return n, elapsed
}

// prove asks the primary itself: its log, and what is installed there.
func (d *demo) prove(ctx context.Context) {
	r := d.report
	log, err := d.fleet.primary.Log()
	if err != nil {
		r.Wrong = append(r.Wrong, err.Error())
		return
	}
	runs, err := parseDemoLog(log)
	if err != nil {
		r.Wrong = append(r.Wrong, err.Error())
		return
	}
	quoted := 0
	for _, run := range runs {
		if !strings.Contains(strings.ToLower(run.sql), "pgml") {
			continue
		}
		if r.quotes(run.sql) {
			quoted++
			continue
		}
		r.Wrong = append(r.Wrong, "the primary's log holds a pgml statement: "+run.sql)
	}
	r.Proof = append(r.Proof, fmt.Sprintf("Its log holds %d statements that came through pgshunt: %d call pgml, %d only has the word in a string.",
		len(runs), len(r.Wrong), quoted))
	for line := range strings.Lines(log) {
		if strings.Contains(line, "ERROR:") && strings.Contains(line, "pgml") {
			r.Wrong = append(r.Wrong, "the primary's log holds an error about pgml: "+strings.TrimSpace(line))
		}
	}
	installed, err := d.installed(ctx)
	switch {
	case err != nil:
		r.Wrong = append(r.Wrong, "asking the primary for pgml: "+err.Error())
	case installed:
		r.Wrong = append(r.Wrong, "the primary has pgml")
	default:
		r.Proof = append(r.Proof, "It could not have run one: pgml is neither installed nor available there.")
	}
}

// quotes tells whether the statement is one of the story that only mentions pgml.
func (r *demoReport) quotes(sql string) bool {
	for i := range r.Steps {
		if r.Steps[i].quotes && sameSQL(r.Steps[i].SQL, sql) {
			return true
		}
	}
	return false
}

// installed asks the primary whether it knows pgml at all.
func (d *demo) installed(ctx context.Context) (yes bool, err error) {
	conn, err := d.fleet.primary.connect(ctx, demoDatabase)
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgml')
		OR EXISTS (SELECT FROM pg_namespace WHERE nspname LIKE 'pgml%')`, pgx.QueryExecModeSimpleProtocol).Scan(&yes)
	return yes, err
}
