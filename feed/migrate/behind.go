package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// behind has a client's own statement wait on the primary behind a lock of ours until the replicas
// have what it needs. The lock lets writers pass and the statement not. Once the statement waits for
// nobody but us, nobody else holds the table or can get it before the statement: who comes
// now queues behind it. So at that moment the table is at rest, and when the lock is let go
// the statement is the next to have it.
type behind struct {
	m *migration
	// tx holds the lock, on the connection for scripts.
	tx  pgx.Tx
	own int32
	s   Session
	// answered is closed when the primary has answered the statement, done when the goroutine of
	// watch has ended, to which the connections of m belong until then. err is for after done.
	answered, done chan struct{}
	err            error
	// stop ends watch; left says that nobody will tell of an answer.
	stop context.CancelFunc
	left atomic.Bool
}

// attention is how often the client's statement is looked at while it is waited for.
const attention = 20 * time.Millisecond

// locked lists the tables that the orders want at rest.
func (m *migration) locked() (tables []string) {
	for _, r := range m.replicas {
		tables = append(tables, r.order.Lock...)
	}
	return tables
}

// holdBack takes the lock, and begins to look for the statement, which may be sent from now on. The
// replicas are nearly up to date then, so that it will not be held for long.
func (m *migration) holdBack(ctx context.Context, s Session) (*behind, error) {
	if there, err := find1(ctx, m.primary, "SELECT 'yes' FROM pg_stat_activity WHERE pid = $1", int32(s.PID)); err != nil || there == "" {
		if err == nil {
			err = refuse("it is not known which process of the primary the statement runs on", "use \"pgshunt feed migrate -f FILE\"")
		}
		return nil, m.onPrimary("look for the client's session", err)
	}
	if err := m.nearly(ctx); err != nil {
		return nil, err
	}
	if err := m.connectScript(ctx); err != nil {
		return nil, err
	}
	b := &behind{m: m, s: s, answered: make(chan struct{}), done: make(chan struct{})}
	err := patiently(ctx, func() (err error) {
		if b.tx, err = m.script.Begin(ctx); err != nil {
			return err
		}
		err = b.tx.QueryRow(ctx, `SELECT pg_backend_pid() FROM set_config('lock_timeout', $1, true) a, set_config('idle_in_transaction_session_timeout', '0', true) b,
			(SELECT count(set_config(name, '0', true)) FROM pg_settings WHERE name = 'transaction_timeout') c`, lockPatience.String()).Scan(&b.own)
		for _, table := range m.locked() {
			if err == nil {
				_, err = b.tx.Exec(ctx, "LOCK TABLE "+table+" IN SHARE UPDATE EXCLUSIVE MODE")
			}
		}
		if err != nil {
			_ = b.tx.Rollback(context.WithoutCancel(ctx)) // the first error is the one that explains
		}
		return err
	})
	if err != nil {
		return nil, m.onPrimary("hold the statement back", err)
	}
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(b.done)
		b.err = b.watch(ctx)
	}()
	return b, nil
}

// nearly waits until the replicas are so near that they will be up to date in time. Nobody is held up
// meanwhile but the client.
func (m *migration) nearly(ctx context.Context) error {
	const most = time.Minute
	for began := time.Now(); ; {
		one := time.Now()
		err := m.upToDate(ctx)
		switch {
		case err == nil && time.Since(one) < stopPatience/2:
			return nil
		case err != nil && !errors.Is(err, errSlow), time.Since(began) > most:
			return cmp.Or(err, errSlow)
		}
	}
}

// upToDate waits until the replicas with something to do at rest have applied everything.
func (m *migration) upToDate(ctx context.Context) error {
	for _, r := range m.replicas {
		if len(r.order.Between) == 0 {
			continue
		}
		if err := r.applied(ctx, stopPatience); err != nil {
			if errors.Is(err, errBehind) {
				return errSlow
			}
			return err
		}
	}
	return nil
}

// watch makes the change of Between at the moment when the tables are at rest, and lets the lock go.
func (b *behind) watch(ctx context.Context) (err error) {
	defer func() {
		release, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err = errors.Join(err, b.tx.Rollback(release))
	}()
	for {
		where, err := b.look(ctx)
		switch {
		case err != nil:
			return b.m.onPrimary("look for the statement", err)
		case where == "gone":
			return nil
		case where == "waits":
			if err := b.change(ctx); err != nil {
				return errors.Join(err, b.giveUp(ctx))
			}
			return nil
		}
		if over, err := b.pause(ctx); over || err != nil {
			return err
		}
	}
}

// look tells where the statement is: "waits" for our lock alone, "queued" for it and others, "gone"
// where it can be nowhere any more, "" anywhere else.
func (b *behind) look(ctx context.Context) (string, error) {
	return find1(ctx, b.m.primary, `SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1) OR $4 AND NOT EXISTS (SELECT FROM pg_locks WHERE pid = $1) THEN 'gone'
		WHEN NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = $1 AND NOT l.granted AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY ($3::text[]::regclass[])) THEN ''
		WHEN pg_blocking_pids($1) = ARRAY[$2::int] THEN 'waits' WHEN $2 = ANY (pg_blocking_pids($1)) THEN 'queued' ELSE '' END`, int32(b.s.PID), b.own, b.m.locked(), b.left.Load())
}

// pause tells whether the primary has answered meanwhile.
func (b *behind) pause(ctx context.Context) (over bool, err error) {
	t := time.NewTimer(attention)
	defer t.Stop()
	select {
	case <-b.answered:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func (b *behind) change(ctx context.Context) error {
	if err := b.m.upToDate(ctx); err != nil {
		return err
	}
	for _, r := range b.m.replicas {
		if err := r.atRest(ctx, phaseLive); err != nil {
			return err
		}
	}
	return nil
}

// giveUp has the statement cancelled before the lock is let go, after which it would find replicas that
// are not ready.
func (b *behind) giveUp(ctx context.Context) error {
	const most = 10 * time.Second
	for began := time.Now(); time.Since(began) < most; {
		where, err := b.look(ctx)
		if err != nil || where == "" || where == "gone" {
			return err
		}
		if err := b.s.Cancel(ctx); err != nil {
			return fmt.Errorf("cancel the statement: %w", err)
		}
		if over, err := b.pause(ctx); over || err != nil {
			return err
		}
	}
	return &feed.Error{Server: b.m.runs[0].Primary.Name, Doing: "cancel the statement", Err: errors.New("it goes on waiting")}
}

// end waits for the goroutine, which goes on as long as the statement may be under way.
func (b *behind) end(ctx context.Context, answered bool) error {
	if b == nil {
		return nil
	}
	defer b.stop()
	if b.left.Store(!answered); answered {
		close(b.answered)
	}
	select {
	case <-b.done:
	case <-ctx.Done(): // the lock is given up, and what is left to do is in the journal
		b.stop()
		<-b.done
	}
	return b.err
}
