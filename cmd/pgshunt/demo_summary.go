package main

import (
	"fmt"
	"os"
	"strings"
)

// summary prints where everything ran, what the primary was spared, the proof,
// and what was not as expected.
func (p *demoPage) summary(r *demoReport) {
	p.line("\n" + p.paint(bold, "Where everything ran"))
	p.line(p.paint(dim, fmt.Sprintf("%3s  %-8s %10s  %-12s %s", "", "server", "time there", "rule", "statement")))
	for i := range r.Steps {
		s := &r.Steps[i]
		name, elapsed := s.Server, demoMillis(s.Elapsed)
		if name == "" {
			name, elapsed = "refused", ""
		}
		// Padded before it is painted: escape sequences have a length, too.
		painted := strings.Replace(fmt.Sprintf("%-8s", name), s.Server, p.server(s.Server), 1)
		if s.Server == "" {
			painted = p.paint(yellow, fmt.Sprintf("%-8s", name))
		}
		p.line(fmt.Sprintf("%3d  %s %10s  %-12s %s", s.Number, painted, elapsed, s.Rule, oneLine(s.SQL, 72)))
	}
	p.line("")
	for _, server := range []string{"primary", "ml1", "ml2"} {
		n, elapsed := r.on(server)
		p.line(fmt.Sprintf("%-8s %s, %s", server, counted(n, "statement"), demoMillis(elapsed)))
	}
	n, _ := r.on("")
	p.line(fmt.Sprintf("%-8s %s", "refused", counted(n, "statement")))
	n, elapsed := r.on("ml1", "ml2")
	p.line("\n" + p.paint(bold, fmt.Sprintf("The primary was spared %s and %s of work.", counted(n, "statement"), demoMillis(elapsed))))
	p.line("Times and places are from the servers' own logs. And what the primary says:")
	for _, line := range r.Proof {
		p.note("%s", line)
	}
	if n := r.failures(); n > 0 {
		p.line("\n" + p.paint(red, fmt.Sprintf("%s NOT AS EXPECTED:", counted(n, "thing"))))
		for _, wrong := range r.Wrong {
			p.note("%s", wrong)
		}
		for i := range r.Steps {
			for _, wrong := range r.Steps[i].Wrong {
				p.note("step %d: %s", r.Steps[i].Number, wrong)
			}
		}
	}
}

// invitation prints what to try while the demo stays up.
func (p *demoPage) invitation(r *demoReport) {
	p.line("\n" + p.paint(bold, "It stays up. In another terminal:"))
	p.note("psql %s", r.URL)
	p.line("and there, for example:")
	p.note("%s", "SELECT pgml.predict('diabetes', ARRAY[age, sex, bmi, bp, s1, s2, s3, s4, s5, s6]) FROM patients LIMIT 5;")
	p.note("%s", "SELECT * FROM pgml.train('diabetes', algorithm => 'ridge');")
	p.note("%s", "EXPLAIN SELECT pgml.version(), count(*) FROM visits;")
	p.line("Without any server, where would a statement go?")
	p.note("%s route -c %s \"SELECT 'pgml.train('\"", os.Args[0], r.Config)
	p.line("Each statement shows up below with where it went. Ctrl-C stops and removes everything.")
}
