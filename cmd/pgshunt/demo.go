package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/configs"
)

func demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine, with servers of its own",
		Long: "Demo starts a primary and two PostgresML stand-ins on free ports, feeds them by logical\n" +
			"replication, starts pgshunt in front of them, and tells a story through psql: for every\n" +
			"statement it shows where it ran, why, and how long. Every step is checked.\n\n" +
			"It then stays up for you to try, until Ctrl-C, which removes everything it made.\n" +
			"With --once, or ONCE=1 in the environment, it ends after the story.\n\n" +
			"Exit status: 0 all as expected, 1 not so.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v := os.Getenv("ONCE"); v != "" && v != "0" {
				once = true
			}
			// SIGPIPE too: whoever pipes this into head leaves no servers behind.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
			defer stop()
			r, err := runDemo(ctx, demoOptions{once: once, story: demoStory()}, newDemoPage(cmd.OutOrStdout()))
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "pgshunt demo:", err)
				return exitFinding
			}
			if r.failures() > 0 {
				return exitFinding
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the story")
	return cmd
}

// demoOptions say what a run of the demo does.
type demoOptions struct {
	once  bool // end after the story
	story []demoStep
	// ready, if set, is called with the connection string when the story is over and the demo stays up.
	ready func(url string)
}

// demo is one run: the servers, the proxy in front of them, and psql.
type demo struct {
	page   *demoPage
	dir    string // holds everything that is written
	fleet  *demoFleet
	seen   *demoDecisions
	log    *os.File
	proxy  *serving
	psql   *demoPsql
	report *demoReport
}

// runDemo starts everything, tells the story, and stays until ctx ends unless it
// is to run once. Whatever happens, no process and no directory is left when it
// returns. The error is about what kept the story from being told; steps that went
// otherwise than expected are in the report.
func runDemo(ctx context.Context, opts demoOptions, page *demoPage) (report *demoReport, err error) {
	d := &demo{page: page, seen: &demoDecisions{}, report: &demoReport{}}
	defer func() {
		if closeErr := d.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("while cleaning up: %w", closeErr))
		}
		if err == nil {
			page.say("All servers are stopped and their files are removed.")
		}
	}()
	if err = d.start(ctx); err == nil {
		err = d.tell(ctx, opts.story)
	}
	switch {
	case ctx.Err() != nil:
		return d.report, errors.New("interrupted before the end of the story; everything has been removed")
	case err != nil:
		return d.report, err
	}
	d.prove(ctx)
	page.summary(d.report)
	if opts.once {
		return d.report, nil
	}
	page.invitation(d.report)
	return d.report, d.stay(ctx, opts.ready)
}

// demoPatience bounds the start of the servers and each wait for them.
const demoPatience = time.Minute

// start brings up the servers, the proxy and psql.
func (d *demo) start(ctx context.Context) error {
	versions, err := demoVersions(ctx)
	if err != nil {
		return fmt.Errorf("%w\n`make demo` installs PostgreSQL on Debian and Ubuntu", err)
	}
	dir, err := os.MkdirTemp("", "pgshunt-demo-")
	if err != nil {
		return err
	}
	d.dir, d.report.Dir = dir, dir
	d.page.say("Starting three servers in %s, %s:", dir, versions)
	began := time.Now()
	startCtx, cancel := context.WithTimeoutCause(ctx, demoPatience, errors.New("the servers took more than a minute to start"))
	defer cancel()
	if d.fleet, err = startDemoFleet(startCtx, dir); err != nil {
		return err
	}
	for _, s := range d.fleet.all() {
		d.report.PIDs = append(d.report.PIDs, s.PID())
		d.page.note("%-8s port %d  %s", s.Name, s.Port, s.what)
	}
	d.page.note("up after %.1f s", time.Since(began).Seconds())
	if err := d.serve(); err != nil {
		return err
	}
	d.psql, err = startDemoPsql(ctx, d.fleet.primary.Binaries.Dir, d.report.URL, d.page.boxes)
	return err
}

// serve starts the proxy from a configuration file, as `pgshunt serve` would.
func (d *demo) serve() error {
	text := d.fleet.config()
	file := filepath.Join(d.dir, "pgshunt.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	cfg, err := configs.Load(file)
	if err != nil {
		return fmt.Errorf("the configuration of the demo: %w", err)
	}
	if d.log, err = os.Create(filepath.Join(d.dir, "pgshunt.log")); err != nil {
		return err
	}
	// The story is told from the same debug lines that the log file gets.
	log := slog.New(slog.NewMultiHandler(newLogger(d.log, cfg.Log).Handler(), d.seen))
	if d.proxy, err = startServing(cfg, log); err != nil {
		return err
	}
	d.report.Config, d.fleet.file = file, file
	d.report.URL = fmt.Sprintf("postgres://%s@%s/%s", demoUser, d.proxy.addr, demoDatabase)
	d.page.say("\npgshunt in front of them, with this configuration:")
	d.page.block(text)
	d.page.say("The one connection string for everything that follows:")
	d.page.note("%s", d.report.URL)
	return nil
}

// stay keeps everything up until ctx ends, and shows where each statement goes
// that somebody sends meanwhile.
func (d *demo) stay(ctx context.Context, ready func(url string)) error {
	d.seen.follow(d.page.visitor)
	if ready != nil {
		ready(d.report.URL)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.proxy.done:
		return fmt.Errorf("the proxy has ended: %w", err)
	case <-d.fleet.primary.Done():
		return d.fleet.primary.gone()
	case <-d.fleet.replicas[0].Done():
		return d.fleet.replicas[0].gone()
	case <-d.fleet.replicas[1].Done():
		return d.fleet.replicas[1].gone()
	}
}

// close ends everything that start began, as far as it came.
func (d *demo) close() error {
	d.seen.follow(nil)
	var errs []error
	if d.psql != nil {
		d.psql.close()
	}
	if d.proxy != nil {
		d.proxy.close(time.Second)
	}
	if d.fleet != nil {
		errs = append(errs, d.fleet.close())
	}
	if d.log != nil {
		_ = d.log.Close() // it goes with the directory
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
