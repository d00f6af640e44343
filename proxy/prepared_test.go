package proxy_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

var churn = flag.Int("churn", 20000, "how many different texts TestChurnOfStatements prepares")

// Scenario 92: any number of different texts leaves a bounded number of statements
// on the servers and bounded memory here, and no client hears of it.
func TestChurnOfStatements(t *testing.T) {
	const most = 50
	f := start(t, setup{pool: pool.Config{Size: 2, Prepared: most}})
	ctx := context.Background()
	conns := []*pgconn.PgConn{pgtest.Connect(t, f.url("postgres", "postgres")).PgConn(), pgtest.Connect(t, f.url("postgres", "postgres")).PgConn()}
	var before, after runtime.MemStats
	const at = 20 // once
	for i := 0; i < *churn; i += at {
		if i == *churn/2 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		conn := conns[i/at%2]
		p := conn.StartPipeline(ctx)
		for n := range at {
			name := fmt.Sprintf("s%d", n)
			p.SendPrepare(name, fmt.Sprintf("SELECT %d AS c%d", i+n, i+n), nil)
			p.SendQueryPrepared(name, nil, nil, nil)
			p.SendDeallocate(name)
		}
		wrong := i/at%7 == 0 // what is skipped must not be lost sight of
		if wrong {
			p.SendPrepare("wrong", fmt.Sprintf("SELECT nothing_%d", i), nil)
			for n := range at {
				p.SendPrepare(fmt.Sprintf("skipped%d", n), fmt.Sprintf("SELECT %d - 1", i+n), nil)
			}
		}
		switch err := finished(p); {
		case wrong:
			wantState(t, err, "42703")
		case err != nil:
			t.Fatalf("from text %d on: %v", i, err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap has grown by %d bytes in the second half", grown)
	}
	for _, conn := range conns {
		if n := preparedOn(t, conn); n > most+1 {
			t.Errorf("%d statements on a server, the bound is %d", n, most)
		}
	}
}

// finished ends a pipeline and returns the error met in it.
func finished(p *pgconn.Pipeline) (met error) {
	if err := p.Sync(); err != nil {
		return err
	}
	for {
		results, err := p.GetResults()
		switch r := results.(type) {
		case *pgconn.ResultReader:
			_, err = r.Close()
		case *pgconn.PipelineSync:
			_ = p.Close()
			return met
		}
		if err != nil {
			met = errors.Join(met, err)
			if errors.As(err, new(*pgconn.PgError)) {
				continue
			}
			return met
		}
	}
}

// preparedOn is how many prepared statements the server process has that answers conn.
func preparedOn(t *testing.T, conn *pgconn.PgConn) (n int) {
	t.Helper()
	results, err := conn.Exec(context.Background(), "SELECT count(*) FROM pg_prepared_statements").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Sscan(string(results[0].Rows[0][0]), &n)
	return n
}

// Long texts count by their length, on servers too.
func TestStatementsAreBoundedInBytes(t *testing.T) {
	f := start(t, setup{pool: pool.Config{Size: 1, Prepared: 1000, PreparedBytes: 100 << 10}})
	ctx := context.Background()
	conn := pgtest.Connect(t, f.url("postgres", "postgres")).PgConn()
	long := strings.Repeat("x", 10<<10)
	for i := range 40 {
		if _, err := conn.Prepare(ctx, fmt.Sprintf("s%d", i), fmt.Sprintf("SELECT '%s%d'", long, i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		r := conn.ExecPrepared(ctx, fmt.Sprintf("s%d", i), nil, nil, nil).Read()
		if r.Err != nil || string(r.Rows[0][0]) != fmt.Sprint(long, i) {
			t.Fatalf("statement %d: %v", i, r.Err)
		}
	}
	if n := preparedOn(t, conn); n > 10 {
		t.Errorf("%d statements of 10 kB on a server, the bound is 100 kB", n)
	}
}

// A session may keep only so much prepared, by the protocol or by SQL; closing
// statements makes room again.
func TestStatementsOfASessionAreBounded(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{Limits: proxy.Limits{Prepared: 64 << 10}, SessionMode: session}})
		ctx := context.Background()
		conn := pgtest.Connect(t, f.url("postgres", "postgres")).PgConn()
		for round := range 3 {
			n := 0
			var err error
			for ; n < 1000; n++ {
				if _, err = conn.Prepare(ctx, fmt.Sprintf("s%d", n), fmt.Sprintf("SELECT %d", n), nil); err != nil {
					break
				}
			}
			wantState(t, err, "54000")
			if n < 100 || n > 600 {
				t.Fatalf("round %d: %d statements in 64 kB", round, n)
			}
			_, err = conn.Exec(ctx, "PREPARE more AS SELECT 1").ReadAll()
			wantState(t, err, "54000")
			if r := conn.ExecPrepared(ctx, "s0", nil, nil, nil).Read(); r.Err != nil || string(r.Rows[0][0]) != "0" {
				t.Errorf("the first statement: %v", r.Err)
			}
			if round == 0 {
				_, err = conn.Exec(ctx, "DEALLOCATE ALL").ReadAll()
			} else {
				for i := range n {
					if err = conn.Deallocate(ctx, fmt.Sprintf("s%d", i)); err != nil {
						break
					}
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
