package native

import (
	"context"

	"pgshunt/feed"
)

const lagQuery = `SELECT pg_wal_lsn_diff($1::pg_lsn, pg_last_wal_replay_lsn())::bigint,
	CASE WHEN pg_last_wal_replay_lsn() >= $1::pg_lsn THEN 0 ELSE coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), -1) END::float8`

// State tells whether PostgresML is in the primary, and how far the standby is behind.
func State(ctx context.Context, run *feed.Run) (feed.State, error) {
	s := feed.State{Replica: run.Replica.Name, Feed: string(run.Replica.Feed), State: "absent", LagBytes: -1, LagSeconds: -1, Retained: -1}
	primary, errPrimary := find(ctx, run.Primary)
	replica, errTarget := find(ctx, run.Target)
	if errPrimary != nil {
		s.Unreached(run.Primary, true, errPrimary, "a standby answers what it can with the rows that it has; nothing trains")
	}
	if errTarget != nil {
		s.State = "broken"
		s.Unreached(run.Target, true, errTarget, "")
	}
	switch {
	case errTarget != nil:
		return s, nil
	case errPrimary != nil:
		return s, alone(ctx, run, replica, &s)
	}
	c := &check{run: run}
	c.standby(primary, replica)
	c.extension(primary, replica)
	s.Problems = c.all
	if primary.Installed != "" {
		s.State = "ready"
	}
	for _, p := range s.Problems {
		if p.Blocks && primary.Installed != "" {
			s.State = "broken"
		}
	}
	if !replica.Standby {
		return s, nil
	}
	if err := lag(ctx, run, &s); err != nil {
		return s, err
	}
	return s, tables(ctx, run, &s)
}

// alone is the state of a standby whose primary does not answer.
func alone(ctx context.Context, run *feed.Run, replica *found, s *feed.State) error {
	switch {
	case !replica.Standby:
		s.State = "broken"
		s.Problems = append(s.Problems, feed.Problem{
			Server: run.Target.Name, Check: "standby", Blocks: true, What: "it is no standby, since it is not in recovery",
			Note: "if it has taken the primary's place, name it in primary.url",
		})
		return nil
	case replica.Installed == "":
		return nil
	}
	s.State = "stopped"
	return tables(ctx, run, s)
}

func lag(ctx context.Context, run *feed.Run, s *feed.State) error {
	primary, err := run.Primary.Connect(ctx)
	if err != nil {
		return err
	}
	defer primary.Close(ctx)
	var position string
	if err := primary.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&position); err != nil {
		return &feed.Error{Server: run.Primary.Name, Doing: "ask for its position", Err: err}
	}
	target, err := run.Target.Connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close(ctx)
	if err := target.QueryRow(ctx, lagQuery, position).Scan(&s.LagBytes, &s.LagSeconds); err != nil {
		return &feed.Error{Server: run.Target.Name, Doing: "ask how far it is", Err: err}
	}
	s.LagBytes = max(s.LagBytes, 0)
	return nil
}

// tables are what the standby has of the tables that the configuration names: all of it.
func tables(ctx context.Context, run *feed.Run, s *feed.State) error {
	target, err := run.Target.Connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close(ctx)
	all, err := feed.Tables(ctx, target, run.Selection.Has)
	if err != nil {
		return &feed.Error{Server: run.Target.Name, Doing: "read the tables", Err: err}
	}
	for _, t := range all {
		s.Tables = append(s.Tables, feed.TableState{Schema: t.Schema, Name: t.Name, State: s.State, Rows: t.Rows, Bytes: t.Bytes, Age: s.LagSeconds})
	}
	return nil
}
