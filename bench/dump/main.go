// Command dump measures the copies of the dump feed beside PostgreSQL's own programs, on two
// servers of this machine:
//
//	go run ./bench/dump -scale 50 -rounds 3
//
// Each round brings pgbench's tables to an empty database by each way, the first of them
// changing with every round, so that a machine that is shared slows all of them. It prints
// medians, ratios with their extremes, the CPU time of the servers and of the programs, the
// most memory that pgshunt has held, and ends with status 1 if a goal is missed: twice as fast as pg_dump | psql, and
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
	cpu  []time.Duration // of the servers and the programs
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
	dir, jobs        string
	primary, replica *cluster.Cluster
}

func (r *rig) start(ctx context.Context, scale int) (err error) {
	// As PostgreSQL comes, but for the buffers: with its own defaults every page would be
	// written several times by all ways.
	settings := map[string]string{"fsync": "on", "full_page_writes": "on", "wal_level": "replica", "shared_buffers": "256MB", "max_wal_size": "4GB"}
	if r.primary, err = cluster.Start(ctx, cluster.Config{Name: "primary", Side: cluster.PrimarySide, Settings: settings}); err != nil {
		return err
	}
	if r.replica, err = cluster.Start(ctx, cluster.Config{Name: "replica", Side: cluster.ReplicaSide, Settings: settings}); err != nil {
		return err
	}
	for _, c := range []*cluster.Cluster{r.primary, r.replica} {
		if err := ordinary(ctx, c); err != nil {
			return err
		}
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

// cpu is the CPU time of both servers so far.
func (r *rig) cpu() (time.Duration, error) {
	primary, err := serverCPU(r.primary)
	if err != nil {
		return 0, err
	}
	replica, err := serverCPU(r.replica)
	return primary + replica, err
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
	cpu, _, err = run(ctx, "sh", "-c", `"$1" "$2" | "$3" -q -v ON_ERROR_STOP=1 "$4"`, "sh", r.program("pg_dump"), r.url(r.primary), r.program("psql"), r.url(r.replica))
	return cpu, 0, err
}

func (r *rig) directory(ctx context.Context) (cpu time.Duration, memory int64, err error) {
	to := filepath.Join(r.dir, "copy")
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	dump, _, err := run(ctx, r.program("pg_dump"), "-Fd", "-j", r.jobs, "-f", to, r.url(r.primary))
	if err != nil {
		return 0, 0, err
	}
	restore, _, err := run(ctx, r.program("pg_restore"), "-j", r.jobs, "-d", r.url(r.replica), to)
	return dump + restore, 0, err
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
