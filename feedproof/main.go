package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pgshunt/configs"
	"pgshunt/internal/cluster"
	"pgshunt/internal/feedtest"
)

// options is what the command line asks for.
type options struct {
	pgshunt  string
	ways     []configs.Feed
	sizes    feedtest.Sizes
	write    time.Duration
	kills    int
	verbs    []string
	seed     uint64
	keep     bool
	rig      bool
	dir      string
	settings map[string]string
}

func main() {
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "feedproof:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "feedproof:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("feedproof", flag.ContinueOnError)
	ways := flags.String("ways", "dump,fdw,logical", "which feeds")
	flags.StringVar(&o.pgshunt, "pgshunt", "bin/pgshunt", "the binary to test; make build makes it")
	flags.IntVar(&o.sizes.Scale, "scale", 50, "pgbench's scale")
	flags.IntVar(&o.sizes.Wide, "wide", 50000, "rows of the table of 100 columns")
	toast := flags.Int64("toast", 1024, "megabytes out of line")
	flags.DurationVar(&o.write, "write", time.Minute, "how long pgbench writes")
	flags.IntVar(&o.kills, "kills", 0, "how many times to kill, for each way, of pgshunt, the replica and the primary in turn")
	verbs := flags.String("of", "apply,refresh,migrate", "with -kills: which commands; migrate is of all ways together")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the points to kill at")
	flags.BoolVar(&o.keep, "keep", false, "stay up at the end, until Ctrl-C")
	flags.BoolVar(&o.rig, "rig", false, "only start the servers and fill the primary, and stay up until Ctrl-C")
	flags.StringVar(&o.dir, "dir", "", "folder for the servers (default a temporary one)")
	buffers := flags.String("shared_buffers", "128MB", "of each server")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for way := range strings.SplitSeq(*ways, ",") {
		o.ways = append(o.ways, configs.Feed(way))
	}
	for verb := range strings.SplitSeq(*verbs, ",") {
		if !slices.Contains([]string{"apply", "refresh", "migrate"}, verb) {
			return o, fmt.Errorf("-of %s: apply, refresh and migrate are killed", verb)
		}
		o.verbs = append(o.verbs, verb)
	}
	o.sizes.Toast = *toast << 20
	o.settings = map[string]string{"shared_buffers": *buffers, "log_statement": "ddl"}
	return o, nil
}

func say(format string, args ...any) {
	fmt.Printf("%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func run(ctx context.Context, o options) (err error) {
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "pgshunt-feedproof-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := cluster.PreferPrograms(ctx); err != nil {
		return err
	}
	say("starting a primary and %d replicas in %s", len(o.ways), dir)
	rig, err := feedtest.Start(ctx, dir, feedtest.Options{Settings: o.settings}, o.ways...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	file := filepath.Join(dir, "pgshunt.yaml")
	if err := os.WriteFile(file, []byte(rig.Config()), 0o600); err != nil {
		return err
	}
	say("filling the primary: pgbench at scale %d, %d wide rows, %d MB out of line", o.sizes.Scale, o.sizes.Wide, o.sizes.Toast>>20)
	if err := rig.Fill(ctx, o.sizes); err != nil {
		return err
	}
	s := &story{options: o, proof: &feedtest.Proof{Rig: rig, Command: program(o.pgshunt, file), Say: say}, file: file, work: dir}
	if !o.rig {
		if err := s.tell(ctx); err != nil {
			return err
		}
	}
	if o.keep || o.rig {
		say("staying up: %s feed status -c %s", o.pgshunt, file)
		<-ctx.Done()
		return nil
	}
	return s.end(ctx)
}

// story is one run.
type story struct {
	options
	proof *feedtest.Proof
	file  string // the configuration
	work  string // a folder
}

// each does something for every feed, and goes on with the others where it fails for one.
func (s *story) each(ctx context.Context, do ...func(context.Context, *feedtest.Replica) error) error {
	var errs []error
	for _, r := range s.proof.Replicas {
		for _, step := range do {
			if err := step(ctx, r); err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	return errors.Join(errs...)
}

func (s *story) tell(ctx context.Context) error {
	p := s.proof
	if err := s.each(ctx, func(ctx context.Context, r *feedtest.Replica) error {
		_, err := p.Remedy(ctx, r)
		return err
	}); err != nil {
		return err
	}
	if err := s.each(ctx, p.Apply, p.Settle, p.Equal); err != nil {
		return err
	}
	say("all feeds are applied and equal")
	if err := p.Write(ctx, s.work, 2, s.write); err != nil {
		return err
	}
	say("pgbench wrote for %s", s.write)
	if err := s.each(ctx, p.Settle, p.Equal); err != nil {
		return err
	}
	if err := s.each(ctx, p.Verified); err != nil {
		return err
	}
	say("all feeds are equal again, and verify says so")
	if err := s.train(ctx); err != nil {
		return err
	}
	if s.kills > 0 {
		if err := s.kill(ctx); err != nil {
			return err
		}
	}
	if s.kills > 0 && slices.Contains(s.verbs, "migrate") {
		if err := s.killMigrate(ctx); err != nil {
			return err
		}
	}
	names, err := p.LogsWithPassword()
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("the password is in the logs of %s", strings.Join(names, ", "))
	}
	return err
}

// train trains through a proxy, on each feed.
func (s *story) train(ctx context.Context) error {
	url, stop, err := serve(ctx, s.pgshunt, s.file)
	if err != nil {
		return err
	}
	defer stop()
	return s.each(ctx, func(ctx context.Context, r *feedtest.Replica) error { return s.proof.Train(ctx, url, r) })
}

// end drops the feeds.
func (s *story) end(ctx context.Context) error {
	err := s.each(ctx, s.proof.Drop)
	if err == nil {
		err = s.proof.PrimaryLeft(ctx)
	}
	if err == nil {
		say("all feeds are dropped and nothing is left of them")
	}
	return err
}
