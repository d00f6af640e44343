package migrate

import (
	"context"
	"fmt"

	"pgshunt/feed"
)

// Unfinished lists the changes of the schema that the replica's journal has as begun and not done,
// oldest first. It changes nothing and needs no lock.
func Unfinished(ctx context.Context, run *feed.Run) (list []feed.OpenChange, err error) {
	if !fedByUs(run) {
		return nil, nil
	}
	conn, err := run.Target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	entries, err := openEntries(ctx, run, conn)
	for _, e := range entries {
		c := feed.OpenChange{Statement: e.statement, Phase: e.says(), Next: "pgshunt feed migrate finishes it, or takes it back, if no command works on it now"}
		if err == nil {
			err = conn.QueryRow(ctx, "SELECT extract(epoch FROM now() - begun_at)::float8 FROM pgshunt.changes WHERE id = $1", e.id).Scan(&c.Age)
		}
		list = append(list, c)
	}
	if err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "read the journal of schema changes", Err: err}
	}
	return list, nil
}

// says how far a row is.
func (e *entry) says() string {
	switch e.phase {
	case phaseBefore:
		return fmt.Sprintf("%d of %d steps before it are done, and the primary has not changed", min(e.step, len(e.plan.Order.Before)), len(e.plan.Order.Before))
	case phasePrimary, phaseLive:
		return "it was sent to the primary, and nobody has looked yet whether it was done there"
	case phaseAfter:
		return fmt.Sprintf("the primary has changed, and %d of %d steps after it are done", e.step, len(e.plan.Order.After))
	}
	return fmt.Sprintf("the primary has refused it, and %d steps are to be taken back", e.step)
}
