package feedtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Proof takes the feeds of a rig through their commands and checks what each has done.
type Proof struct {
	*Rig
	// Command runs `pgshunt feed ARGS -c FILE`, and returns what it printed and its exit code.
	Command func(ctx context.Context, args ...string) (out string, code int, err error)
	// Say tells what goes on.
	Say func(format string, args ...any)
}

// feed runs a command that has to succeed, for one way.
func (p *Proof) feed(ctx context.Context, verb string, r *Replica, more ...string) (string, error) {
	began := time.Now()
	out, code, err := p.Command(ctx, append([]string{verb, "--replica", r.Name}, more...)...)
	if err == nil && code != 0 {
		err = fmt.Errorf("pgshunt feed %s of %s: exit code %d\n%s", verb, r.Name, code, out)
	}
	if strings.Contains(out, Password) {
		err = errors.Join(err, fmt.Errorf("pgshunt feed %s of %s shows the password", verb, r.Feed))
	}
	if err == nil {
		p.Say("feed %s of %s: %.1f s", verb, r.Name, time.Since(began).Seconds())
	}
	return out, err
}

// planned is what the proof reads of `pgshunt feed plan --json`.
type planned struct {
	Replicas []struct {
		Name, Configured string
		Ways             []struct {
			Feed     string
			Problems []feed.Problem
		}
	}
}

// Remedy asks the plan what blocks the feed of a replica and runs the statements that it names, as
// superuser where it says, until nothing blocks. It returns the statements.
func (p *Proof) Remedy(ctx context.Context, r *Replica) (done []string, err error) {
	for range 3 {
		out, code, err := p.Command(ctx, "plan", "--json", "--watch", "10ms", "--replica", r.Name)
		if err != nil {
			return done, err
		}
		var plan planned
		if err := json.Unmarshal([]byte(out), &plan); err != nil {
			return done, fmt.Errorf("plan of %s: %w\n%s", r.Feed, err, out)
		}
		if code == 0 {
			return done, nil
		}
		for _, way := range plan.Replicas[0].Ways {
			for _, problem := range way.Problems {
				if way.Feed != string(r.Feed) || !problem.Blocks {
					continue
				}
				c := p.Server(problem.Server)
				if c == nil || problem.Remedy == "" {
					return done, fmt.Errorf("the plan of %s names no way out: %+v", r.Feed, problem)
				}
				p.Say("%s: %s", problem.Server, problem.Remedy)
				if err := Exec(ctx, c, Database, problem.Remedy); err != nil {
					return done, fmt.Errorf("the remedy of %+v: %w", problem, err)
				}
				done = append(done, problem.Remedy)
			}
		}
	}
	return done, fmt.Errorf("the plan of %s still names blockers after its remedies", r.Feed)
}

// Apply sets a feed up.
func (p *Proof) Apply(ctx context.Context, r *Replica) error {
	_, err := p.feed(ctx, "apply", r)
	return err
}

// Settle brings what was written since, as the way does: a dump is refreshed, and of a
// logical feed the lag that it reports is waited for.
func (p *Proof) Settle(ctx context.Context, r *Replica) error {
	switch r.Feed {
	case configs.FeedDump:
		_, err := p.feed(ctx, "refresh", r)
		return err
	case configs.FeedLogical:
		return p.applied(ctx, r)
	}
	return nil
}

// applied waits until status says that the replica is not behind. Lag is only worth something
// after everything has been written, so the position is asked for first.
func (p *Proof) applied(ctx context.Context, r *Replica) error {
	began := time.Now()
	conn, err := Connect(ctx, p.Primary, Database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var end string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&end); err != nil {
		return err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := p.status(ctx, r)
		if err != nil {
			return err
		}
		var past bool
		err = conn.QueryRow(ctx, "SELECT coalesce(bool_and(confirmed_flush_lsn >= $1::text::pg_lsn), false) FROM pg_replication_slots WHERE slot_name LIKE 'pgshunt%' AND database = $2", end, Database).Scan(&past)
		if err != nil {
			return err
		}
		if s.State.State == "ready" && s.LagBytes == 0 && past {
			p.Say("logical has caught up after %.1f s", time.Since(began).Seconds())
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("logical does not catch up: %+v: %w", s, context.Cause(ctx))
		}
	}
}

// status is one feed in what `pgshunt feed status --json` prints.
type status struct {
	feed.State
	Error string
}

// status asks what status says of one feed.
func (p *Proof) status(ctx context.Context, r *Replica) (s status, err error) {
	out, _, err := p.Command(ctx, "status", "--json", "--replica", r.Name)
	if err != nil {
		return s, err
	}
	var all struct{ Feeds []status }
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all.Feeds) != 1 {
		return s, fmt.Errorf("status of %s: %w\n%s", r.Feed, err, out)
	}
	return all.Feeds[0], nil
}

// Equal checks that the replica has what the primary has, by the oracle, and that the feed has
// left nothing lying about.
func (p *Proof) Equal(ctx context.Context, r *Replica) error {
	differences, err := p.Differences(ctx, r)
	if err == nil && len(differences) > 0 {
		err = fmt.Errorf("the %s feed differs:\n  %s", r.Feed, strings.Join(differences, "\n  "))
	}
	if err != nil {
		return err
	}
	_, want := Expected(r)
	have, err := Left(ctx, r.Cluster)
	if err == nil && !slices.Equal(have, want) {
		err = fmt.Errorf("the replica of the %s feed has %q, and should have %q", r.Feed, have, want)
	}
	return err
}

// PrimaryLeft checks that the primary has what the feeds that were applied need, and no more.
func (p *Proof) PrimaryLeft(ctx context.Context, applied ...*Replica) error {
	want := []string{}
	for _, r := range applied {
		own, _ := Expected(r)
		want = append(want, own...)
	}
	have, err := Left(ctx, p.Primary)
	if err == nil && !slices.Equal(have, want) {
		err = fmt.Errorf("the primary has %q, and should have %q", have, want)
	}
	return err
}

// Train trains through the proxy at url on data that arrived by the feed, and predicts by it.
func (p *Proof) Train(ctx context.Context, url string, r *Replica) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// The name of the project decides nothing here: the hint says where.
	if _, err := conn.Exec(ctx, "SET pgshunt.route = 'replica:"+r.Name+"'"); err != nil {
		return err
	}
	var project, task, algorithm string
	var deployed bool
	name := "proof_" + string(r.Feed)
	err = conn.QueryRow(ctx, "SELECT * FROM pgml.train($1, 'regression', relation_name => 'big.measures', y_column_name => 'sum')", pgx.QueryExecModeExec, name).
		Scan(&project, &task, &algorithm, &deployed)
	if err != nil {
		return fmt.Errorf("training on the %s feed: %w", r.Feed, err)
	}
	var sum float64
	if err := conn.QueryRow(ctx, "SELECT pgml.predict($1, ARRAY[4, 5, 100]::real[])", pgx.QueryExecModeExec, name).Scan(&sum); err != nil {
		return fmt.Errorf("predicting on the %s feed: %w", r.Feed, err)
	}
	if math.Abs(sum-23) > 0.5 {
		return fmt.Errorf("the model of the %s feed says that 2*4 + 3*5 is %g", r.Feed, sum)
	}
	p.Say("pgml.train on %s: %s, %s, deployed %v; 2*4 + 3*5 = %.2f", r.Name, project, algorithm, deployed, sum)
	return nil
}

// Drop removes a feed, and checks that nothing is left of it.
func (p *Proof) Drop(ctx context.Context, r *Replica) error {
	if _, err := p.feed(ctx, "drop", r, "--yes"); err != nil {
		return err
	}
	have, err := Left(ctx, r.Cluster)
	if err != nil {
		return err
	}
	// The journal is not the feed's: other databases' feeds may be in it.
	have = slices.DeleteFunc(have, func(s string) bool { return s == "schema pgshunt" })
	if len(have) > 0 {
		return fmt.Errorf("after drop the replica of the %s feed has %q", r.Feed, have)
	}
	return nil
}

// Clear removes the tables that a dropped feed has left on the replica, with their rows.
func (p *Proof) Clear(ctx context.Context, r *Replica) error {
	return Exec(ctx, r.Cluster, Database, `DO $$ DECLARE s text; BEGIN
		FOREACH s IN ARRAY ARRAY['shop', 'Mixed Case', 'big'] LOOP EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', s); END LOOP;
		FOR s IN SELECT oid::regclass::text FROM pg_class WHERE relname ~ '^pgbench_' AND relkind IN ('r', 'f') LOOP
			EXECUTE 'DROP ' || (SELECT CASE relkind WHEN 'f' THEN 'FOREIGN ' ELSE '' END FROM pg_class WHERE oid = s::regclass) || 'TABLE ' || s || ' CASCADE'; END LOOP;
		END $$`)
}

// Printed checks that apply --print changes nothing and shows what it would do.
func (p *Proof) Printed(ctx context.Context, r *Replica) error {
	out, err := p.feed(ctx, "apply", r, "--print")
	if err != nil {
		return err
	}
	have, err := Left(ctx, r.Cluster)
	if err == nil && len(have) > 0 {
		err = fmt.Errorf("apply --print of the %s feed has made %q", r.Feed, have)
	}
	if err == nil && !strings.Contains(out, "-- ") {
		err = fmt.Errorf("apply --print of the %s feed shows no step:\n%s", r.Feed, out)
	}
	return err
}

// Again checks that a second apply finds everything done.
func (p *Proof) Again(ctx context.Context, r *Replica) error {
	out, err := p.feed(ctx, "apply", r, "--json")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var summary struct {
		Replicas []struct {
			Done []struct{ Server, Step string }
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil {
		return fmt.Errorf("apply --json of %s: %w\n%s", r.Name, err, out)
	}
	done := summary.Replicas[0].Done
	// Whether the replica still reaches the primary is tried each time.
	done = slices.DeleteFunc(done, func(d struct{ Server, Step string }) bool { return strings.HasPrefix(d.Step, "log in") })
	if len(done) > 0 {
		return fmt.Errorf("a second apply of the %s feed still had to do %v", r.Feed, done)
	}
	return nil
}

// Verified checks that the command verify finds nothing that differs.
func (p *Proof) Verified(ctx context.Context, r *Replica) error {
	_, err := p.feed(ctx, "verify", r)
	return err
}
