package pool

import (
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/internal/wire"
)

// Close may come when a login has just led to a connection, with a Loop to serve it and without: nothing
// that Close waits for is left.
func TestCloseAmidLogins(t *testing.T) {
	server := pgtest.SharedPrimary(t)
	db := server.NewDatabase(t)
	pgtest.NoLeaks(t)
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4))
	loops, err := wire.NewLoops(1)
	if err != nil {
		t.Fatal(err)
	}
	defer loops.Close()
	for round := range 100 {
		cfg := Config{Size: 4, ConnectTimeout: pgtest.Patience, Prepared: 10, Log: slog.New(slog.DiscardHandler)}
		if round%4 > 0 {
			cfg.Loops = loops
		}
		pools := New(cfg, []*Target{{Name: "primary", Login: func(user, database string) (*pgconn.Config, error) {
			return pgconn.ParseConfig(server.URL(user, database))
		}}})
		p := pools.Get(Key{Target: "primary", User: "postgres", Database: db})
		for range cfg.Size {
			p.Ask(func(*Backend, error) {})
		}
		for enough := 1 + rand.IntN(cfg.Size); backends(pools) < enough; {
			runtime.Gosched()
		}
		closed := make(chan struct{})
		go func() { pools.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(pgtest.Patience):
			t.Fatalf("round %d: Close does not end", round)
		}
	}
}

// backends is how many connections pools has.
func backends(pools *Pools) int {
	pools.mu.RLock()
	defer pools.mu.RUnlock()
	return len(pools.all)
}
