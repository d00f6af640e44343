package logical

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// copying is the first copy, as it is seen from look to look.
type copying struct {
	s      *session
	wanted []*table
	state  map[string]string
	rows   map[string]amount
	told   map[string]feed.Event // the last event of a table, without its time
	// st is what there is of the feed; of the primary as of the time looked.
	st     *standing
	looked time.Time
	// mark changes whenever something has moved; since is when it last did.
	mark  string
	since time.Time
	noted bool
	seen  time.Time // a worker ran
	// secured changes whenever something has been brought that an error cannot undo. enabled
	// counts how often the subscription was enabled since, errors are the workers' at that time.
	secured  string
	enabled  int
	errors   int64
	attempts attempts
}

// amount is what one table has got so far.
type amount struct{ Bytes, Rows int64 }

// The patience with a copy in which nothing moves: a note, and the end of it where not even
// a worker runs.
const (
	noteAfter = time.Minute
	idleAfter = 2 * time.Minute
	enough    = 3 // failures without anything between them
)

// watch tells of the first copy and returns when every table follows the primary.
func (s *session) watch(ctx context.Context, wanted []*table) error {
	c := &copying{s: s, wanted: wanted, state: make(map[string]string), rows: make(map[string]amount), told: make(map[string]feed.Event), since: time.Now(), seen: time.Now()}
	for began := time.Now(); ; {
		done, err := c.look(ctx)
		if err != nil || done {
			return err
		}
		next := pace
		if time.Since(began) > 10*time.Second { // a copy of hours is not in a hurry
			next = time.Second
		}
		if err := wait(ctx, next); err != nil {
			return s.failed(s.run.Target, "wait for the first copy", err)
		}
	}
}

const progressQuery = `SELECT n.nspname || '.' || c.relname, p.bytes_processed, p.tuples_processed
	FROM pg_stat_progress_copy p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE p.datname = current_database() AND p.command = 'COPY FROM' AND p.type = 'CALLBACK'`

// sizeQuery is progressQuery before PostgreSQL 14: what the tables in the making are on the disk.
const sizeQuery = `SELECT n.nspname || '.' || c.relname, pg_table_size(c.oid), 0::bigint
	FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.srsubid = $1 AND r.srsubstate = 'd'`

const workersQuery = `SELECT coalesce(string_agg(concat_ws(':', pid, received_lsn), ' ' ORDER BY pid), '') FROM pg_stat_subscription WHERE subname = $1 AND pid IS NOT NULL`

// look reads the states once, tells what has changed, and reports whether all is done.
func (c *copying) look(ctx context.Context) (bool, error) {
	st, err := c.standing(ctx)
	if err != nil {
		return false, err
	}
	if st.sub == nil {
		return false, &feed.Error{Server: c.s.run.Target.Name, Doing: "wait for the first copy", Err: fmt.Errorf("the subscription %s has been dropped", c.s.run.Name), Next: "run this again"}
	}
	if err := c.progress(ctx, st.sub); err != nil {
		return false, c.s.failed(c.s.run.Target, "look at the copies", err)
	}
	done := 0
	for _, t := range c.wanted {
		if st.sub.states[t.Plain()] == "r" {
			done++
		}
	}
	for _, t := range c.wanted {
		c.tell(t, st.sub.states[t.Plain()], done)
	}
	if done == len(c.wanted) && st.sub.Enabled {
		return true, nil
	}
	workers, err := one[string](ctx, c.s.target, workersQuery, c.s.run.Name)
	if err != nil {
		return false, c.s.failed(c.s.run.Target, "look at the workers", err)
	}
	return false, c.judge(ctx, st, workers)
}

// standing looks at the replica, and every few seconds at the primary too.
func (c *copying) standing(ctx context.Context) (*standing, error) {
	if c.st == nil || time.Since(c.looked) > 5*time.Second {
		st, err := c.s.standing(ctx)
		c.st, c.looked = st, time.Now()
		return st, err
	}
	st := &standing{publication: c.st.publication, slot: c.st.slot, others: make(map[string]string)}
	return st, c.s.failed(c.s.run.Target, "look for the subscription", c.s.standingOnTarget(ctx, st))
}

func (c *copying) progress(ctx context.Context, sub *subscription) error {
	query, args := progressQuery, []any(nil)
	if c.s.to < v14 {
		query, args = sizeQuery, []any{sub.OID}
	}
	rows, err := c.s.target.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	var name string
	var a amount
	_, err = pgx.ForEachRow(rows, []any{&name, &a.Bytes, &a.Rows}, func() error {
		c.rows[name] = a
		return nil
	})
	return err
}

// tell sends the event of a table, if there is something new.
func (c *copying) tell(t *table, state string, done int) {
	name := t.Plain()
	if _, seen := c.state[name]; !seen && state == "r" {
		c.state[name] = state
		c.s.run.Tell(feed.Event{Status: feed.StatusSkip, Server: c.s.run.Target.Name, Step: "copy the rows", Table: name, TablesDone: done, TablesTotal: len(c.wanted)})
		return
	}
	e := feed.Event{
		Server: c.s.run.Target.Name, Step: "copy the rows", Table: name, Bytes: c.rows[name].Bytes, Rows: c.rows[name].Rows,
		TotalRows: max(t.Rows, 0), TablesDone: done, TablesTotal: len(c.wanted),
	}
	before := c.state[name]
	c.state[name] = state
	switch {
	case state == "" || state == "i" || before == "r":
		return
	case c.told[name].Status == "":
		e.Status = feed.StatusStart
		c.send(e)
		if state != "r" {
			return
		}
	}
	if e.Status = feed.StatusProgress; state == "r" {
		// What the last look saw of the copy was not the whole of it.
		e.Status, e.Bytes, e.Rows = feed.StatusDone, -1, -1
	}
	c.send(e)
}

// send sends an event that is not the one before.
func (c *copying) send(e feed.Event) {
	last := c.told[e.Table]
	if last.Status != feed.StatusStart {
		last.Status = e.Status
	}
	if e == last && e.Status == feed.StatusProgress {
		return
	}
	c.told[e.Table] = e
	c.s.run.Tell(e)
}

// judge enables a subscription that an error has disabled, since the error may have been a
// connection that was lost, and gives up where that does not help.
func (c *copying) judge(ctx context.Context, st *standing, workers string) error {
	count, err := c.s.errorCount(ctx, st.sub)
	if err == nil && c.s.to < v15 {
		count, _, err = c.attempts.look(ctx, c.s.target, st.sub)
	}
	if err != nil {
		return c.s.failed(c.s.run.Target, "look at the workers", err)
	}
	secured := ""
	for _, t := range c.wanted {
		if state := c.state[t.Plain()]; state == "f" || state == "s" || state == "r" {
			secured += t.Plain() + " " + state + "\n"
		}
	}
	if secured != c.secured || c.mark == "" {
		c.secured, c.enabled, c.errors, c.attempts = secured, 0, count, attempts{}
		if c.s.to < v15 {
			c.errors = 0
		}
	}
	if mark := fmt.Sprint(c.state, c.rows, workers); mark != c.mark {
		c.mark, c.since, c.noted = mark, time.Now(), false
	}
	if workers != "" {
		c.seen = time.Now()
	}
	if what := st.broken(c.s.run.Name); what != "" {
		return &feed.Error{Server: c.s.run.Target.Name, Doing: "copy the rows", Err: fmt.Errorf("%s", what), Next: c.s.renew()}
	}
	switch {
	case !st.sub.Enabled && c.enabled >= enough, count-c.errors >= enough:
		return c.gaveUp(ctx)
	case !st.sub.Enabled:
		c.enabled++
		return c.s.enable(ctx, "enable the subscription after an error")
	case time.Since(c.seen) > idleAfter:
		return c.gaveUp(ctx)
	case !c.noted && time.Since(c.since) > noteAfter:
		c.noted = true
		if workers == "" {
			c.s.run.Note(c.s.run.Target.Name, "no worker of the subscription runs; see the log there")
		} else {
			c.s.run.Note(c.s.run.Target.Name, "nothing has moved for a minute; a copy begins once the transactions that are open on the primary have ended")
		}
	}
	return nil
}

// gaveUp is the error of a copy that cannot go on.
func (c *copying) gaveUp(ctx context.Context) error {
	cause := "a worker of the subscription fails again and again; what it says is in the log there"
	if entry := c.s.lastError(ctx, ""); entry.text != "" {
		cause = entry.text
	}
	next := "remove the cause and run this again; what is copied stays"
	if c.s.to < v15 {
		next += ". Until then it tries again and again, the table from its start; on the replica this ends that: ALTER SUBSCRIPTION " + feed.Quote("", c.s.run.Name) + " DISABLE"
	}
	return &feed.Error{Server: c.s.run.Target.Name, Doing: "copy the rows", Err: fmt.Errorf("%s", cause), Next: next}
}

// errorCount is how many errors the workers have had, 0 before PostgreSQL 15.
func (s *session) errorCount(ctx context.Context, sub *subscription) (int64, error) {
	if s.to < v15 || sub == nil {
		return 0, nil
	}
	return one[int64](ctx, s.target, "SELECT coalesce((SELECT apply_error_count + sync_error_count FROM pg_stat_subscription_stats WHERE subid = $1), 0)", sub.OID)
}
