// Command dump measures the copies of the dump feed beside PostgreSQL's own programs, on two
// servers of this machine:
//
//	go run ./bench/dump -scale 50 -rounds 3
//	go run ./bench/dump -scale 50 -rounds 3 -pgbench
//
// Each round brings a database to an empty one by each way, the first of them
// changing with every round, so that a machine that is shared slows all of them. It prints
// medians, ratios with their extremes, the CPU time of the servers and of the programs, the
// most memory that pgshunt has held, and ends with status 1 if a goal is missed: twice as fast as pg_dump | psql, and
// as fast as pg_dump -Fd -j2 with pg_restore -j2. The database is the one that the feeds are
// proved with: pgbench's tables with foreign keys, those of every kind, 50,000 rows of 100
// columns, and 1 GB out of line; with -pgbench it is only pgbench's tables, of which one holds
// all but everything.
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

	"pgshunt/configs"
	"pgshunt/internal/cluster"
	"pgshunt/internal/feedtest"
)

// way is one way of bringing it.
type way struct {
	name string
	run  func(context.Context) (cpu time.Duration, memory int64, err error)
	took []time.Duration
	cpu  []time.Duration // of the servers and the programs
}

func main() {
	scale := flag.Int("scale", 50, "of pgbench")
	rounds := flag.Int("rounds", 3, "how often each way is measured")
	jobs := flag.Int("jobs", 2, "connections that copy at once")
	pgbench := flag.Bool("pgbench", false, "copy pgbench's tables alone")
	flag.Parse()
	met, err := measure(context.Background(), feedtest.Sizes{Scale: *scale, Wide: 50000, Toast: 1 << 30}, *pgbench, *rounds, *jobs)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if !met {
		os.Exit(1)
	}
}

func measure(ctx context.Context, sizes feedtest.Sizes, pgbench bool, rounds, jobs int) (met bool, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &rig{dir: dir, jobs: strconv.Itoa(jobs)}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.start(ctx, sizes, pgbench); err != nil {
		return false, err
	}
	ways := []*way{{name: "pgshunt feed apply", run: r.pgshunt}, {name: "pg_dump | psql", run: r.plain}, {name: "pg_dump -Fd, pg_restore, -j" + r.jobs, run: r.directory}}
	// What comes first on a new server makes the files of its WAL, which all that follow find.
	if err := r.empty(ctx); err != nil {
		return false, err
	}
	if _, _, err := r.plain(ctx); err != nil {
		return false, err
	}
	for round := range rounds {
		for i := range ways {
			w := ways[(round+i)%len(ways)]
			if err := r.empty(ctx); err != nil {
				return false, err
			}
			before, err := r.cpu()
			if err != nil {
				return false, err
			}
			began := time.Now()
			own, memory, err := w.run(ctx)
			if err != nil {
				return false, fmt.Errorf("%s: %w", w.name, err)
			}
			took := time.Since(began)
			after, err := r.cpu()
			if err != nil {
				return false, err
			}
			w.took, w.cpu = append(w.took, took), append(w.cpu, after-before+own)
			if err := r.equal(ctx); err != nil {
				return false, fmt.Errorf("%s: %w", w.name, err)
			}
			line := fmt.Sprintf("round %d: %-30s %6.2f s   CPU: servers %5.2f s, programs %5.2f s", round+1, w.name, took.Seconds(), (after - before).Seconds(), own.Seconds())
			if memory > 0 {
				line += fmt.Sprintf(", memory at most %d MB", memory>>20)
			}
			fmt.Println(line)
		}
	}
	met = true
	for i, goal := range []float64{2, 1} {
		took, cpu := ratios(ways[i+1].took, ways[0].took), ratios(ways[i+1].cpu, ways[0].cpu)
		last := len(took) - 1
		met = met && took[len(took)/2] >= goal
		fmt.Printf("%s takes %.2f times as long (%.2f to %.2f), the goal is %.1f; CPU %.2f times as much (%.2f to %.2f)\n",
			ways[i+1].name, took[len(took)/2], took[0], took[last], goal, cpu[len(cpu)/2], cpu[0], cpu[last])
	}
	return met, nil
}

// ratios are those of a's to b's within rounds, sorted.
func ratios(a, b []time.Duration) (sorted []float64) {
	for i := range a {
		sorted = append(sorted, a[i].Seconds()/b[i].Seconds())
	}
	slices.Sort(sorted)
	return sorted
}

// rig is the two servers and the programs.
type rig struct {
	*feedtest.Rig
	dir, jobs string
	replica   *feedtest.Replica
}

func (r *rig) start(ctx context.Context, sizes feedtest.Sizes, pgbench bool) (err error) {
	// As PostgreSQL comes, but for the buffers: with its own defaults every page would be
	// written several times by all ways.
	settings := map[string]string{"fsync": "on", "full_page_writes": "on", "wal_level": "replica", "shared_buffers": "256MB", "max_wal_size": "4GB", "log_statement": "none"}
	if r.Rig, err = feedtest.Start(ctx, r.dir, feedtest.Options{Settings: settings}, configs.FeedDump); err != nil {
		return err
	}
	r.replica = r.Replicas[0]
	for _, c := range []*cluster.Cluster{r.Primary, r.replica.Cluster} {
		if err := ordinary(ctx, c); err != nil {
			return err
		}
	}
	if pgbench {
		err = r.Pgbench(ctx, sizes.Scale)
	} else {
		err = r.Fill(ctx, sizes)
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "pgshunt.yaml"), []byte(r.Config()), 0o600); err != nil {
		return err
	}
	_, _, err = run(ctx, "go", "build", "-o", filepath.Join(r.dir, "pgshunt"), "./cmd/pgshunt")
	return err
}

func (r *rig) close() error {
	if r.Rig == nil {
		return nil
	}
	return r.Close()
}

// cpu is the CPU time of both servers so far.
func (r *rig) cpu() (time.Duration, error) {
	primary, err := serverCPU(r.Primary)
	if err != nil {
		return 0, err
	}
	replica, err := serverCPU(r.replica.Cluster)
	return primary + replica, err
}

func (r *rig) program(name string) string { return filepath.Join(r.Primary.Binaries.Dir, name) }

func (r *rig) url(c *cluster.Cluster) string { return c.URL(feedtest.User, feedtest.Database) }

// empty begins a way: an empty database, and nothing of the last way left to write or, where
// a file system tells its disk what is free, to discard.
func (r *rig) empty(ctx context.Context) error {
	if err := feedtest.Exec(ctx, r.replica.Cluster, "postgres", "DROP DATABASE IF EXISTS shop WITH (FORCE)", "CREATE DATABASE shop", "CHECKPOINT"); err != nil {
		return err
	}
	syscall.Sync()
	return nil
}

func (r *rig) pgshunt(ctx context.Context) (time.Duration, int64, error) {
	return run(ctx, filepath.Join(r.dir, "pgshunt"), "feed", "apply", "--jobs", r.jobs, "-c", filepath.Join(r.dir, "pgshunt.yaml"))
}

func (r *rig) plain(ctx context.Context) (cpu time.Duration, memory int64, err error) {
	cpu, _, err = run(ctx, "sh", "-c", `"$1" "$2" | "$3" -q -v ON_ERROR_STOP=1 "$4"`, "sh", r.program("pg_dump"), r.url(r.Primary), r.program("psql"), r.url(r.replica.Cluster))
	return cpu, 0, err
}

func (r *rig) directory(ctx context.Context) (cpu time.Duration, memory int64, err error) {
	to := filepath.Join(r.dir, "copy")
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	dump, _, err := run(ctx, r.program("pg_dump"), "-Fd", "-j", r.jobs, "-f", to, r.url(r.Primary))
	if err != nil {
		return 0, 0, err
	}
	restore, _, err := run(ctx, r.program("pg_restore"), "-j", r.jobs, "-d", r.url(r.replica.Cluster), to)
	return dump + restore, 0, err
}

// equal makes sure that a way has brought everything.
func (r *rig) equal(ctx context.Context) error {
	differences, err := r.Differences(ctx, r.replica)
	if err == nil && len(differences) > 0 {
		err = errors.New(strings.Join(differences, "\n"))
	}
	return err
}

// run runs a program and returns its CPU time and the most memory that it has held.
func run(ctx context.Context, program string, args ...string) (cpu time.Duration, memory int64, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+feedtest.Password)
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
