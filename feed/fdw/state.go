package fdw

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// State tells how the feed is: whether the replica reaches the primary, which foreign tables
// there are and what of them is not the primary's any more, and how old the copies are.
func State(ctx context.Context, run *feed.Run) (feed.State, error) {
	s := feed.State{Replica: run.Replica.Name, Feed: string(run.Replica.Feed), State: "absent", LagBytes: -1, LagSeconds: -1, Retained: -1}
	w := &work{run: run}
	defer w.close(ctx)
	errPrimary, errTarget := w.connectBoth(ctx)
	if errPrimary != nil {
		s.Unreached(run.Primary, true, errPrimary, "foreign tables cannot be read until it answers; copies can")
	}
	if errTarget != nil {
		s.State = "broken"
		s.Unreached(run.Target, true, errTarget, "nobody reads anything there until it answers")
		return s, nil
	}
	if errPrimary != nil {
		return s, w.alone(ctx, &s)
	}
	if err := w.look(ctx); err != nil {
		return s, err
	}
	server, err := w.lookAtServer(ctx)
	if err != nil {
		return s, err
	}
	s.State = "ready"
	if server == nil {
		s.State = "absent"
	} else if s.Problems, err = w.stateProblems(ctx, server); err != nil {
		return s, err
	}
	for _, p := range s.Problems {
		if p.Blocks {
			s.State = "broken"
		}
	}
	if s.State == "ready" {
		s.LagBytes, s.LagSeconds = 0, 0
	}
	for _, t := range w.fed {
		one := w.tableState(t)
		s.Tables = append(s.Tables, one)
		s.LagSeconds = max(s.LagSeconds, one.Age)
		switch {
		case s.State != "ready" && s.State != "stale":
		case one.State == "missing":
			s.State = "stopped"
		case one.State == "stale":
			s.State = "stale"
		}
	}
	s.Overdue(run)
	return s, w.drift(ctx, &s)
}

// tableState is how one table is, but for its drift.
func (w *work) tableState(t *feed.Table) feed.TableState {
	one := feed.TableState{Schema: t.Schema, Name: t.Name, State: "missing", Rows: -1, Bytes: -1, Age: -1}
	switch have := w.have[t.Plain()]; {
	case have == nil:
	case have.ours(w.run.Name):
		// All of it is the primary's, the estimates too.
		one.State, one.Rows, one.Bytes, one.Age = "ready", t.Rows, 0, 0
	case w.copied[t.Plain()] != nil:
		c := w.copied[t.Plain()]
		one.State, one.Rows, one.Bytes, one.Age, one.Copy = "ready", c.Rows, c.Bytes, c.Age, true
		if every := time.Duration(w.run.Replica.Schedule); every != 0 && c.Age > 2*every.Seconds() {
			one.State = "stale"
		}
	default:
		one.State = "broken" // another relation by that name
	}
	return one
}

// drift says of each table what differs from the primary's definition.
func (w *work) drift(ctx context.Context, s *feed.State) error {
	found, err := w.differences(ctx)
	if err != nil {
		return err
	}
	who, err := w.access(ctx)
	if err != nil {
		return err
	}
	old, err := w.copyDifferences(ctx)
	if err != nil {
		return err
	}
	schema.Fill(s, slices.Concat(found, old, who))
	renamed, err := w.unnamed(ctx)
	if err != nil {
		return err
	}
	for i := range s.Tables {
		one := &s.Tables[i]
		for _, column := range renamed[one.Schema+"."+one.Name] {
			one.Drift = append(one.Drift, "column "+feed.Quote("", column)+": is asked for by another name on the primary")
		}
	}
	return nil
}

// stateProblems are those of a feed that is set up.
func (w *work) stateProblems(ctx context.Context, server *foreignServer) ([]feed.Problem, error) {
	var all []feed.Problem
	name := w.run.Target.Name
	if other, err := w.strange(server); err != nil || other != nil {
		if err == nil {
			all = append(all, other.problem(w.run.Target))
		}
		return all, err
	}
	again := "pgshunt feed apply --replica " + w.run.Replica.Name
	want, err := w.serverOptions(ctx)
	if err != nil {
		return nil, err
	}
	if change(server.options, want) != "" {
		all = append(all, feed.Problem{Server: name, Check: "server", What: "the foreign server has other options than the configuration", Remedy: again})
	}
	missing, err := w.unmapped(ctx)
	if err != nil {
		return nil, err
	}
	mappings, err := w.mappings(ctx)
	if err != nil {
		return nil, err
	}
	for _, user := range missing {
		if !slices.ContainsFunc(mappings, func(m mapping) bool { return m.User == user && m.Options == nil }) { // else it cannot be seen
			all = append(all, feed.Problem{Server: name, Check: "mapping", What: quoteUser(user) + " is not mapped as the configuration has it", Remedy: again})
		}
	}
	if !server.owned {
		all = append(all, w.notOwned())
	}
	if err := w.reach(ctx); err != nil {
		p := feed.Problem{Server: name, Check: "connection", Blocks: true, What: "it cannot read the primary: " + feed.Cause(err), Remedy: again}
		if len(all) == 0 {
			p.Note = "when what the primary says is mended there, or in replicas[].source"
		}
		all = append(all, p)
	}
	rights, err := w.sourceProblems(ctx)
	if err != nil {
		return nil, err
	}
	return append(all, rights...), nil
}

// reach reads one row of one foreign table, if there is any, for at most a few seconds.
func (w *work) reach(ctx context.Context) error {
	for _, t := range w.live {
		have := w.have[t.Plain()]
		if have == nil || !have.ours(w.run.Name) || t.Security {
			continue
		}
		return pgx.BeginFunc(ctx, w.target, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '15s'"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, fmt.Sprintf("SELECT FROM %s LIMIT 1", t.Qualified()))
			return err
		})
	}
	return nil
}
