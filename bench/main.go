package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options is what the command line asks for.
type options struct {
	rounds, seconds            int
	clients                    []int
	protocols                  []string
	selects, bulk, conns, idle bool
	decide, calls, peers       bool
	form                       form
	pgshunt                    string
	profile                    load   // empty for a report
	out                        string // of the profile
}

func main() {
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Usage: go run ./bench [flags]. Without a section, all of them.")
		flags.PrintDefaults()
	}
	flags.IntVar(&o.rounds, "rounds", 8, "interleaved rounds of each cell")
	flags.IntVar(&o.seconds, "seconds", 1, "length of a pgbench run")
	clients := flags.String("clients", "1,8,32", "numbers of clients, at most 40")
	protocols := flags.String("protocols", "simple,extended,prepared", "pgbench -M")
	flags.BoolVar(&o.selects, "selects", false, "section: pgbench -S")
	flags.BoolVar(&o.bulk, "bulk", false, "section: SELECT and COPY of 1 GB")
	flags.BoolVar(&o.conns, "connect", false, "section: pgbench -C -S, a connection for each transaction")
	flags.BoolVar(&o.idle, "idle", false, "section: memory of 1,000 and 10,000 idle clients")
	flags.BoolVar(&o.decide, "decide", false, "section: how long a routing decision takes")
	flags.BoolVar(&o.calls, "strace", false, "section: system calls for each transaction; never runs unless asked for")
	flags.BoolVar(&o.peers, "peers", true, "compare with haproxy and Pgpool-II too")
	profiled := flags.String("profile", "", "no report: run such as prepared:8 over pgshunt and write its CPU profile")
	flags.StringVar(&o.out, "out", "pgshunt.pprof", "the file that -profile writes")
	asJSON := flags.Bool("json", false, "print JSON")
	markdown := flags.Bool("markdown", false, "print Markdown")
	flags.StringVar(&o.pgshunt, "pgshunt", "bin/pgshunt", "the binary to measure")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if !o.selects && !o.bulk && !o.conns && !o.idle && !o.decide && !o.calls {
		o.selects, o.bulk, o.conns, o.idle, o.decide = true, true, true, true, true
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.rounds < 1 || o.seconds < 1:
		return o, errors.New("-rounds and -seconds must be at least 1")
	case *asJSON && *markdown:
		return o, errors.New("-json and -markdown exclude each other")
	case *asJSON:
		o.form = formJSON
	case *markdown:
		o.form = formMarkdown
	}
	var err error
	if o.clients, err = parseClients(*clients); err != nil {
		return o, fmt.Errorf("-clients: %w", err)
	}
	if o.protocols, err = parseProtocols(*protocols); err != nil {
		return o, fmt.Errorf("-protocols: %w", err)
	}
	if *profiled != "" {
		if o.profile, err = parseLoad(*profiled); err != nil {
			return o, fmt.Errorf("-profile: %w", err)
		}
	}
	return o, nil
}

func parseClients(list string) (out []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > poolSize {
			return nil, fmt.Errorf("%q is not a number from 1 to %d", word, poolSize)
		}
		out = append(out, n)
	}
	return out, nil
}

func parseProtocols(list string) (out []string, err error) {
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if word != "simple" && word != "extended" && word != "prepared" {
			return nil, fmt.Errorf("%q is not simple, extended or prepared", word)
		}
		out = append(out, word)
	}
	return out, nil
}

// run measures the sections asked for and prints the report. A round that failed
// is an error too, but only after the report.
func run(ctx context.Context, o options) (err error) {
	if runtime.GOOS != "linux" {
		return errors.New("needs Linux, for the CPU time and memory of processes in /proc")
	}
	if o.profile.protocol != "" {
		return profile(ctx, o)
	}
	before := loadAverage()
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()

	rep := report{Machine: describeMachine(r, before)}
	started := time.Now()
	sections := []struct {
		wanted  bool
		measure func(context.Context, *rig, options) ([]*table, error)
	}{
		{o.decide, measureDecisions},
		{o.selects, measureSelects},
		{o.bulk, measureBulk},
		{o.conns, measureConnects},
		{o.idle, measureIdle},
		{o.calls, measureCalls},
	}
	for _, s := range sections {
		if !s.wanted {
			continue
		}
		tables, err := s.measure(ctx, r, o)
		if err != nil {
			return err
		}
		rep.Tables = append(rep.Tables, tables...)
	}
	progress("measured in %v", time.Since(started).Round(time.Second))
	if err := rep.print(os.Stdout, o.form); err != nil {
		return err
	}
	if n := rep.failures(); n > 0 {
		return fmt.Errorf("%d rounds failed and are not in the table, see the messages above", n)
	}
	return nil
}

// progress tells a person who waits what is going on.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
