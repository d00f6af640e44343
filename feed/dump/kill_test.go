package dump

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// kills is how many random events of a copy each of pgshunt, the replica and the primary are
// killed at.
var kills = flag.Int("kills", 1, "events to kill each party at")

const killed = `CREATE TYPE mood AS ENUM ('a', 'b');
	CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood, t text); INSERT INTO a (m, t) SELECT 'a', repeat('x', i % 300) FROM generate_series(1, 20000) i;
	CREATE TABLE b (id serial PRIMARY KEY, a int REFERENCES a); INSERT INTO b (a) SELECT i FROM generate_series(1, 500) i;
	CREATE TABLE c (id int, at date) PARTITION BY RANGE (at); CREATE TABLE c1 PARTITION OF c DEFAULT; INSERT INTO c SELECT i, '2026-01-01' FROM generate_series(1, 500) i`

// A copy that is killed at any event leaves the old tables as they were, and the next one ends
// equal and leaves nothing behind.
func TestKilledAnywhereTheNextRunEndsEqual(t *testing.T) {
	primary, replica := pgtest.Primary(t), pgtest.Replica(t)
	b := bedOn(t, primary, replica, nil)
	exec(t, b.primary, killed)
	at, on := b.primary.Config().Database, b.replica.Config().Database
	b.refresh(t)
	b.equal(t)
	exec(t, b.replica, "CREATE VIEW v AS SELECT * FROM a; CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM a")
	b.events = nil
	b.refresh(t)
	events := len(b.events)
	before := contents(t, b.primary)
	ctx := context.Background()
	restart := func(s *pgtest.Server) func() {
		return func() {
			s.Kill()
			if err := s.Restart(ctx); err != nil {
				t.Error(err)
			}
		}
	}
	for name, kill := range map[string]func(){"pgshunt": nil, "replica": restart(replica), "primary": restart(primary)} {
		for range *kills {
			n := rand.IntN(events)
			t.Run(fmt.Sprintf("%s at event %d", name, n), func(t *testing.T) {
				b.primary, b.replica = primary.Super(t, at), replica.Super(t, on)
				exec(t, b.primary, "INSERT INTO b (a) VALUES (1)")
				old := contents(t, b.replica)
				before = contents(t, b.primary)
				err := b.killAt(ctx, n, kill)
				b.primary, b.replica = primary.Super(t, at), replica.Super(t, on)
				if got := strings.Join(contents(t, b.primary), "\n"); got != strings.Join(before, "\n") {
					t.Errorf("the primary was changed: %s", got)
				}
				now := strings.Join(contents(t, b.replica), "\n")
				if now != strings.Join(old, "\n") && now != strings.Join(before, "\n") {
					t.Errorf("half a copy after %v: %s", err, now)
				}
				b.refresh(t)
				b.equal(t)
				if got, want := value(t, b.replica, "SELECT n FROM m"), value(t, b.primary, "SELECT count(*) FROM a"); got != want {
					t.Errorf("the materialised view has %s, want %s", got, want)
				}
			})
		}
	}
}

// killAt runs a refresh that ends at its n-th event, by the end of its context or by kill.
func (b *bed) killAt(ctx context.Context, n int, kill func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := 0
	b.mu.Lock()
	b.hear = func(feed.Event) {
		b.mu.Lock()
		now := seen == n
		seen++
		b.mu.Unlock()
		if now && kill != nil {
			kill()
		} else if now {
			cancel()
		}
	}
	b.mu.Unlock()
	err := Refresh(ctx, b.Run)
	b.mu.Lock()
	b.hear = nil
	b.mu.Unlock()
	return err
}
