package migrate

import (
	"context"
	"fmt"
	"strings"

	"pgshunt/feed"
)

// resume finishes what is open in the journals, or takes it back where the primary has not
// changed. What became of the primary's transaction is asked by its number, or, where a
// client has sent the statement, seen in the catalogs.
func (m *migration) resume(ctx context.Context) error {
	for _, r := range m.replicas {
		entries, err := openEntries(ctx, r.run, r.conn)
		if err != nil {
			return r.wrong("read the journal", err)
		}
		for _, e := range entries {
			if r.run.Print {
				r.run.Tell(feed.Event{Status: feed.StatusWould, Server: r.run.Target.Name, Step: "finish, or take back, what was begun", SQL: e.statement})
				continue
			}
			r.entry, r.order = e, e.plan.Order
			if err := m.finish(ctx, r); err != nil {
				return fmt.Errorf("%s: %w", excerpt(e.statement), err)
			}
		}
	}
	return nil
}

// finish brings the row at hand to its end.
func (m *migration) finish(ctx context.Context, r *replica) error {
	e := r.entry
	if e.phase == phasePrimary || e.phase == phaseLive {
		var there bool
		var err error
		if e.phase == phaseLive && e.plan.PID != 0 {
			err = idle(ctx, m, e.plan.PID)
		}
		if err != nil {
			return m.onPrimary("wait for the end of the statement", err)
		}
		if e.xid != nil {
			there, err = committed(ctx, m.primary, *e.xid, &e.plan)
		} else {
			there, err = happened(ctx, m.primary, &e.plan)
		}
		if err != nil {
			return m.onPrimary("see whether it was done", err)
		}
		if there && e.isLate() {
			err = m.late(ctx, r)
		}
		if err != nil {
			return err
		}
		if there {
			err = r.turn(ctx, phaseAfter, 0)
		} else {
			e.phase = phaseUndo // the steps to undo stay counted
		}
		if err != nil {
			return err
		}
	}
	if e.phase == phaseAfter {
		return r.after(ctx)
	}
	return r.undo(ctx)
}

func excerpt(text string) string {
	const most = 80
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "..."
	}
	return text
}
