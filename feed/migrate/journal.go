package migrate

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// journalSQL makes the table of the changes that have begun. A row is one statement on
// this replica. chain names it: a hash of the statements of its script up to it, so that
// a script that was corrected goes on after the last statement that was done.
const journalSQL = `CREATE TABLE IF NOT EXISTS pgshunt.changes (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, feed text NOT NULL, chain text NOT NULL, statement text NOT NULL,
	plan jsonb NOT NULL, phase text NOT NULL, step int NOT NULL DEFAULT 0, xid text,
	begun_at timestamptz NOT NULL DEFAULT now(), done_at timestamptz)`

// The phases of a row. step counts what is done of the phase's steps.
const (
	phaseBefore  = "before"  // the replica is being prepared; the primary has not changed
	phasePrimary = "primary" // transaction xid of the primary has the change, if it commits
	phaseLive    = "live"    // a client's own statement is on its way to the primary
	phaseAfter   = "after"   // the primary has changed; the replica follows
	phaseUndo    = "undo"    // the primary has not changed; step is what is left to take back
	phaseDone    = "done"
	phaseUndone  = "undone"
)

// plan is what a row remembers, so that whoever finds it can go on.
type plan struct {
	Order   *Order   `json:"order"`
	Changes []Change `json:"changes"`
	// PID is the process of the primary that a client's own statement runs on.
	PID uint32 `json:"pid,omitempty"`
	// Table is the oid of the table that is renamed, or moved, on the primary; 0 is none.
	Table uint32 `json:"table,omitempty"`
}

// entry is a row of the journal.
type entry struct {
	id        int64
	statement string
	plan      plan
	phase     string
	step      int
	xid       *string
}

func makeJournal(ctx context.Context, run *feed.Run, conn *pgx.Conn) error {
	if err := run.Journal(ctx, conn); err != nil || run.Print {
		return err
	}
	have, err := find1(ctx, conn, "SELECT 'yes' WHERE to_regclass('pgshunt.changes') IS NOT NULL")
	if err != nil || have != "" {
		return err
	}
	return run.Do(ctx, conn, feed.Step{On: run.Target, What: "make the journal of schema changes", SQL: journalSQL})
}

// open lists the rows that are not done, oldest first.
func openEntries(ctx context.Context, run *feed.Run, conn *pgx.Conn) (list []*entry, err error) {
	have, err := find1(ctx, conn, "SELECT 'yes' WHERE to_regclass('pgshunt.changes') IS NOT NULL")
	if err != nil || have == "" {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT id, statement, plan::text, phase, step, xid FROM pgshunt.changes WHERE feed = $1 AND done_at IS NULL ORDER BY id", run.Name)
	if err != nil {
		return nil, err
	}
	var e entry
	var text string
	_, err = pgx.ForEachRow(rows, []any{&e.id, &e.statement, &text, &e.phase, &e.step, &e.xid}, func() error {
		one := e
		if err := json.Unmarshal([]byte(text), &one.plan); err != nil {
			return err
		}
		list = append(list, &one)
		e.xid = nil
		return nil
	})
	return list, err
}

// done tells whether a statement was done in an earlier run.
func doneBefore(ctx context.Context, run *feed.Run, conn *pgx.Conn, chain string) (bool, error) {
	have, err := find1(ctx, conn, "SELECT 'yes' FROM pgshunt.changes WHERE feed = $1 AND chain = $2 AND phase = $3 LIMIT 1", run.Name, chain, phaseDone)
	return have != "", err
}

// begin writes a row.
func (r *replica) begin(ctx context.Context, chain, statement, phase string, p plan) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	e := &entry{statement: statement, plan: p, phase: phase}
	err = r.conn.QueryRow(ctx, "INSERT INTO pgshunt.changes (feed, chain, statement, plan, phase) VALUES ($1, $2, $3, $4, $5) RETURNING id",
		r.run.Name, chain, statement, string(text), phase).Scan(&e.id)
	r.entry = e
	return r.wrong("write the journal", err)
}

// turn brings the row to another phase.
func (r *replica) turn(ctx context.Context, phase string, step int) error {
	_, err := r.conn.Exec(ctx, `UPDATE pgshunt.changes SET phase = $2, step = $3, done_at = CASE WHEN $2 IN ('done', 'undone') THEN now() END WHERE id = $1`,
		r.entry.id, phase, step)
	if err != nil {
		return r.wrong("write the journal", err)
	}
	r.entry.phase, r.entry.step = phase, step
	return nil
}

func (r *replica) wrong(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &feed.Error{Server: r.run.Target.Name, Doing: doing, Err: err, Next: "run \"pgshunt feed migrate\", which goes on from here"}
}
