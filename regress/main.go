package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
)

// options is what the command line asks for.
type options struct {
	modes                []mode
	rounds, connections  int
	tests                []string // empty is the whole schedule
	pgshunt, out, source string
	oracle               bool // ask whether reads are reads, instead of comparing runs
	catalog              bool // with oracle: with a catalog
}

func main() {
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "regress:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	do := run
	if opts.oracle {
		do = askOracle
	}
	if err := do(ctx, opts, os.Stdout); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "regress:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("regress", flag.ContinueOnError)
	names := flags.String("modes", "direct,fresh,session,transaction", "which runs, in this order")
	tests := flags.String("tests", "", "names of tests, run one after the other, instead of parallel_schedule")
	flags.IntVar(&o.rounds, "rounds", 1, "runs of each mode")
	flags.IntVar(&o.connections, "connections", 20, "tests at the same time (pg_regress --max-connections)")
	flags.StringVar(&o.pgshunt, "pgshunt", "bin/pgshunt", "the binary to test")
	flags.StringVar(&o.out, "out", ".regress/differences", "folder for the files of tests that differ; emptied first")
	flags.BoolVar(&o.oracle, "oracle", false, "run what the router takes for reads in read-only transactions, and nothing else")
	flags.BoolVar(&o.catalog, "catalog", false, "with -oracle: route as with a catalog of the server, views and functions followed")
	flags.StringVar(&o.source, "source", ".regress", "folder for PostgreSQL's source")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.rounds < 1 || o.connections < 1:
		return o, errors.New("-rounds and -connections must be at least 1")
	}
	o.tests = strings.Fields(*tests)
	for name := range strings.SplitSeq(*names, ",") {
		i := slices.IndexFunc(modes, func(m mode) bool { return m.name == strings.TrimSpace(name) })
		if i < 0 {
			return o, fmt.Errorf("-modes: %q is not direct, fresh, session or transaction", name)
		}
		o.modes = append(o.modes, modes[i])
	}
	return o, nil
}

// run runs each mode in turn and prints the table. Tests that differ are no error.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	s, err := newSuite(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := os.RemoveAll(o.out); err != nil {
		return err
	}
	var rows []outcome
	for round := range o.rounds {
		for _, m := range o.modes {
			fmt.Fprintf(os.Stderr, "regress: %s, round %d of %d\n", m.name, round+1, o.rounds)
			row, err := s.run(ctx, m, round+1)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			rows = append(rows, row)
		}
	}
	return printTable(out, rows)
}

// printTable names the tests that differ from what PostgreSQL's authors expect,
// those apart that differ in a direct run too.
func printTable(out io.Writer, rows []outcome) error {
	direct := map[string]bool{}
	for _, row := range rows {
		for _, name := range row.failed {
			direct[name] = direct[name] || row.mode == modes[0].name
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "mode\tround\tpassed\tof\tdiffers\tas direct")
	for _, row := range rows {
		var own, shared []string
		for _, name := range row.failed {
			if direct[name] {
				shared = append(shared, name)
			} else {
				own = append(own, name)
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\n", row.mode, row.round, row.total-len(row.failed), row.total,
			list(own), list(shared))
	}
	return w.Flush()
}

func list(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, " ")
}
