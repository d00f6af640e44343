package proxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// history is a test of clients that write on the primary and read what they have written
// through inference on a logical replica, whose feed is held up in all the ways there are.
type history struct {
	f                       *fixture
	replica                 *pgtest.Server
	until                   time.Time
	last                    [16]atomic.Int64 // by client: what it has written, confirmed
	fresh, refused, slowest atomic.Int64
	trouble                 [3]int
}

// historyWait is how long a read may wait for its replica.
const historyWait = time.Second

// TestReadYourWrites: with freshness session there is not one stale answer, whatever the
// replica's feed does, and no read waits for longer than it may. PGSHUNT_SOAK=10m goes on for that long.
func TestReadYourWrites(t *testing.T) {
	primary := pgtest.Primary(t)
	h := &history{replica: pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"wal_retrieve_retry_interval": "100ms"}})}
	for _, s := range []*pgtest.Server{primary, h.replica} {
		s.Exec(t, `CREATE TABLE entries (client int, n bigint, origin text, PRIMARY KEY (client, n));
			CREATE FUNCTION enter(int, bigint) RETURNS bigint LANGUAGE sql AS $$INSERT INTO entries VALUES ($1, $2, 'p') RETURNING n$$`)
	}
	h.replica.Subscribe(t, primary)
	pgtest.NoLeaks(t)
	length := 5 * time.Second
	if d, err := time.ParseDuration(os.Getenv("PGSHUNT_SOAK")); err == nil {
		length = d
	}
	h.until = time.Now().Add(length)
	h.f = watched(t, setup{policy: freshSession(historyWait, false), replicas: []*pgtest.Server{h.replica}}, router.FeedLogical, primary)
	ctx, cancel := context.WithDeadline(t.Context(), h.until.Add(soakPatience))
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { h.disturb(ctx, t) })
	for id := range h.last {
		all.Go(func() {
			if err := h.client(ctx, t, id); err != nil {
				t.Errorf("client %d: %v", id, err)
			}
		})
	}
	all.Wait()
	t.Logf("%d answers, %d refused as too old, the slowest read took %v; paused, slowed, broken: %v",
		h.fresh.Load(), h.refused.Load(), time.Duration(h.slowest.Load()), h.trouble)
	if h.fresh.Load() == 0 {
		t.Error("there was no answer")
	}
	if slowest := time.Duration(h.slowest.Load()); slowest > historyWait+pgtest.Patience {
		t.Errorf("a read took %v", slowest)
	}
}

// disturb holds up the feed, one way after the other, and leaves it in order.
func (h *history) disturb(ctx context.Context, t *testing.T) {
	admin, err := pgx.Connect(ctx, h.replica.SocketURL("postgres", "postgres"))
	if err != nil {
		t.Error(err)
		return
	}
	defer admin.Close(context.WithoutCancel(ctx))
	rnd := rand.New(rand.NewPCG(7, 7))
	exec := func(sql string, args ...any) {
		if _, err := admin.Exec(ctx, sql, args...); err != nil && !t.Failed() {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for i := 0; time.Now().Before(h.until) && !t.Failed(); i++ {
		pause := time.Duration(rnd.IntN(900)) * time.Millisecond
		way := rnd.IntN(len(h.trouble))
		if i < len(h.trouble) {
			way = i
		}
		h.trouble[way]++
		switch way {
		case 0: // paused
			exec("ALTER SUBSCRIPTION " + pgtest.Subscription + " DISABLE")
			sleep(ctx, pause)
			exec("ALTER SUBSCRIPTION " + pgtest.Subscription + " ENABLE")
		case 1: // slowed: what is applied waits, and readers do not
			exec("BEGIN")
			exec("LOCK TABLE entries IN SHARE ROW EXCLUSIVE MODE")
			sleep(ctx, pause)
			exec("COMMIT")
		case 2: // broken: a row is there already
			id := rnd.IntN(len(h.last))
			n := h.last[id].Load() + 3
			exec("INSERT INTO entries VALUES ($1, $2, 'r') ON CONFLICT DO NOTHING", id, n)
			sleep(ctx, pause)
			exec("DELETE FROM entries WHERE origin = 'r'")
		}
		sleep(ctx, time.Duration(rnd.IntN(300))*time.Millisecond)
	}
}

// sleep paces the disturbances.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// client writes and reads, in the ways that clients have.
func (h *history) client(ctx context.Context, t *testing.T, id int) error {
	conn, err := pgx.Connect(ctx, h.f.url("postgres", "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rnd := rand.New(rand.NewPCG(uint64(id), 1))
	modes := []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}
	for n := int64(1); time.Now().Before(h.until) && !t.Failed(); n++ {
		mode := modes[rnd.IntN(len(modes))]
		if err := h.write(ctx, conn, mode, id, n, rnd.IntN(4)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		h.last[id].Store(n)
		for range 1 + rnd.IntN(3) {
			if err := h.read(ctx, conn, mode, id, n, rnd.IntN(2) == 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *history) write(ctx context.Context, conn *pgx.Conn, mode pgx.QueryExecMode, id int, n int64, way int) error {
	const insert = "INSERT INTO entries VALUES ($1, $2, 'p')"
	switch way {
	case 0:
		_, err := conn.Exec(ctx, insert, mode, id, n)
		return err
	case 1:
		_, err := conn.Exec(ctx, "SELECT enter($1, $2)", mode, id, n)
		return err
	case 2:
		b := &pgx.Batch{}
		b.Queue("SELECT 1")
		b.Queue(insert, id, n)
		b.Queue("SELECT count(*) FROM entries WHERE client = $1", id)
		return conn.SendBatch(ctx, b).Close()
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, insert, mode, id, n)
		return err
	})
}

// read reads what has been written last. It is there, or the answer is an error that says
// that it is not.
func (h *history) read(ctx context.Context, conn *pgx.Conn, mode pgx.QueryExecMode, id int, n int64, inBlock bool) error {
	const ask = `SELECT coalesce(max(n), 0), pgml.embed('m', max(n)::text) IS NOT NULL FROM entries WHERE client = $1 AND origin = 'p'`
	var got int64
	var there bool
	begun := time.Now()
	var err error
	if inBlock {
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return tx.QueryRow(ctx, ask, mode, id).Scan(&got, &there) })
	} else {
		err = conn.QueryRow(ctx, ask, mode, id).Scan(&got, &there)
	}
	for took := int64(time.Since(begun)); ; {
		most := h.slowest.Load()
		if took <= most || h.slowest.CompareAndSwap(most, took) {
			break
		}
	}
	switch {
	case err == nil && got == n:
		h.fresh.Add(1)
		return nil
	case err == nil:
		return fmt.Errorf("read %d after %d had been written", got, n)
	case slices.Contains([]string{"57P03", "55000"}, code(err)):
		h.refused.Add(1)
		return nil
	}
	return fmt.Errorf("read: %w", err)
}
