package dump

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
)

// copied is a line of the journal.
type copied struct {
	age         float64 // seconds
	rows, bytes int64
	partial     bool
	missing     bool // the table is not there any more
}

// copies reads the journal, by schema and name.
func copies(ctx context.Context, run *feed.Run, target *pgx.Conn) (map[string]copied, error) {
	failed := func(err error) error {
		return &feed.Error{Server: run.Target.Name, Doing: "read the journal", Err: err}
	}
	var have bool
	if err := target.QueryRow(ctx, `SELECT to_regclass('pgshunt.copies') IS NOT NULL`).Scan(&have); err != nil || !have {
		if err != nil {
			err = failed(err)
		}
		return nil, err
	}
	rows, err := target.Query(ctx, `SELECT p.relation, extract(epoch FROM clock_timestamp() - p.copied_at)::float8, p.copied_rows,
		coalesce(pg_total_relation_size(c.oid), 0), p.partial, c.oid IS NULL
		FROM pgshunt.copies p LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) ON n.nspname || '.' || c.relname = p.relation AND c.relkind IN ('r', 'p')`)
	if err != nil {
		return nil, failed(err)
	}
	all := make(map[string]copied)
	var name string
	var one copied
	if _, err := pgx.ForEachRow(rows, []any{&name, &one.age, &one.rows, &one.bytes, &one.partial, &one.missing}, func() error {
		all[name] = one
		return nil
	}); err != nil {
		return nil, failed(err)
	}
	return all, nil
}

// State tells how old the copies are.
func State(ctx context.Context, run *feed.Run) (feed.State, error) {
	state := feed.State{Replica: run.Replica.Name, Feed: string(run.Replica.Feed), State: "absent", LagBytes: -1, LagSeconds: -1, Retained: -1}
	system, err := look(ctx, run, &state)
	if err != nil {
		return state, err
	}
	target, err := run.Target.Connect(ctx)
	if err != nil {
		state.State = "broken"
		state.Unreached(run.Target, true, err, "nobody reads its copies until it answers")
		return state, nil
	}
	defer func() { _ = closeConn(target) }()
	have, err := copies(ctx, run, target)
	if err != nil {
		return state, err
	}
	var names []string
	for name, one := range have {
		names = append(names, name)
		state.LagSeconds = max(state.LagSeconds, one.age)
		state.State = "ready"
	}
	slices.Sort(names)
	for _, name := range names {
		one := have[name]
		schema, table, _ := strings.Cut(name, ".")
		t := feed.TableState{Schema: schema, Name: table, State: "ready", Rows: one.rows, Bytes: one.bytes, Age: one.age}
		if one.missing {
			t.State, state.State = "missing", "broken"
		} else if run.Replica.Schedule != 0 && one.age > 2*time.Duration(run.Replica.Schedule).Seconds() {
			t.State = "stale"
			if state.State == "ready" {
				state.State = "stale"
			}
		}
		state.Tables = append(state.Tables, t)
	}
	stranger, err := run.Stranger(ctx, target, system)
	if err != nil {
		return state, err
	}
	if stranger != nil {
		state.State, state.Problems = "broken", append(state.Problems, *stranger)
	}
	var copying bool
	if err := target.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE starts_with(nspname, $1))`, stagingPrefix).Scan(&copying); err != nil {
		return state, &feed.Error{Server: run.Target.Name, Doing: "look for a copy being made", Err: err}
	}
	if copying && state.State == "absent" {
		state.State = "copying"
	}
	state.Overdue(run)
	return state, nil
}

// look asks the primary for its system identifier, and tells of one that no connection is made
// to, which the copies do not need. That may be so for good, where they come by a directory; a
// login that is refused is a mistake.
func look(ctx context.Context, run *feed.Run, state *feed.State) (system string, err error) {
	primary, err := run.Primary.Connect(ctx)
	if err == nil {
		defer func() { _ = closeConn(primary) }()
		return run.Primary.System(ctx, primary)
	}
	refused := (*pgconn.PgError)(nil)
	state.Unreached(run.Primary, errors.As(err, &refused) && refused.Code != codeNotNow, err,
		"the copies are as they were, none is made until it answers, and what differs from its definitions is not known")
	return "", nil
}

// codeNotNow is that of a server that starts or stops.
const codeNotNow = "57P03"
