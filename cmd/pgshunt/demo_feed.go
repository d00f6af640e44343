package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// demoTables are the tables that the feed brings to the PostgresML servers.
var demoTables = []string{"patients", "flowers", "visits"}

// feed sets up logical replication from the primary to both PostgresML servers, by the
// commands of pgshunt that anybody would use. It returns when the first copy is over. A
// view is no data: it is made on each server.
func (f *demoFleet) feed(ctx context.Context, page *demoPage) error {
	if err := f.command(ctx, page, "apply", func(to feedStreams) error {
		return runFeed(ctx, feedOptions{config: f.file}, feedVerbs[0], to)
	}); err != nil {
		return err
	}
	for _, r := range f.replicas {
		page.directly(r.Name, demoView+";")
		if err := r.exec(ctx, demoDatabase, "SET ROLE "+demoUser, demoView); err != nil {
			return err
		}
	}
	return nil
}

// command runs a command of `pgshunt feed` and shows what it prints.
func (f *demoFleet) command(ctx context.Context, page *demoPage, name string, run func(feedStreams) error) error {
	page.say("\n%s", page.paint(bold, "$ pgshunt feed "+name+" -c "+f.file))
	var out bytes.Buffer
	err := run(feedStreams{in: strings.NewReader(""), out: &out, err: &out, colour: page.colour})
	if err == nil {
		for line := range strings.Lines(out.String()) {
			// What was done is listed again at the end.
			if !strings.HasPrefix(line, "  done") && !strings.HasPrefix(line, "  already") && !strings.HasPrefix(line, "  ...") {
				page.line(strings.TrimSuffix(line, "\n"))
			}
		}
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("pgshunt feed %s: %w\n%s", name, err, out.String())
}

// caughtUp waits until both PostgresML servers have applied everything that is
// committed on the primary now, and checks that they hold as many rows.
func (f *demoFleet) caughtUp(ctx context.Context, page *demoPage) error {
	began := time.Now()
	conn, err := f.primary.connect(ctx, demoDatabase)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var end string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&end); err != nil {
		return err
	}
	if err := f.primary.await(ctx, "the feeds to catch up",
		"SELECT count(*) = $1 FROM pg_stat_replication WHERE replay_lsn >= $2::text::pg_lsn", len(f.replicas), end); err != nil {
		return err
	}
	elapsed := time.Since(began)
	want, err := f.primary.rows(ctx)
	if err != nil {
		return err
	}
	for _, r := range f.replicas {
		got, err := r.rows(ctx)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s holds %s, the primary %s", r.Name, got, want)
		}
	}
	page.note("ml1 and ml2 have what the primary has after %s: %s", demoMillis(elapsed), want)
	return nil
}

// rows counts the fed tables, in words.
func (s *demoServer) rows(ctx context.Context) (string, error) {
	conn, err := s.connect(ctx, demoDatabase)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var counts []string
	for _, table := range demoTables {
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			return "", fmt.Errorf("%s: %w", s.Name, err)
		}
		counts = append(counts, fmt.Sprintf("%d %s", n, table))
	}
	return strings.Join(counts, ", "), nil
}

// await asks until the answer is true.
func (s *demoServer) await(ctx context.Context, what, sql string, args ...any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, errors.New("not within a minute"))
	defer cancel()
	conn, err := s.connect(ctx, demoDatabase)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var done bool
		if err := conn.QueryRow(ctx, sql, args...).Scan(&done); err != nil {
			return fmt.Errorf("%s: waiting for %s: %w", s.Name, what, errors.Join(err, context.Cause(ctx)))
		}
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for %s: %w; its log is %s", s.Name, what, context.Cause(ctx), s.LogPath())
		}
	}
}

// demoProgram is a client program of the servers' own installation, or of PATH
// where that has none.
func demoProgram(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	path := filepath.Join(dir, name)
	if _, err := exec.LookPath(path); err != nil {
		path = name
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = demoEnv()
	return cmd
}
