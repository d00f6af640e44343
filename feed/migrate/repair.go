package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/schema"
	"pgshunt/feed/verify"
)

// Mending says how Repair works.
type Mending struct {
	// Keep leaves columns and tables on the replica that the primary has no more.
	Keep bool
	// Apply is the feed's own: it brings tables that are missing. nil is none.
	Apply func(context.Context, *feed.Run) error
}

// stages are what is mended, in the order in which changes that are still under way pass:
// first what makes room for more, then what changes meaning, last what takes away. Between
// them everything is applied that can be.
var stages = [...]string{"make room for what the primary has", "follow names and types", "take away what the primary has no more"}

func stageOf(d *schema.Difference) int {
	switch d.Kind {
	case schema.KindRenamedColumn, schema.KindType, schema.KindCollation, schema.KindGenerated, schema.KindDomain, schema.KindAttributes:
		return 1
	case schema.KindExtraColumn, schema.KindExtraTable, schema.KindPrimaryKey, schema.KindRelation, schema.KindPartitionKey, schema.KindBound:
		return 2
	case schema.KindNotNull:
		if strings.Contains(strings.Join(d.Repair, " "), "SET NOT NULL") {
			return 2
		}
	}
	if d.Destroys {
		return 2
	}
	return 0
}

// Repair mends what has drifted on a replica because the primary was changed without it, and
// lets its subscription go on. It ends when nothing differs any more that matters, or says
// what is left.
func Repair(ctx context.Context, run *feed.Run, how Mending) error {
	if !fedByUs(run) {
		return nil
	}
	mended, err := mend(ctx, run, how)
	if err != nil {
		return err
	}
	if how.Apply != nil { // with a lock of its own
		if err := how.Apply(ctx, run); err != nil {
			return err
		}
	}
	if run.Print {
		return nil
	}
	if len(mended) > 0 && run.Replica.Feed == configs.FeedLogical {
		// Rows that were there may lack values that only the primary has.
		if _, err := verify.Run(ctx, run, verify.Options{Repair: true, Tables: mended}); err != nil {
			return err
		}
		if _, err := mend(ctx, run, how); err != nil {
			return err
		}
	}
	left, err := schema.Drift(ctx, run)
	if err != nil {
		return err
	}
	var texts []string
	for _, d := range left {
		if d.Matters && (!how.Keep || stageOf(&d) < 2) {
			texts = append(texts, d.Schema+"."+d.Table+": "+d.String())
		}
	}
	if len(texts) > 0 {
		return &feed.Error{Server: run.Target.Name, Doing: "mend the drift", Err: fmt.Errorf("these differences are left: %s", strings.Join(texts, "; "))}
	}
	return nil
}

// mend works through the stages under the replica's lock, and names the tables whose rows may
// differ for it.
func mend(ctx context.Context, run *feed.Run, how Mending) (tables configs.Patterns, err error) {
	m, err := open(ctx, []*feed.Run{run}, Options{})
	if err != nil {
		return nil, err
	}
	defer m.close()
	if err := m.resume(ctx); err != nil {
		return nil, err
	}
	r := m.replicas[0]
	for stage := range stages {
		if err := r.settle(ctx); err != nil {
			return nil, err
		}
		all, err := schema.Drift(ctx, run)
		if err != nil {
			return nil, err
		}
		if run.Print && stage > 0 {
			continue // the first look has told of all
		}
		if stage == 0 { // what shows too much first
			if err := r.alignAll(ctx); err != nil {
				return nil, err
			}
		}
		for i := range all {
			d := &all[i]
			switch {
			case d.OfAccess():
				continue
			case len(d.Repair) == 0 || how.Keep && stageOf(d) == 2 && d.Destroys:
				if stage == 0 && d.Matters && d.Note != "" {
					run.Note(run.Target.Name, "%s.%s: %s", d.Schema, d.Table, d)
				}
				continue
			case stageOf(d) != stage && !run.Print:
				continue
			}
			err := r.repair(ctx, d)
			if pg := (*pgconn.PgError)(nil); d.Kind == schema.KindNotNull && errors.As(err, &pg) && pg.Code == "23502" {
				run.Note(run.Target.Name, "%s.%s: rows lack values of %s, which are fetched first", d.Schema, d.Table, d.Column)
				err = nil
			}
			if err != nil {
				return nil, err
			}
			if d.Kind != schema.KindExtraTable && d.Table != "" {
				tables = append(tables, d.Schema+"."+d.Table)
			}
		}
	}
	return tables, r.settle(ctx)
}

// repair carries out what mends one difference, in one transaction.
func (r *replica) repair(ctx context.Context, d *schema.Difference) error {
	step := feed.Step{
		On: r.run.Target, What: "mend " + d.Schema + "." + d.Table + ": " + d.String(),
		SQL: "SET lock_timeout = '" + lockPatience.String() + "'; " + strings.Join(d.Repair, "; "),
	}
	if r.run.Print {
		step.SQL = strings.Join(d.Repair, "; ")
		return r.run.Do(ctx, nil, step)
	}
	return patiently(ctx, func() error { return r.run.Do(ctx, r.conn, step) })
}

// stillness is how long a subscription that does not get on counts as one that cannot: it
// tries again every five seconds (wal_retrieve_retry_interval).
const stillness = 12 * time.Second

// settle lets the subscription go on and waits until it has applied everything, or cannot.
func (r *replica) settle(ctx context.Context) error {
	if r.run.Replica.Feed != configs.FeedLogical {
		return nil
	}
	var enabled bool
	err := r.conn.QueryRow(ctx, `SELECT s.subenabled FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
		WHERE d.datname = current_database() AND s.subname = $1`, r.run.Name).Scan(&enabled)
	if err == pgx.ErrNoRows {
		return nil // the feed's Apply makes it
	}
	if err != nil {
		return r.wrong("look at the subscription", err)
	}
	if !enabled {
		step := feed.Step{On: r.run.Target, What: "let the subscription go on", SQL: "ALTER SUBSCRIPTION " + quoted(r.run.Name) + " ENABLE"}
		if err := r.run.Do(ctx, r.conn, step); err != nil || r.run.Print {
			return err
		}
	}
	if r.run.Print {
		return nil
	}
	lsn, err := position(ctx, r.primary)
	if err != nil {
		return r.wrong("wait until everything is applied", err)
	}
	failures, err := r.failures(ctx)
	if err != nil {
		return r.wrong("look at the subscription", err)
	}
	last, moved := "", time.Now()
	for {
		var there bool
		var now string
		err := r.primary.QueryRow(ctx, `SELECT coalesce(bool_or(confirmed_flush_lsn >= $2::pg_lsn), true), coalesce(max(confirmed_flush_lsn)::text, '')
			FROM pg_replication_slots WHERE slot_name = $1`, r.run.Name, lsn).Scan(&there, &now)
		if err != nil {
			return r.wrong("wait until everything is applied", err)
		}
		if now != last {
			last, moved = now, time.Now()
		}
		if there {
			return nil
		}
		failed, err := r.failures(ctx)
		if err != nil {
			return r.wrong("look at the subscription", err)
		}
		if failed != failures || time.Since(moved) > stillness {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// failures changes when the subscription fails, or is disabled. Servers before 15 do not count.
func (r *replica) failures(ctx context.Context) (string, error) {
	count := "0"
	if version(r.conn) >= 150000 {
		count = "(SELECT t.apply_error_count FROM pg_stat_subscription_stats t WHERE t.subid = s.oid)"
	}
	return find1(ctx, r.conn, "SELECT concat("+count+`, s.subenabled) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
		WHERE d.datname = current_database() AND s.subname = $1`, r.run.Name)
}
