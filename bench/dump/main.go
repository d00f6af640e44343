// Command dump measures the copies of the dump feed beside PostgreSQL's own programs, on two
// servers of this machine:
//
//	go run ./bench/dump -scale 50 -rounds 3
//
// Each round brings pgbench's tables to an empty database by each way, the first of them
// changing with every round, so that a machine that is shared slows all of them. It prints
// medians, ratios with their extremes, the CPU time of pgshunt and the most memory that it
// has held, and ends with status 1 if a goal is missed: twice as fast as pg_dump | psql, and
// as fast as pg_dump -Fd -j2 with pg_restore -j2.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/cluster"
)

// database is what is copied, on both servers.
const database = "shop"

// way is one way of bringing it.
type way struct {
	name string
	run  func(context.Context) (cpu time.Duration, memory int64, err error)
	took []time.Duration
}

func main() {
	scale := flag.Int("scale", 50, "of pgbench")
	rounds := flag.Int("rounds", 3, "how often each way is measured")
	jobs := flag.Int("jobs", 2, "connections that copy at once")
	flag.Parse()
	met, err := measure(context.Background(), *scale, *rounds, *jobs)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if !met {
		os.Exit(1)
	}
}

func measure(ctx context.Context, scale, rounds, jobs int) (met bool, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &rig{dir: dir, jobs: strconv.Itoa(jobs)}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.start(ctx, scale); err != nil {
		return false, err
	}
	ways := []*way{{name: "pgshunt feed apply", run: r.pgshunt}, {name: "pg_dump | psql", run: r.plain}, {name: "pg_dump -Fd, pg_restore, -j" + r.jobs, run: r.directory}}
	for round := range rounds {
		for i := range ways {
			w := ways[(round+i)%len(ways)]
			if err := r.empty(ctx); err != nil {
				return false, err
			}
			began := time.Now()
			cpu, memory, err := w.run(ctx)
			if err != nil {
				return false, fmt.Errorf("%s: %w", w.name, err)
			}
			took := time.Since(began)
			w.took = append(w.took, took)
			if err := r.equal(ctx); err != nil {
				return false, fmt.Errorf("%s: %w", w.name, err)
			}
			line := fmt.Sprintf("round %d: %-30s %6.2f s", round+1, w.name, took.Seconds())
			if memory > 0 {
				line += fmt.Sprintf("   its own CPU %.2f s, memory at most %d MB", cpu.Seconds(), memory>>20)
			}
			fmt.Println(line)
		}
	}
	met = true
	for i, goal := range []float64{2, 1} {
		var ratios []float64
		for n, took := range ways[i+1].took {
			ratios = append(ratios, took.Seconds()/ways[0].took[n].Seconds())
		}
		slices.Sort(ratios)
		middle := ratios[len(ratios)/2]
		met = met && middle >= goal
		fmt.Printf("%s takes %.2f times as long (%.2f to %.2f), the goal is %.1f\n", ways[i+1].name, middle, ratios[0], ratios[len(ratios)-1], goal)
	}
	return met, nil
}

// rig is the two servers and the programs.
type rig struct {
	dir, jobs        string
	primary, replica *cluster.Cluster
}

func (r *rig) start(ctx context.Context, scale int) (err error) {
	// As PostgreSQL comes, but for the buffers: with its own defaults every page would be
	// written several times by all ways.
	settings := map[string]string{"fsync": "on", "full_page_writes": "on", "wal_level": "replica", "shared_buffers": "256MB", "max_wal_size": "4GB"}
	if r.primary, err = cluster.Start(ctx, cluster.Config{Name: "primary", Settings: settings}); err != nil {
		return err
	}
	if r.replica, err = cluster.Start(ctx, cluster.Config{Name: "replica", Settings: settings}); err != nil {
		return err
	}
	if err := r.sql(ctx, r.primary, "CREATE DATABASE "+database); err != nil {
		return err
	}
	if _, _, err := run(ctx, r.program("pgbench"), "-i", "-q", "-s", strconv.Itoa(scale), r.url(r.primary)); err != nil {
		return err
	}
	config := fmt.Sprintf("primary: {url: %q}\nreplicas: [{name: ml1, url: %q, feed: dump}]\n", r.url(r.primary), r.url(r.replica))
	if err := os.WriteFile(filepath.Join(r.dir, "pgshunt.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	_, _, err = run(ctx, "go", "build", "-o", filepath.Join(r.dir, "pgshunt"), "./cmd/pgshunt")
	return err
}

func (r *rig) close() (err error) {
	for _, c := range []*cluster.Cluster{r.primary, r.replica} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

func (r *rig) program(name string) string { return filepath.Join(r.primary.Binaries.Dir, name) }

func (r *rig) url(c *cluster.Cluster) string { return c.URL(c.Superuser(), database) }

func (r *rig) sql(ctx context.Context, c *cluster.Cluster, statements ...string) error {
	conn, err := pgx.Connect(ctx, c.SocketURL(c.Superuser(), "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// empty begins a round: an empty database, and nothing of the last way left to write.
func (r *rig) empty(ctx context.Context) error {
	return r.sql(ctx, r.replica, "DROP DATABASE IF EXISTS "+database+" WITH (FORCE)", "CREATE DATABASE "+database, "CHECKPOINT")
}

func (r *rig) pgshunt(ctx context.Context) (time.Duration, int64, error) {
	return run(ctx, filepath.Join(r.dir, "pgshunt"), "feed", "apply", "--jobs", r.jobs, "-c", filepath.Join(r.dir, "pgshunt.yaml"))
}

func (r *rig) plain(ctx context.Context) (cpu time.Duration, memory int64, err error) {
	_, _, err = run(ctx, "sh", "-c", `"$1" "$2" | "$3" -q -v ON_ERROR_STOP=1 "$4"`, "sh", r.program("pg_dump"), r.url(r.primary), r.program("psql"), r.url(r.replica))
	return 0, 0, err
}

func (r *rig) directory(ctx context.Context) (cpu time.Duration, memory int64, err error) {
	to := filepath.Join(r.dir, "copy")
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	if _, _, err := run(ctx, r.program("pg_dump"), "-Fd", "-j", r.jobs, "-f", to, r.url(r.primary)); err != nil {
		return 0, 0, err
	}
	_, _, err = run(ctx, r.program("pg_restore"), "-j", r.jobs, "-d", r.url(r.replica), to)
	return 0, 0, err
}

// equal makes sure that a way has brought everything.
func (r *rig) equal(ctx context.Context) error {
	var texts []string
	for _, c := range []*cluster.Cluster{r.primary, r.replica} {
		conn, err := pgx.Connect(ctx, r.url(c))
		if err != nil {
			return err
		}
		var text string
		err = conn.QueryRow(ctx, `SELECT (SELECT count(*) || ' ' || sum(hashtext(a::text)) FROM pgbench_accounts a) || ' ' || (SELECT sum(hashtext(b::text)) FROM pgbench_branches b)
			|| ' ' || (SELECT sum(hashtext(t::text)) FROM pgbench_tellers t) || ' ' || (SELECT count(*) FROM pg_index WHERE indisprimary AND indrelid::regclass::text LIKE 'pgbench_%')`).Scan(&text)
		_ = conn.Close(ctx)
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	if texts[0] != texts[1] {
		return fmt.Errorf("the primary has %s, the replica %s", texts[0], texts[1])
	}
	return nil
}

// run runs a program and returns its CPU time and the most memory that it has held.
func run(ctx context.Context, program string, args ...string) (cpu time.Duration, memory int64, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(string(out)))
	}
	state := cmd.ProcessState
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		memory = usage.Maxrss << 10
	}
	return state.UserTime() + state.SystemTime(), memory, nil
}
