package migrate

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// killScript has a change of each kind; n makes its names new ones.
func killScript(n int) string {
	return fmt.Sprintf(`ALTER TABLE docs ADD c%[1]d int NOT NULL DEFAULT %[1]d;
		ALTER TABLE docs RENAME c%[1]d TO d%[1]d;
		ALTER TABLE docs ALTER d%[1]d TYPE bigint;
		CREATE TABLE n%[1]d (id int PRIMARY KEY, v text);
		INSERT INTO n%[1]d SELECT i, 'x' FROM generate_series(1, 10) i;
		ALTER TABLE n%[1]d RENAME TO m%[1]d;
		ALTER TABLE docs DROP d%[1]d;
		DROP TABLE m%[1]d`, n)
}

// Whatever is killed, at whatever step, the same command goes on and ends with the same on
// both servers. A few steps are tried; PGSHUNT_KILLS=1 tries each, 4 every fourth.
func TestKilledAtAnyStep(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	script := func(ctx context.Context, n int, sink feed.Sink) error {
		return Script(ctx, []*feed.Run{g.run(sink)}, read(t, killScript(n)), Options{})
	}
	var total atomic.Int64
	if err := script(context.Background(), 0, func(feed.Event) { total.Add(1) }); err != nil {
		t.Fatal(err)
	}
	steps, stride := int(total.Load()), 30
	if every, err := strconv.Atoi(os.Getenv("PGSHUNT_KILLS")); err == nil && every > 0 {
		stride = every
	}
	victims := []string{"pgshunt", "replica", "primary"}
	t.Logf("%d events", steps)
	for n := 1; n <= steps; n += stride {
		for i, victim := range victims {
			if stride > 1 && n/stride%len(victims) != i { // one of them in turn
				continue
			}
			g.kill(victim, n, 10*n+i, script)
			g.settled()
			if t.Failed() {
				t.Fatalf("after %s was killed at event %d", victim, n)
			}
		}
	}
}

func (g *rig) kill(victim string, at, name int, script func(context.Context, int, feed.Sink) error) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := map[string]*pgtest.Server{"replica": g.replica, "primary": g.primary}[victim]
	var seen atomic.Int64
	err := script(ctx, name, func(e feed.Event) {
		switch {
		case seen.Add(1) != int64(at):
		case server != nil:
			server.Kill()
		default:
			cancel()
		}
	})
	if server != nil && seen.Load() >= int64(at) { // one run may have an event less than another
		<-server.Done()
		if err := server.Restart(context.Background()); err != nil {
			g.t.Fatal(err)
		}
	}
	g.t.Logf("%s at %d: %v", victim, at, err)
	if err := script(context.Background(), name, nil); err != nil {
		g.t.Errorf("%s killed at event %d, and the rerun: %v", victim, at, err)
	}
}
