package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// form is how a report is printed.
type form int

const (
	formText form = iota
	formMarkdown
	formJSON
)

// report is everything that was measured.
type report struct {
	Machine machine  `json:"machine"`
	Tables  []*table `json:"tables"`
}

// machine is where and with what.
type machine struct {
	Time       time.Time `json:"time"`
	Cores      int       `json:"cores"`
	Kernel     string    `json:"kernel"`
	Go         string    `json:"go"`
	PostgreSQL string    `json:"postgresql"`
	PgBouncer  string    `json:"pgbouncer"`
	Haproxy    string    `json:"haproxy,omitempty"`
	Pgpool     string    `json:"pgpool,omitempty"`
	// Load is the load average before anything was started.
	Load float64 `json:"load_before"`
}

// table is one section. A comparison has Rows, others have lines of their own kind.
type table struct {
	Title     string        `json:"title"`
	Cell      string        `json:"-"`
	Rate      string        `json:"rate,omitempty"`
	RateForm  string        `json:"-"`
	Cost      string        `json:"cost,omitempty"`
	CostForm  string        `json:"-"`
	Memory    bool          `json:"-"` // print that too
	Rows      []row         `json:"rows,omitempty"`
	Idle      []idleRow     `json:"idle,omitempty"`
	Decisions []decisionRow `json:"decisions,omitempty"`
	Calls     []callRow     `json:"system_calls,omitempty"`
	Notes     []string      `json:"notes,omitempty"`
}

func (t *table) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(t.Notes, text) {
		t.Notes = append(t.Notes, text)
	}
}

func describeMachine(r *rig, load float64) machine {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return machine{
		Time: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), Kernel: strings.TrimSpace(string(kernel)),
		Go: runtime.Version(), PostgreSQL: strings.TrimPrefix(r.server.Version, "postgres (PostgreSQL) "),
		PgBouncer: r.bouncer.version, Haproxy: r.haproxy.version, Pgpool: r.pgpool.version, Load: load,
	}
}

// failures counts the rounds that are not in the tables.
func (rep *report) failures() int {
	n := 0
	for _, t := range rep.Tables {
		for _, row := range t.Rows {
			n += row.Failed
		}
	}
	return n
}

func (rep *report) print(w io.Writer, f form) error {
	if f == formJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(rep)
	}
	m := rep.Machine
	peers := "PgBouncer " + m.PgBouncer
	if m.Pgpool != "" {
		peers += ", Pgpool-II " + m.Pgpool + ", haproxy " + m.Haproxy
	}
	fmt.Fprintf(w, "%s: PostgreSQL %s, %s, pgshunt by %s; %d cores, Linux %s, load before %.2f\n",
		m.Time.Format("2006-01-02 15:04 MST"), m.PostgreSQL, peers, m.Go, m.Cores, m.Kernel, m.Load)
	if m.Load > float64(m.Cores)/2 {
		fmt.Fprintln(w, "The machine was busy with something else: do not trust these figures.")
	}
	for _, t := range rep.Tables {
		t.print(w, f == formMarkdown)
	}
	rep.printGoals(w)
	return nil
}

func (t *table) print(w io.Writer, markdown bool) {
	heading := t.Title + "\n"
	if markdown {
		heading = "### " + heading
	}
	fmt.Fprintf(w, "\n%s\n", heading)
	g := t.comparisons()
	switch {
	case t.Idle != nil:
		g = t.idlers()
	case t.Calls != nil:
		g = t.calls()
	case t.Decisions != nil:
		g = t.decisions()
	}
	g.print(w, markdown)
	fmt.Fprintln(w)
	for _, note := range t.Notes {
		fmt.Fprintln(w, note)
	}
	for _, row := range t.Rows {
		if row.Failed > 0 {
			fmt.Fprintf(w, "%s over %s: %d rounds failed and are left out.\n", row.Cell, row.Endpoint, row.Failed)
		}
	}
}

// comparisons has a line for each endpoint of a cell.
func (t *table) comparisons() *grid {
	g := &grid{words: 2, remarks: true}
	head := []string{t.Cell, "endpoint", t.Rate, "/ pgbouncer", "/ direct", t.Cost, "/ pgbouncer"}
	if t.Memory {
		head = append(head, "peak MB", "/ 1 MB")
	}
	g.add(append(head, "goals")...)
	cell := ""
	for _, row := range t.Rows {
		if cell != "" && cell != row.Cell {
			g.gap()
		}
		line := []string{
			row.Cell, row.Endpoint + row.Mark, row.Rate.Median.format(t.RateForm), row.OfBouncer.format("%.2f"), row.OfDirect.Median.format("%.2f"),
			row.Cost.Median.format(t.CostForm), row.CostOfBouncer.format("%.2f"),
		}
		if t.Memory {
			line = append(line, row.Peak.Median.format("%.1f"), row.Growth.Median.format("%.2f"))
		}
		if row.Cell == cell {
			line[0] = ""
		}
		switch row.Endpoint {
		case directName:
			for i := 5; i < len(line); i++ {
				line[i] = "-"
			}
		case bouncerName:
			line[3], line[6] = "1", "1"
		}
		cell = row.Cell
		g.add(append(line, goalsText(row.Goals))...)
	}
	return g
}

func (t *table) idlers() *grid {
	g := &grid{words: 1, remarks: true}
	g.add("proxy", "clients", "RSS before", "RSS with clients", "KB / client", "goals")
	for _, row := range t.Idle {
		g.add(row.Endpoint, figure(row.Clients).format("%.0f"), figure(float64(row.Before)/1e6).format("%.1f"),
			figure(float64(row.After)/1e6).format("%.1f"), figure(row.Each/1e3).format("%.1f"), goalsText(row.Goals))
	}
	return g
}
