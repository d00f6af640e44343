package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// module is what all packages' paths begin with.
const module = "pgshunt/"

// options is what the command line asks for.
type options struct {
	suites     []suite
	pairs      []pair
	pairsAsked bool // on the command line: each must be possible
	packages   []string
	flags      []string // of go test
	cache, out string
}

func main() {
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "versions:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts, os.Stdout); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "versions:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("versions", flag.ContinueOnError)
	names := flags.String("suites", strings.Join(suiteNames(), ","), "which releases of Debian")
	pairs := flags.String("pairs", mixed, "primary/replica versions to run besides each version alone")
	only := flags.String("run", "", "which tests (go test -run)")
	count := flags.Int("count", 0, "how often each test runs, also where it passed before (go test -count)")
	timeout := flags.Duration("timeout", time.Hour, "of each package")
	flags.StringVar(&o.cache, "cache", "/var/cache/pgshunt-versions", "folder for the roots; the account that servers run as must be able to enter it")
	flags.StringVar(&o.out, "out", ".versions", "folder for what the tests printed")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: go run ./versions [flags] [packages, default ./...]")
		flags.PrintDefaults()
	}
	err := flags.Parse(args)
	if err != nil {
		return o, err
	}
	if o.suites, err = chosen(*names); err != nil {
		return o, err
	}
	if o.pairs, err = parsePairs(*pairs); err != nil {
		return o, err
	}
	flags.Visit(func(f *flag.Flag) { o.pairsAsked = o.pairsAsked || f.Name == "pairs" })
	if o.packages = flags.Args(); len(o.packages) == 0 {
		o.packages = []string{"./..."}
	}
	o.flags = []string{"-timeout=" + timeout.String()}
	if *only != "" {
		o.flags = append(o.flags, "-run="+*only)
	}
	if *count > 0 {
		o.flags = append(o.flags, fmt.Sprintf("-count=%d", *count))
	}
	o.cache, err = filepath.Abs(o.cache)
	return o, err
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "versions: %s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// run runs each package on each pair and prints the table, also of what was done before
// it was interrupted. A test that fails is an error.
func run(ctx context.Context, o options, out io.Writer) error {
	found, err := installations(ctx, o.suites, o.cache)
	if err != nil {
		return err
	}
	pairs, err := runs(found, o.pairs, o.pairsAsked)
	if err != nil {
		return err
	}
	list, err := packages(ctx, o.packages)
	if err != nil {
		return err
	}
	var rows []outcome
	failed := 0
	for _, p := range pairs {
		for _, pkg := range list {
			say("%s on %s", strings.TrimPrefix(pkg, module), p)
			row, err := test(ctx, p, found, pkg, o.out, o.flags)
			if err != nil {
				return errors.Join(printTable(out, rows), err)
			}
			rows = append(rows, row)
			failed += len(row.failed)
		}
	}
	if err := printTable(out, rows); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d tests failed; what they printed is in %s", failed, o.out)
	}
	return nil
}

func printTable(out io.Writer, rows []outcome) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "primary/replica\tpackage\tpassed\tfailed\tskipped\ttime\tfailed tests")
	for _, row := range rows {
		elapsed := row.elapsed.Round(time.Second / 10).String()
		if row.cached {
			elapsed = "as before"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", row.pair, strings.TrimPrefix(row.pkg, module),
			row.passed, len(row.failed), row.skipped, elapsed, strings.Join(row.failed, " "))
	}
	return w.Flush()
}
