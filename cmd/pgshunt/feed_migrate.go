package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/feed"
	"pgshunt/feed/migrate"
	"pgshunt/parser"
)

// migrateOptions are the flags that `pgshunt feed migrate` has besides.
type migrateOptions struct {
	file                 string
	repair, keep, recopy bool
}

func feedMigrateCommand() *cobra.Command {
	var opts feedOptions
	var own migrateOptions
	cmd := &cobra.Command{
		Use: "migrate", Short: "Change the schema on the primary and on the replicas, in the order that breaks no feed",
		Long: "Migrate carries out the statements of a file on the primary, each in a transaction of its own, and makes\n" +
			"what the replicas need of them: columns and partitions come to a replica first, what goes leaves it\n" +
			"last, new tables are published and copied. Every step is journalled on the replica. After a kill, run\n" +
			"it again: with the same file it goes on behind the last statement that was done, without a file it\n" +
			"finishes, or takes back, the one that was under way.\n\n" +
			"With --repair it mends replicas after somebody has changed the primary alone.",
		Example: "  pgshunt feed migrate -f change.sql --print\n  pgshunt feed migrate --repair",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return runFeedMigrate(ctx, opts, own, streamsOf(cmd))
		},
	}
	opts.flags(cmd)
	cmd.Flags().BoolVar(&opts.print, "print", false, "print what would be done, and do nothing")
	cmd.Flags().StringVarP(&own.file, "file", "f", "", "the statements, as a `file` or - for standard input")
	cmd.Flags().BoolVar(&own.repair, "repair", false, "mend what differs from the primary")
	cmd.Flags().BoolVar(&own.keep, "keep", false, "with --repair: leave columns and tables that the primary has no more")
	cmd.Flags().BoolVar(&own.recopy, "recopy", false, "allow changes for which a table has to be copied anew; it is incomplete on the replica meanwhile")
	cmd.MarkFlagsMutuallyExclusive("file", "repair")
	return cmd
}

// runFeedMigrate returns nil, exitFinding or exitUsage, with everything told. A script
// concerns all replicas, whatever --replica says: it changes the primary of all.
func runFeedMigrate(ctx context.Context, opts feedOptions, own migrateOptions, to feedStreams) error {
	if !own.repair && len(opts.replicas) > 0 {
		fmt.Fprintln(to.err, "pgshunt feed migrate: a change of the primary concerns every replica; --replica goes with --repair alone")
		return exitUsage
	}
	script, err := own.script(to.in)
	if err != nil {
		fmt.Fprintln(to.err, "pgshunt feed migrate:", err)
		return exitUsage
	}
	cfg, names, err := feedReplicas(opts, "migrate", to)
	if err != nil {
		return err
	}
	began := time.Now()
	progress := newFeedProgress(to, opts.json)
	progress.script = opts.print
	var runs []*feed.Run
	for _, name := range names {
		run, openErr := feed.Open(cfg, name, feed.Options{Print: opts.print, Sink: progress.take})
		if openErr != nil {
			err = openErr
			break
		}
		runs = append(runs, run)
	}
	switch {
	case err != nil:
	case own.repair:
		for _, run := range runs {
			if err = migrate.Repair(ctx, run, migrate.Mending{Keep: own.keep, Apply: feedWays[run.Replica.Feed].apply}); err != nil {
				break
			}
		}
	case own.file == "":
		err = migrate.Resume(ctx, runs)
	default:
		err = migrate.Script(ctx, runs, script, migrate.Options{Recopy: own.recopy})
	}
	progress.close()
	result := feedSummary{Command: "migrate", OK: err == nil, Print: opts.print, Replicas: []feedResult{}}
	if err != nil {
		result.Error = err.Error()
		if ctx.Err() != nil {
			result.Error = "interrupted; run the same command again to go on"
		}
	}
	switch {
	case opts.json:
		printLine(to.out, result)
	case err != nil:
		fmt.Fprintf(to.err, "%s: %s\n", paint(to.colour, red, "not migrated"), result.Error)
	case opts.print:
		fmt.Fprintf(to.out, "-- %s; nothing was done.\n", counted(len(progress.done), "step"))
	default:
		fmt.Fprintf(to.out, "%s in %s: %s, %s found done already\n", paint(to.colour, green, "migrated"),
			shortTime(time.Since(began)), counted(len(progress.done), "step"), counted(progress.skipped, "statement"))
	}
	if err != nil {
		return exitFinding
	}
	return nil
}

// script reads the file.
func (o migrateOptions) script(in io.Reader) ([]migrate.Statement, error) {
	var text []byte
	var err error
	switch o.file {
	case "":
		return nil, nil
	case "-":
		text, err = io.ReadAll(in)
	default:
		text, err = os.ReadFile(o.file)
	}
	if err != nil {
		return nil, err
	}
	definitions, err := parser.Definitions(string(text))
	if err != nil {
		return nil, err
	}
	return statementsOf(definitions), nil
}
