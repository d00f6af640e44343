package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/verify"
)

// feedVerified is what `pgshunt feed verify --json` prints last.
type feedVerified struct {
	Command  string         `json:"command"`
	OK       bool           `json:"ok"`
	Replicas []verification `json:"replicas"`
}

// verification is the report on one replica, and what ended it before its time.
type verification struct {
	verify.Report
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

func feedVerifyCommand() *cobra.Command {
	var opts feedOptions
	var own verify.Options
	var tables []string
	cmd := &cobra.Command{
		Use: "verify", Short: "Compare the rows of the replicas with the primary's, and mend them on request",
		Long: "Verify compares numbers and hashes of rows by ranges of their key, finds which rows differ, and shows\n" +
			"their keys. It reads on one connection to each server, in short statements, and writes nothing on\n" +
			"the primary. The primary may be written to meanwhile: a subscription is compared at what it has\n" +
			"applied. The copy of a dump is compared with what the primary has now.\n\n" +
			"With --repair the rows that differ are written anew on the replica, in a transaction for each range, and\n" +
			"compared again.\n\n" +
			"Exit status: 0 all is equal, 1 something differs or could not be compared, 2 wrong usage or configuration.",
		Example: "  pgshunt feed verify --replica ml1\n  pgshunt feed verify --table 'public.*' --repair",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			own.Tables = configs.Patterns(tables)
			return runFeedVerify(ctx, opts, own, streamsOf(cmd))
		},
	}
	opts.flags(cmd)
	cmd.Flags().BoolVar(&own.Repair, "repair", false, "write the rows that differ on the replica")
	cmd.Flags().BoolVar(&opts.print, "print", false, "with --repair: say how many rows would be written, and write none")
	cmd.Flags().StringSliceVar(&tables, "table", nil, "only tables that this `pattern` meets; may be repeated")
	cmd.Flags().IntVar(&own.Keys, "keys", 20, "how many `keys` to show of each table")
	return cmd
}

// runFeedVerify returns nil, exitFinding or exitUsage, with everything told.
func runFeedVerify(ctx context.Context, opts feedOptions, own verify.Options, to feedStreams) error {
	cfg, names, err := feedReplicas(opts, "verify", to)
	if err != nil {
		return err
	}
	all := feedVerified{Command: "verify", OK: true, Replicas: []verification{}}
	for _, name := range names {
		one := verifyOne(ctx, cfg, name, opts, own, to)
		all.OK = all.OK && one.OK
		all.Replicas = append(all.Replicas, one)
		if !opts.json {
			printVerified(to, &one)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if opts.json {
		printLine(to.out, all)
	}
	if !all.OK {
		return exitFinding
	}
	return nil
}

func verifyOne(ctx context.Context, cfg *configs.Config, name string, opts feedOptions, own verify.Options, to feedStreams) (one verification) {
	one.Replica, one.Feed = name, string(cfg.Replica(name).Feed)
	if cfg.Replica(name).Feed == configs.FeedNative {
		one.OK = true // there is one copy of the data
		return one
	}
	progress := newFeedProgress(to, opts.json)
	run, err := feed.Open(cfg, name, feed.Options{Print: opts.print, Sink: progress.bar})
	if err == nil {
		one.Report, err = verify.Run(ctx, run, own)
	}
	progress.close()
	switch {
	case err == nil:
		one.OK = one.Equal()
	case ctx.Err() != nil:
		one.Error = "interrupted; what was repaired stays so"
	default:
		one.Error = err.Error()
	}
	return one
}

// bar is take without a line for each table that was compared.
func (p *feedProgress) bar(e feed.Event) {
	if e.Status == feed.StatusDone && !p.json {
		p.finish(e)
		return
	}
	p.take(e)
}

func printVerified(to feedStreams, v *verification) {
	if v.Feed == string(configs.FeedNative) {
		fmt.Fprintf(to.out, "%s (native): the primary itself, nothing to compare\n", v.Replica)
		return
	}
	word := paint(to.colour, green, "equal")
	switch {
	case v.Error != "":
		word = paint(to.colour, red, "not compared to the end")
	case !v.OK:
		word = paint(to.colour, red, "not equal")
	}
	fmt.Fprintf(to.out, "%s (%s): %s, %s, %s rows, %s in %s, %s", v.Replica, v.Feed, word, counted(len(v.Tables), "table"),
		grouped(v.Rows), prettyBytes(v.Bytes), counted(v.Ranges, "range"), shortTime(v.Took))
	if v.LSN != "" {
		fmt.Fprintf(to.out, ", from %s on", v.LSN)
	}
	fmt.Fprintln(to.out)
	if v.Error != "" {
		fmt.Fprintf(to.out, "  %s\n", v.Error)
	}
	if len(v.Tables) == 0 {
		return
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  table\tstate\trows\there\tbytes\tranges\ttime\tdiffering")
	for i := range v.Tables {
		t := &v.Tables[i]
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", shown(t.Schema, t.Name), t.State, grouped(t.Primary), grouped(t.Replica),
			prettyBytes(t.Bytes), t.Ranges, shortTime(t.Took.Round(time.Millisecond)), differing(t))
	}
	_ = w.Flush() // as with fmt.Fprint: a closed pipe is the reader's choice
	for i := range v.Tables {
		printDiffering(to, &v.Tables[i])
	}
	for _, name := range v.Only {
		fmt.Fprintf(to.out, "  %s %s: only the replica has it\n", paint(to.colour, yellow, "note    "), escaped(name))
	}
}

// differing says in short in what a table differs.
func differing(t *verify.TableReport) string {
	var parts []string
	for _, one := range []struct {
		n    int64
		text string
	}{{t.Missing, "missing"}, {t.Extra, "extra"}, {t.Changed, "changed"}, {t.Newer, "of them changed since the copy"}, {t.Unsettled, "too busy to compare"}, {t.Repaired, "repaired"}} {
		if one.n > 0 {
			parts = append(parts, grouped(one.n)+" "+one.text)
		}
	}
	if t.Limited {
		parts = append(parts, "and more")
	}
	return strings.Join(parts, ", ")
}

func printDiffering(to feedStreams, t *verify.TableReport) {
	name := shown(t.Schema, t.Name)
	if t.Note != "" {
		fmt.Fprintf(to.out, "  %s %s: %s\n", paint(to.colour, yellow, "note    "), name, t.Note)
	}
	for _, c := range t.Columns {
		fmt.Fprintf(to.out, "  %s %s: column %s\n", paint(to.colour, red, "differs "), name, escaped(c))
	}
	for _, r := range t.Differing {
		if r.From != "" || r.To != "" {
			fmt.Fprintf(to.out, "  %s %s: %s in the range after %s up to %s\n", paint(to.colour, red, "differs "), name, counted(r.Rows, "row"), escaped(either(r.From, "the beginning")), escaped(either(r.To, "the end")))
		}
	}
	for _, k := range t.Keys {
		fmt.Fprintf(to.out, "  %s %s: %s is %s\n", paint(to.colour, red, "differs "), name, escaped(k.Key), k.What)
	}
}

func either(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
