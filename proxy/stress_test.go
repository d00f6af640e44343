package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// TestStress has 30 sessions share 3 backends. Everything a session asks carries
// its tag, and every answer must be exactly the one that its own script calls for.
func TestStress(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 3, Wait: 40 * time.Second, Prepared: 7}})
	const sessions = 30
	for i := range sessions {
		primary.ExecIn(t, db, fmt.Sprintf("CREATE TABLE t%d (v text)", i))
		primary.ExecIn(t, db, fmt.Sprintf("CREATE ROLE stress_%d; GRANT ALL ON t%d TO stress_%[1]d", i, i))
	}
	t.Cleanup(func() {
		for i := range sessions {
			primary.ExecIn(t, db, fmt.Sprintf("DROP OWNED BY stress_%d; DROP ROLE stress_%[1]d", i))
		}
	})
	until := time.Now().Add(stressFor)
	var all sync.WaitGroup
	for i := range sessions {
		all.Go(func() {
			for seed := uint64(0); time.Now().Before(until) && !t.Failed(); seed++ {
				rnd := rand.New(rand.NewPCG(uint64(i), seed))
				s := &stresser{n: i, rnd: rnd, addr: f.addr, db: db, set: "start", role: "postgres"}
				var err error
				if i%2 == 0 {
					err = s.script(until)
				} else {
					err = s.driver(f.url("postgres", db), until)
				}
				if err != nil {
					t.Errorf("session %d, seed %d: %v", i, seed, err)
				}
			}
		})
	}
	all.Wait()
}

// stressFor is how long the sessions go on.
const stressFor = 6 * time.Second

// driver does what applications do, with cancels.
func (s *stresser) driver(url string, until time.Time) error {
	ctx, stop := context.WithDeadline(context.Background(), until.Add(30*time.Second))
	defer stop()
	conn, err := pgx.Connect(ctx, url+"&application_name=app"+fmt.Sprint(s.n))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for rounds := 5 + s.rnd.IntN(60); rounds > 0 && time.Now().Before(until); rounds-- {
		tag, got := s.tag(), ""
		switch s.rnd.IntN(6) {
		case 0, 1:
			err = conn.QueryRow(ctx, fmt.Sprintf("SELECT $1 || current_setting('application_name') /* %d */", s.rnd.IntN(9)), tag).Scan(&got)
			tag += "app" + fmt.Sprint(s.n)
		case 2:
			var done sync.WaitGroup
			done.Go(func() { _ = conn.PgConn().CancelRequest(ctx) })
			err = conn.QueryRow(ctx, "SELECT $1 || pg_sleep(0.05)::text", tag).Scan(&got)
			done.Wait()
			if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) && pe.Code == "57014" {
				err, got = nil, tag
			}
		case 3:
			b := &pgx.Batch{}
			for i := range 5 {
				b.Queue("SELECT $1", fmt.Sprint(tag, i))
			}
			r := conn.SendBatch(ctx, b)
			for i := range 5 {
				if e := r.QueryRow().Scan(&got); e != nil || got != fmt.Sprint(tag, i) {
					return fmt.Errorf("batch: %q for %q, %w", got, tag, e)
				}
			}
			err, got = r.Close(), tag
		case 4:
			var rows int64
			table := fmt.Sprintf("t%d", s.n)
			rows, err = conn.CopyFrom(ctx, pgx.Identifier{table}, []string{"v"}, pgx.CopyFromRows([][]any{{tag}, {tag}, {tag}}))
			if err == nil {
				var out strings.Builder
				_, err = conn.PgConn().CopyTo(ctx, &out, "COPY (DELETE FROM "+table+" WHERE v = '"+tag+"' RETURNING v) TO STDOUT")
				if got = tag; out.String() != strings.Repeat(tag+"\n", int(rows)) || rows != 3 {
					got = out.String()
				}
			}
		case 5:
			_, err = conn.Exec(ctx, "CREATE TEMP TABLE mine AS SELECT $1::text AS v", pgx.QueryExecModeSimpleProtocol, tag)
			if err == nil {
				err = conn.QueryRow(ctx, "SELECT v FROM mine", pgx.QueryExecModeExec).Scan(&got)
			}
			if err == nil {
				_, err = conn.Exec(ctx, "DISCARD ALL", pgx.QueryExecModeSimpleProtocol)
				_ = conn.DeallocateAll(ctx)
			}
		}
		if err != nil || got != tag {
			return fmt.Errorf("got %q for %q: %w", got, tag, err)
		}
	}
	return nil
}
