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

// feed sets up logical replication from the primary to both PostgresML servers:
// what an administrator does once, past the proxy. It returns when the initial
// copy is over.
func (f *demoFleet) feed(ctx context.Context, page *demoPage) error {
	publication := "CREATE PUBLICATION " + demoDatabase + " FOR TABLE " + strings.Join(demoTables, ", ")
	page.directly(f.primary.Name, publication+";")
	if err := f.primary.exec(ctx, demoDatabase, publication); err != nil {
		return err
	}
	for _, r := range f.replicas {
		page.directly(r.Name, "pg_dump --schema-only (from the primary) | psql")
		if err := f.copySchema(ctx, r); err != nil {
			return err
		}
		source := fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s", f.primary.Port, f.primary.Superuser(), demoDatabase)
		subscription := fmt.Sprintf("CREATE SUBSCRIPTION %s CONNECTION '%s' PUBLICATION %s", r.Name, source, demoDatabase)
		page.directly(r.Name, subscription+";")
		if err := r.exec(ctx, demoDatabase, subscription); err != nil {
			return err
		}
	}
	for _, r := range f.replicas {
		if err := r.await(ctx, "the first copy of the tables",
			"SELECT count(*) = $1 FROM pg_subscription_rel WHERE srsubstate = 'r'", len(demoTables)); err != nil {
			return err
		}
	}
	return nil
}

// copySchema makes the primary's tables and views on a PostgresML server.
func (f *demoFleet) copySchema(ctx context.Context, to *demoServer) error {
	dump := demoProgram(ctx, f.primary.Binaries.Dir, "pg_dump", "--schema-only", "--no-publications", "--no-subscriptions",
		"--dbname", f.primary.SocketURL(f.primary.Superuser(), demoDatabase))
	var schema, complaint bytes.Buffer
	dump.Stdout, dump.Stderr = &schema, &complaint
	if err := dump.Run(); err != nil {
		return fmt.Errorf("pg_dump of the primary's schema: %w\n%s", err, complaint.String())
	}
	load := demoProgram(ctx, to.Binaries.Dir, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
		"--dbname", to.SocketURL(to.Superuser(), demoDatabase))
	load.Stdin, load.Stderr = &schema, &complaint
	if err := load.Run(); err != nil {
		return fmt.Errorf("schema of the primary on %s: %w\n%s", to.Name, err, complaint.String())
	}
	return nil
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
