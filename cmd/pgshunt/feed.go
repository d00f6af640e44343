package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// feedOptions are the flags that `pgshunt feed ..` commands share. A command has those
// that make sense for it.
type feedOptions struct {
	config   string
	replicas []string
	all      bool
	print    bool
	json     bool
	yes      bool
	jobs     int
	tables   []string
	// toDir and fromDir are directories that a copy is written to and loaded from.
	toDir, fromDir string
	// anyFeed also takes replicas that have no feed.
	anyFeed bool
}

// feedStreams are where a command reads and writes.
type feedStreams struct {
	in       io.Reader
	out, err io.Writer
	// live is set where out is a terminal: progress is a bar there. colour is set where the
	// terminal's user likes colours.
	live, colour bool
}

func streamsOf(cmd *cobra.Command) feedStreams {
	out := cmd.OutOrStdout()
	return feedStreams{in: cmd.InOrStdin(), out: out, err: cmd.ErrOrStderr(), live: isTerminal(out), colour: wantsColour(out)}
}

func feedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Bring the primary's data to the PostgresML servers, and watch over it",
		Long: "Feed works on the replicas of the configuration that have a feed: dump, fdw, logical or native.\n" +
			"Every command can be run again: what is done is found done, and what a killed command has left\n" +
			"half done is finished or undone.\n\n" +
			"Begin with `pgshunt feed plan`: it changes nothing.\n\n" +
			"Exit status: 0 fine, 1 something stands against it, failed or differs, 2 wrong usage or configuration.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(feedPlanCommand(), feedStatusCommand(), feedVerifyCommand(), feedMigrateCommand())
	for _, verb := range feedVerbs {
		cmd.AddCommand(feedVerbCommand(verb))
	}
	return cmd
}

// flags adds the flags that every command of a feed has.
func (o *feedOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.config, "config", "c", "pgshunt.yaml", "configuration `file`")
	cmd.Flags().StringSliceVar(&o.replicas, "replica", nil, "only this replica (`name`); may be repeated")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, one object a line")
	cmd.Args, cmd.SilenceUsage, cmd.SilenceErrors = cobra.NoArgs, true, true
}

func feedVerbCommand(verb feedVerb) *cobra.Command {
	var opts feedOptions
	cmd := &cobra.Command{
		Use: verb.name, Short: verb.short, Long: verb.long,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return runFeed(ctx, opts, verb, streamsOf(cmd))
		},
	}
	opts.flags(cmd)
	cmd.Flags().BoolVar(&opts.print, "print", false, "print the SQL and commands, passwords masked, and do nothing")
	cmd.Flags().IntVar(&opts.jobs, "jobs", 0, "`connections` that copy at once (default one for each processor, at most 4)")
	if verb.picks {
		cmd.Flags().StringSliceVar(&opts.tables, "table", nil, "copy tables that this `pattern` meets anew, whatever their state (logical); may be repeated")
	}
	if verb.from != nil {
		cmd.Flags().StringVar(&opts.toDir, "to-dir", "", "write the copy to this new `directory`, and leave the replica alone (dump)")
		cmd.Flags().StringVar(&opts.fromDir, "from-dir", "", "load the copy from this `directory`, and leave the primary alone (dump)")
	}
	if verb.removes {
		cmd.Flags().BoolVar(&opts.all, "all", false, "every replica that has a feed")
		cmd.Flags().BoolVar(&opts.yes, "yes", false, "do not ask")
	}
	return cmd
}

// untilSignal returns a context that ends with the first SIGINT, SIGTERM or SIGHUP, so that
// work is given up in good order. The second one ends the process.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// isTerminal says whether a person looks at out.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
