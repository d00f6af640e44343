package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/migrate"
	"pgshunt/feed/schema"
)

// feedStatuses is what `pgshunt feed status --json` prints.
type feedStatuses struct {
	Command string       `json:"command"`
	OK      bool         `json:"ok"`
	Feeds   []feedStatus `json:"feeds"`
}

// feedStatus is one feed, or why nobody can tell.
type feedStatus struct {
	feed.State
	Error string `json:"error,omitempty"`
}

func feedStatusCommand() *cobra.Command {
	var opts feedOptions
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "status", Short: "Show how each feed is: state, rows, lag, retained WAL, errors, drift",
		Long: "Status asks every server once and changes nothing. A feed is absent, copying, ready, stale, stopped or\n" +
			"broken; below it stand its tables, and what differs from the primary's definitions column by column.\n" +
			"While the primary does not answer, copies stay ready, and say their age; foreign tables are broken, and\n" +
			"replication is stopped.\n\n" +
			"Exit status: 0 every feed is ready or copying, 1 one is not, or has drifted, 2 wrong usage or configuration.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return runFeedStatus(ctx, opts, timeout, streamsOf(cmd))
		},
	}
	opts.flags(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "time for each replica")
	return cmd
}

func runFeedStatus(ctx context.Context, opts feedOptions, timeout time.Duration, to feedStreams) error {
	cfg, names, err := feedReplicas(opts, "status", to)
	if err != nil {
		return err
	}
	all := feedStatuses{Command: "status", OK: true, Feeds: make([]feedStatus, len(names))}
	var work sync.WaitGroup
	for i, name := range names {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			state, err := feedState(ctx, cfg, name)
			state.Replica, state.Feed = name, string(cfg.Replica(name).Feed)
			all.Feeds[i] = feedStatus{State: state}
			if err != nil {
				all.Feeds[i].Error, all.Feeds[i].State.State = err.Error(), "unknown"
			}
		})
	}
	work.Wait()
	for i := range all.Feeds {
		all.OK = all.OK && all.Feeds[i].fine()
	}
	if opts.json {
		printLine(to.out, all)
	} else {
		for i := range all.Feeds {
			printStatus(to, &all.Feeds[i])
		}
	}
	if !all.OK {
		return exitFinding
	}
	return nil
}

func feedState(ctx context.Context, cfg *configs.Config, name string) (feed.State, error) {
	run, err := feed.Open(cfg, name, feed.Options{})
	if err != nil {
		return feed.State{}, err
	}
	way, ok := feedWays[run.Replica.Feed]
	if !ok {
		return feed.State{}, fmt.Errorf("feed: %s is not in this version", run.Replica.Feed)
	}
	state, err := way.state(ctx, run)
	if err == nil && state.Reached(run.Target) {
		state.Changes, err = migrate.Unfinished(ctx, run)
	}
	if err != nil || state.State == "absent" || !state.Reached(run.Primary) || !state.Reached(run.Target) {
		return state, err
	}
	if run.Replica.Feed != configs.FeedNative { // a standby has the roles of its primary
		members, err := schema.Memberships(ctx, run)
		if err != nil {
			return state, err
		}
		state.Problems = append(state.Problems, members...)
	}
	if slices.ContainsFunc(state.Tables, func(t feed.TableState) bool { return len(t.Drift) > 0 }) {
		return state, nil
	}
	if run.Replica.Feed == configs.FeedDump || run.Replica.Feed == configs.FeedLogical {
		var drift []schema.Difference
		if drift, err = schema.Drift(ctx, run); err == nil {
			schema.Fill(&state, drift)
		}
	}
	return state, err
}

// fine says whether nobody needs to do anything.
func (s *feedStatus) fine() bool {
	fine := s.Error == "" && len(s.Changes) == 0 && (s.State.State == "ready" || s.State.State == "copying")
	for _, p := range s.Problems {
		fine = fine && !p.Blocks
	}
	for _, t := range s.Tables {
		fine = fine && len(t.Drift) == 0 && t.State != "missing" && t.State != "broken"
	}
	return fine
}

func printStatus(to feedStreams, s *feedStatus) {
	colour := green
	if !s.fine() {
		colour = red
	}
	line := []string{paint(to.colour, colour, s.State.State)}
	if s.LagSeconds >= 0 && s.Error == "" && s.State.State != "absent" {
		line = append(line, shortTime(time.Duration(s.LagSeconds*float64(time.Second)))+" behind")
	}
	if s.LagBytes > 0 {
		line = append(line, prettyBytes(s.LagBytes)+" to apply")
	}
	if s.Retained >= 0 && s.Error == "" && s.Feed == string(configs.FeedLogical) {
		line = append(line, "its slot keeps "+prettyBytes(s.Retained)+" of WAL")
	}
	fmt.Fprintf(to.out, "%s (%s): %s\n", s.Replica, s.Feed, strings.Join(line, ", "))
	if s.Error != "" {
		fmt.Fprintf(to.out, "  %s\n", s.Error)
	}
	if s.State.State == "absent" {
		fmt.Fprintf(to.out, "  %s to be fed; set it up with: pgshunt feed apply --replica %s\n", counted(len(s.Tables), "table"), s.Replica)
		printProblems(to.out, "  ", s.Problems, to.colour)
		return
	}
	if len(s.Tables) > 0 {
		w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  table\tstate\trows\tbytes\tage")
		for _, t := range s.Tables {
			state := t.State
			if t.Copy {
				state += " (copy)"
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", shown(t.Schema, t.Name), state,
				unless(t.Rows < 0, grouped(t.Rows)), unless(t.Bytes < 0, prettyBytes(t.Bytes)),
				unless(t.Age < 0, shortTime(time.Duration(t.Age*float64(time.Second)))))
		}
		_ = w.Flush() // as with fmt.Fprint: a closed pipe is the reader's choice
	}
	for _, t := range s.Tables {
		for _, d := range t.Drift {
			fmt.Fprintf(to.out, "  %s %s: %s\n", paint(to.colour, yellow, "drift   "), shown(t.Schema, t.Name), escaped(d))
		}
	}
	for _, c := range s.Changes {
		fmt.Fprintf(to.out, "  %s %s: begun %s ago, %s\n           -> %s\n", paint(to.colour, yellow, "change  "), oneLine(escaped(c.Statement), 100),
			shortTime(time.Duration(c.Age*float64(time.Second))), c.Phase, c.Next)
	}
	printProblems(to.out, "  ", s.Problems, to.colour)
}

// shown is the name of a table in a line of a list.
func shown(schema, name string) string { return escaped(schema + "." + name) }

// escaped writes control characters, which a name may have, as Go does: a line feed would begin
// another line of a list, and a terminal obeys others.
func escaped(text string) string {
	var out strings.Builder
	for _, r := range text {
		if unicode.IsControl(r) {
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func unless(unknown bool, text string) string {
	if unknown {
		return "-"
	}
	return text
}
