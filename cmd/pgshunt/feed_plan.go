package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/plan"
	"pgshunt/feed/schema"
)

func feedPlanCommand() *cobra.Command {
	var opts feedOptions
	var watch time.Duration
	cmd := &cobra.Command{
		Use: "plan", Short: "Measure the servers and recommend a way to feed each replica",
		Long: "Plan reads sizes, change rates, settings and privileges of the primary and of each replica, and changes\n" +
			"nothing. For each replica it recommends a feed, says why, what stands against it and against the one of\n" +
			"the configuration, with the statement that removes it, and estimates time and room.\n\n" +
			"Exit status: 0 nothing blocks the configured feeds (or the recommended ones, where none is configured),\n" +
			"1 something does, 2 wrong usage or configuration.",
		Example: "  pgshunt feed plan --watch 1m",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return runFeedPlan(ctx, opts, watch, streamsOf(cmd))
		},
	}
	opts.flags(cmd)
	cmd.Flags().IntVar(&opts.jobs, "jobs", 0, "`connections` to estimate for (default one for each processor, at most 4)")
	cmd.Flags().DurationVar(&watch, "watch", 0, "look at the statistics twice, this far apart, instead of since their reset")
	return cmd
}

// feedPlan is what `pgshunt feed plan --json` prints.
type feedPlan struct {
	Command string `json:"command"`
	OK      bool   `json:"ok"`
	Error   string `json:"error,omitempty"`
	*plan.Report
}

func runFeedPlan(ctx context.Context, opts feedOptions, watch time.Duration, to feedStreams) error {
	opts.anyFeed = true
	cfg, names, err := feedReplicas(opts, "plan", to)
	if err != nil {
		return err
	}
	checks := make(map[configs.Feed]plan.Check, len(feedWays))
	for way, w := range feedWays {
		checks[way] = w.check
		if way != configs.FeedNative {
			checks[way] = withMemberships(w.check)
		}
	}
	p := feedPlan{Command: "plan"}
	p.Report, err = plan.Run(ctx, cfg, names, plan.Options{Watch: watch, Jobs: opts.jobs, Checks: checks})
	if err != nil {
		p.Error = err.Error()
		if opts.json {
			printLine(to.out, p)
		} else {
			fmt.Fprintln(to.err, p.Error)
		}
		return exitFinding
	}
	p.OK = true
	for i := range p.Replicas {
		p.OK = p.OK && planned(&p.Replicas[i])
	}
	if opts.json {
		printLine(to.out, p)
	} else {
		printPlan(to, p.Report)
	}
	if !p.OK {
		return exitFinding
	}
	return nil
}

// withMemberships adds to what a way's check finds which roles would read less, or not be trusted.
func withMemberships(check plan.Check) plan.Check {
	return func(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
		found, err := check(ctx, run)
		if err != nil {
			return found, err
		}
		members, err := schema.Memberships(ctx, run)
		return append(found, members...), err
	}
}

// planned says whether the feed that is configured, or else recommended, can be applied.
func planned(r *plan.Replica) bool {
	if r.Error != "" {
		return false
	}
	want := r.Configured
	if want == configs.FeedNone {
		want = r.Recommended
	}
	for i := range r.Ways {
		if r.Ways[i].Feed == want {
			return !r.Ways[i].Blocked()
		}
	}
	return false
}

func printPlan(to feedStreams, p *plan.Report) {
	s := &p.Primary
	managed := ""
	if s.Service != "" {
		managed = ", " + string(s.Service)
	}
	fmt.Fprintf(to.out, "primary: PostgreSQL %s%s, database %s of %s, role %s\n", s.Version, managed, s.Database, prettyBytes(s.Bytes), s.Role)
	keep := "no limit on the WAL that a slot keeps"
	if s.KeepSize >= 0 {
		keep = "a slot keeps at most " + prettyBytes(s.KeepSize) + " of WAL"
	}
	wal := "WAL rate not known"
	if s.Churn.WAL >= 0 {
		wal = prettyBytes(int64(s.Churn.WAL)) + " of WAL a second"
	}
	fmt.Fprintf(to.out, "  wal_level %s, %d of %d replication slots and %d of %d WAL senders in use, %s, %s\n",
		s.WALLevel, s.SlotsUsed, s.Slots, s.SendersUsed, s.Senders, keep, wal)
	for i := range p.Replicas {
		fmt.Fprintln(to.out)
		printReplicaPlan(to, p.Replicas, i)
	}
}

func printReplicaPlan(to feedStreams, all []plan.Replica, i int) {
	r := &all[i]
	if r.Error != "" {
		fmt.Fprintf(to.out, "%s: %s\n", r.Name, paint(to.colour, red, r.Error))
		return
	}
	pgml := "without pgml"
	if r.Pgml != "" {
		pgml = "pgml " + r.Pgml
	}
	fmt.Fprintf(to.out, "%s: PostgreSQL %s, %s, database %s of %s, %d workers (%d for logical replication, %d tables copied at once), role %s\n",
		r.Name, r.Version, pgml, r.Database, prettyBytes(r.Bytes), r.Workers, r.Logical, r.SyncWorkers, r.Role)
	same := slices.IndexFunc(all[:i], func(other plan.Replica) bool { return slices.Equal(other.Tables, r.Tables) })
	if same >= 0 {
		fmt.Fprintf(to.out, "  %s, the same as for %s\n", counted(len(r.Tables), "table"), all[same].Name)
	} else {
		printPlannedTables(to.out, r.Tables)
	}
	switch {
	case r.Configured == r.Recommended:
		fmt.Fprintf(to.out, "  recommended: %s, which is configured\n", paint(to.colour, green, string(r.Recommended)))
	case r.Configured == configs.FeedNone:
		fmt.Fprintf(to.out, "  recommended: %s; none is configured\n", paint(to.colour, green, string(r.Recommended)))
	default:
		fmt.Fprintf(to.out, "  recommended: %s; %s is configured\n", paint(to.colour, yellow, string(r.Recommended)), r.Configured)
	}
	for _, why := range r.Why {
		fmt.Fprintf(to.out, "    %s\n", why)
	}
	for i := range r.Ways {
		printWay(to, &r.Ways[i])
	}
}

// printPlannedTables prints the largest tables and the sum of all.
func printPlannedTables(out io.Writer, tables []plan.Table) {
	largest := append([]plan.Table(nil), tables...)
	sort.SliceStable(largest, func(i, j int) bool { return largest[i].Bytes() > largest[j].Bytes() })
	sum := plan.Table{Name: fmt.Sprintf("all %d", len(tables))}
	for _, t := range tables {
		sum.Rows, sum.Heap, sum.Toast, sum.Indexes = sum.Rows+max(t.Rows, 0), sum.Heap+t.Heap, sum.Toast+t.Toast, sum.Indexes+t.Indexes
		sum.Inserts, sum.Updates, sum.Deletes = sum.Inserts+t.Inserts, sum.Updates+t.Updates, sum.Deletes+t.Deletes
	}
	const most = 10
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  table\trows\theap\ttoast\tindexes\tinserts/day\tupdates/day\tdeletes/day\ttold apart by")
	row := func(name, identity string, t plan.Table) {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, unless(t.Rows < 0, grouped(t.Rows)), prettyBytes(t.Heap), prettyBytes(t.Toast), prettyBytes(t.Indexes),
			grouped(int64(t.Inserts)), grouped(int64(t.Updates)), grouped(int64(t.Deletes)), identity)
	}
	for i, t := range largest {
		if i == most && len(largest) > most+1 {
			fmt.Fprintf(w, "  and %d smaller ones\t\t\t\t\t\t\t\t\n", len(largest)-most)
			break
		}
		identity := t.Identity
		if identity == "" {
			identity = "nothing"
		}
		row(t.Schema+"."+t.Name, identity, t)
	}
	row(sum.Name, "", sum)
	_ = w.Flush() // as with fmt.Fprint: a closed pipe is the reader's choice
}

func printWay(to feedStreams, w *plan.Way) {
	state := paint(to.colour, green, "nothing stands against it")
	if w.Blocked() {
		state = paint(to.colour, red, "blocked as things are")
	}
	fmt.Fprintf(to.out, "  %s: %s\n", w.Feed, state)
	printProblems(to.out, "    ", w.Problems, to.colour)
	e := &w.Estimate
	seconds := func(s float64) string { return shortTime(time.Duration(s * float64(time.Second))) }
	line := "apply takes about " + seconds(e.Apply)
	if e.Refresh > 0 {
		line += ", a refresh about " + seconds(e.Refresh)
	}
	if e.Disk > 0 {
		line += ", room on the replica " + prettyBytes(e.Disk)
	}
	if e.Peak > e.Disk {
		line += ", " + prettyBytes(e.Peak) + " while a copy is made"
	}
	if e.WAL >= 0 {
		line += ", WAL kept on the primary meanwhile " + prettyBytes(e.WAL)
	}
	if w.Feed != configs.FeedNative {
		fmt.Fprintf(to.out, "    estimate: %s\n", line)
	}
	for _, text := range e.Assumes {
		fmt.Fprintf(to.out, "      %s\n", text)
	}
}
