package logical

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgshunt/feed"
)

// pace is how often we look at what a server does by itself.
const pace = 200 * time.Millisecond

// makeSlot makes the slot, or finds it. It waits for the transactions that are open now: the
// slot can begin only where none of them is in the middle.
func (s *session) makeSlot(ctx context.Context, have *slot) error {
	sql := "SELECT pg_create_logical_replication_slot(" + feed.Literal(s.run.Name) + ", 'pgoutput')"
	if s.on >= v17 { // an older replica reads from one as from any other
		sql = "SELECT pg_create_logical_replication_slot(" + feed.Literal(s.run.Name) + ", 'pgoutput', failover => true)"
	}
	step := feed.Step{On: s.run.Primary, What: "make the replication slot", SQL: sql}
	if have != nil {
		s.run.Done(step)
		return nil
	}
	if s.run.Print {
		return s.run.Do(ctx, nil, step)
	}
	// The wait is one for locks, and as long as the oldest transaction.
	if _, err := s.primary.Exec(ctx, "SET lock_timeout = 0"); err != nil {
		return s.failed(s.run.Primary, step.What, err)
	}
	// Should we be killed the server is to stop waiting too.
	if s.on >= v14 {
		if _, err := s.primary.Exec(ctx, "SET client_connection_check_interval = '1s'"); err != nil && sqlstate(err) == "" {
			return s.failed(s.run.Primary, step.What, err)
		}
	}
	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		s.tellWhoHoldsUp(ctx, s.primary.PgConn().PID(), done)
	}()
	err := s.run.Do(ctx, s.primary, step)
	close(done)
	<-told
	if err == nil {
		_, err = s.primary.Exec(ctx, patience)
		err = s.failed(s.run.Primary, step.What, err)
	}
	return err
}

// holdingQuery names the oldest transactions that a slot in the making waits for.
const holdingQuery = `SELECT format('process %s of %s, since %s', pid, coalesce(usename::text, 'nobody'), date_trunc('second', now() - xact_start))
	FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> $1 ORDER BY xact_start LIMIT 3`

// tellWhoHoldsUp notes, while the slot is being made by process pid, which transactions it
// waits for. It returns soon after done is closed.
func (s *session) tellWhoHoldsUp(ctx context.Context, pid uint32, done <-chan struct{}) {
	const calm = 5 * time.Second
	timer := time.NewTimer(calm)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		conn, err := s.run.Primary.Connect(ctx)
		if err != nil {
			return // the slot's own connection tells what is wrong
		}
		who, err := column[string](ctx, conn, holdingQuery, pid)
		_ = conn.Close(context.WithoutCancel(ctx))
		if err != nil || len(who) == 0 { // those of other roles are hidden from one with few rights
			who = []string{"of other roles"}
		}
		s.run.Note(s.run.Primary.Name, "the slot waits for the end of open transactions: %s", strings.Join(who, "; "))
		timer.Reset(time.Minute)
	}
}

// freeSlot ends what uses a slot of the feed. Only processes that can be nothing but the
// feed's own are ended: the sender of its subscription, and a command that was killed.
func (s *session) freeSlot(ctx context.Context, name string) error {
	until := time.Now().Add(15 * time.Second)
	for {
		var pid int
		rows, err := column[int](ctx, s.primary, "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL", name)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		pid = rows[0]
		if time.Now().After(until) {
			return fmt.Errorf("process %d does not let go of slot %s", pid, name)
		}
		if _, err := s.primary.Exec(ctx, "SELECT pg_terminate_backend($1)", pid); err != nil {
			return fmt.Errorf("end process %d, which uses slot %s: %w", pid, name, err)
		}
		if err := wait(ctx, pace); err != nil {
			return err
		}
	}
}

// dropSlot drops a slot, if it is there.
func (s *session) dropSlot(ctx context.Context, name string) error {
	step := feed.Step{On: s.run.Primary, What: "drop the replication slot", SQL: dropSlotSQL(name)}
	have, err := one[bool](ctx, s.primary, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", name)
	if err != nil {
		return s.failed(step.On, step.What, err)
	}
	if !have {
		s.run.Done(step)
		return nil
	}
	return s.do(ctx, step, func(ctx context.Context) error {
		// A process that ends, and a worker that comes back, may have the slot in between.
		for attempt := 1; ; attempt++ {
			if err := s.freeSlot(ctx, name); err != nil {
				return err
			}
			_, err := s.primary.Exec(ctx, dropSlotSQL(name))
			const inUse, undefined, attempts = "55006", "42704", 20
			switch code := sqlstate(err); {
			case code == undefined:
				return nil
			case code != inUse || attempt == attempts:
				return err
			}
		}
	})
}

// confirmedQuery tells whether what reads from a slot has confirmed a position.
const confirmedQuery = "SELECT coalesce((SELECT confirmed_flush_lsn >= $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1), false)"

func dropSlotSQL(name string) string {
	return "SELECT pg_drop_replication_slot(" + feed.Literal(name) + ")"
}

// wait returns after d, or with the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
