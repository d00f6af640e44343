package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/dump"
)

// feedResult is how a command ended for one replica.
type feedResult struct {
	Replica string       `json:"replica"`
	Feed    configs.Feed `json:"feed"`
	OK      bool         `json:"ok"`
	Error   string       `json:"error,omitempty"`
	// Problems are what blocks the feed, or is to be known of it.
	Problems []feed.Problem `json:"problems,omitempty"`
	// Done lists the steps that were carried out, in their order.
	Done []feedDone `json:"done"`
	// Skipped counts the steps that were found done.
	Skipped int     `json:"skipped"`
	Seconds float64 `json:"seconds"`
}

// feedSummary is the last object that a command prints with --json.
type feedSummary struct {
	Command  string       `json:"command"`
	OK       bool         `json:"ok"`
	Print    bool         `json:"print,omitempty"`
	Error    string       `json:"error,omitempty"`
	Replicas []feedResult `json:"replicas"`
}

// feedReplicas loads the configuration and chooses the replicas: those that are named, or
// all that have a feed. An error has been told when it returns.
func feedReplicas(opts feedOptions, command string, to feedStreams) (*configs.Config, []string, error) {
	cfg, err := configs.Load(opts.config)
	var names []string
	if err == nil {
		names, err = chooseReplicas(cfg, opts.replicas, opts.anyFeed)
	}
	if err == nil {
		return cfg, names, nil
	}
	if opts.json {
		printLine(to.out, feedSummary{Command: command, Error: err.Error(), Replicas: []feedResult{}})
	} else {
		fmt.Fprintln(to.err, err)
	}
	return nil, nil, exitUsage
}

func chooseReplicas(cfg *configs.Config, named []string, anyFeed bool) (names []string, err error) {
	for _, name := range named {
		r := cfg.Replica(name)
		switch {
		case r == nil:
			return nil, fmt.Errorf("no replica named %q is configured; there are: %s", name, strings.Join(replicaNames(cfg), ", "))
		case r.Feed == configs.FeedNone && !anyFeed:
			return nil, fmt.Errorf("replica %s has no feed; set replicas[].feed to dump, fdw, logical or native", name)
		}
		names = append(names, name)
	}
	if len(named) > 0 {
		return names, nil
	}
	for i := range cfg.Replicas {
		if anyFeed || cfg.Replicas[i].Feed != configs.FeedNone {
			names = append(names, cfg.Replicas[i].Name)
		}
	}
	switch {
	case len(names) == 0 && anyFeed:
		return nil, errors.New("no replica is configured; set replicas")
	case len(names) == 0:
		return nil, errors.New("no replica has a feed; set replicas[].feed to dump, fdw, logical or native")
	}
	return names, nil
}

func replicaNames(cfg *configs.Config) []string {
	names := make([]string, len(cfg.Replicas))
	for i := range cfg.Replicas {
		names[i] = cfg.Replicas[i].Name
	}
	return names
}

// runFeed carries a verb out for one replica after the other, so that the primary serves
// one copy at a time. What fails for one does not keep the others from their turn. It
// returns nil, exitFinding or exitUsage, with everything told.
func runFeed(ctx context.Context, opts feedOptions, verb feedVerb, to feedStreams) error {
	if verb.removes && len(opts.replicas) == 0 && !opts.all && !opts.print {
		fmt.Fprintf(to.err, "pgshunt feed %s: name the replica with --replica, or say --all\n", verb.name)
		return exitUsage
	}
	cfg, names, err := feedReplicas(opts, verb.name, to)
	if err != nil {
		return err
	}
	if opts.toDir != "" || opts.fromDir != "" {
		if err := opts.checkDirs(cfg, names); err != nil {
			fmt.Fprintf(to.err, "pgshunt feed %s: %v\n", verb.name, err)
			return exitUsage
		}
	}
	if opts.toDir != "" {
		verb.done = "written"
	}
	if verb.removes && !opts.yes && !opts.print && !agreed(to, verb.name, names) {
		return exitUsage
	}
	summary := feedSummary{Command: verb.name, OK: true, Print: opts.print, Replicas: []feedResult{}}
	for _, name := range names {
		r := feedOne(ctx, cfg, name, opts, verb, to)
		summary.OK = summary.OK && r.OK
		summary.Replicas = append(summary.Replicas, r)
		if !opts.json {
			printResult(to, verb, opts.print, r)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if opts.json {
		printLine(to.out, summary)
	}
	if !summary.OK {
		return exitFinding
	}
	return nil
}

// checkDirs finds what makes no sense of --to-dir and --from-dir.
func (o *feedOptions) checkDirs(cfg *configs.Config, names []string) error {
	switch {
	case o.toDir != "" && o.fromDir != "":
		return errors.New("--to-dir and --from-dir are for the two sides; give one of them")
	case len(o.tables) > 0:
		return errors.New("--table does not go with a directory, which has all of the feed's tables")
	case len(names) != 1:
		return errors.New("a directory is for one replica; name it with --replica")
	}
	if have := cfg.Replica(names[0]).Feed; have != configs.FeedDump {
		return fmt.Errorf("a copy in a directory is for feed: dump, and replica %s has feed: %s", names[0], have)
	}
	return nil
}

// agreed asks the person at the terminal. Without one it says what is missing.
func agreed(to feedStreams, verb string, names []string) bool {
	if !to.live {
		fmt.Fprintf(to.err, "pgshunt feed %s: nobody can be asked here; say --yes\n", verb)
		return false
	}
	fmt.Fprintf(to.out, "%s the feed of %s? Type yes to go on: ", strings.ToUpper(verb[:1])+verb[1:], strings.Join(names, ", "))
	answer, _ := bufio.NewReader(to.in).ReadString('\n')
	if strings.TrimSpace(answer) == "yes" {
		return true
	}
	fmt.Fprintln(to.out, "Nothing was done.")
	return false
}

// feedOne carries a verb out for one replica.
func feedOne(ctx context.Context, cfg *configs.Config, name string, opts feedOptions, verb feedVerb, to feedStreams) feedResult {
	began := time.Now()
	result := feedResult{Replica: name, Feed: cfg.Replica(name).Feed}
	progress := newFeedProgress(to, opts.json)
	progress.script = opts.print
	err := func() error {
		run, err := feed.Open(cfg, name, feed.Options{Print: opts.print, Jobs: opts.jobs, Sink: progress.take})
		if err != nil {
			return err
		}
		if opts.toDir != "" {
			if !opts.json && !opts.print {
				fmt.Fprintf(to.out, "%s: write a copy to %s\n", name, opts.toDir)
			}
			return dump.Save(ctx, run, opts.toDir, version)
		}
		if result.Feed, err = wayOf(ctx, run, verb); err != nil {
			return err
		}
		way, ok := feedWays[result.Feed]
		if !ok {
			return fmt.Errorf("feed: %s is not in this version", result.Feed)
		}
		if !opts.json && !opts.print {
			fmt.Fprintf(to.out, "%s: %s the %s feed\n", name, verb.name, result.Feed)
		}
		if opts.fromDir != "" {
			return verb.from(ctx, run, opts.fromDir)
		}
		if len(opts.tables) == 0 {
			return verb.do(way)(ctx, run)
		}
		again, ok := feedAgain[result.Feed]
		if !ok {
			return fmt.Errorf("--table is for feed: logical; %s of the whole feed is what feed: %s has", verb.name, result.Feed)
		}
		return again(ctx, run, configs.Patterns(opts.tables).MatchQualified)
	}()
	next := "run the same command again to go on, or `pgshunt feed drop --replica " + name + "` to undo it"
	if opts.toDir != "" {
		next = "run the same command again"
	}
	result.end(ctx, progress, began, err, next)
	return result
}

// end notes how it ended: what was done, what blocks, or the error. next says what to do
// after an interruption.
func (r *feedResult) end(ctx context.Context, progress *feedProgress, began time.Time, err error, next string) {
	progress.close()
	r.Done, r.Skipped = progress.done, progress.skipped
	r.Seconds = time.Since(began).Seconds()
	if blocked := (*feed.Blocked)(nil); errors.As(err, &blocked) {
		r.Problems = blocked.Problems
	}
	switch {
	case err == nil:
		r.OK = true
	case ctx.Err() != nil:
		r.Error = "interrupted; " + next
	default:
		r.Error = err.Error()
	}
}

// wayOf is the way to work by: the one of the configuration, or to remove, the one that has
// been applied. A replica that is fed another way has to be freed of that first.
func wayOf(ctx context.Context, run *feed.Run, verb feedVerb) (configs.Feed, error) {
	want := run.Replica.Feed
	conn, err := run.Target.Connect(ctx)
	if err != nil {
		if verb.removes { // what the feed has on the primary can be removed all the same
			err = nil
		}
		return want, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	have, err := run.Way(ctx, conn)
	switch {
	case err != nil || have == "" || have == want:
		return want, err
	case verb.removes:
		return have, nil
	}
	return want, run.Block([]feed.Problem{{
		Server: run.Target.Name, Check: "other_feed", Blocks: true,
		What:   fmt.Sprintf("it is fed by %s now, and the configuration says %s", have, want),
		Remedy: "pgshunt feed drop --replica " + run.Replica.Name,
	}})
}
