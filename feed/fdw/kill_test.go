package fdw

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
)

// cut runs do and ends it at its n-th event: the command itself is told to stop, or, at
// every other event, its sessions end, as they do when a server or its process is killed.
func (b *bed) cut(t *testing.T, n int, do func(context.Context, *feed.Run) error) (events int, err error) {
	t.Helper()
	super := b.replica.Super(t, "postgres")
	defer super.Close(context.Background())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run, err := feed.Open(b.cfg, "ml1", feed.Options{Sink: func(feed.Event) {
		if events++; events != n {
			return
		}
		if n%2 == 0 {
			cancel()
			return
		}
		_, err := super.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", b.database)
		if err != nil {
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return events, do(ctx, run)
}

func TestAKilledCommandIsRunAgain(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Tables, r.FDW.Materialize = configs.Patterns{"s.*"}, configs.Patterns{"s.b"}
	})
	b.onPrimary(t, `CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('sad', 'glad'); CREATE TABLE s.a (id int PRIMARY KEY, m s.mood); CREATE TABLE s.b (id int, x text);
		INSERT INTO s.a VALUES (1, 'sad'); INSERT INTO s.b VALUES (1, 'x'); GRANT USAGE ON SCHEMA s TO reader, analyst; GRANT SELECT ON ALL TABLES IN SCHEMA s TO reader, analyst`)
	b.replica.Exec(t, "CREATE ROLE analyst LOGIN")
	primary := b.conn(t, b.primary)
	tables := []string{"s.a", "s.b"}
	want := contents(t, primary, tables)

	step := 9
	if os.Getenv("PGSHUNT_SOAK") != "" {
		step = 1
	}
	changed := "ALTER TABLE s.a ADD COLUMN more int DEFAULT 7; DROP TABLE s.b; CREATE TABLE s.c (y int); GRANT SELECT ON s.c TO reader"
	for n := 1; ; n += step {
		events, err := b.cut(t, n, Apply)
		if n > events {
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("killed at %d events", events)
			break
		}
		b.apply(t)
		replica := b.conn(t, b.replica)
		if diff := cmp.Diff(want, contents(t, replica, tables)); diff != "" {
			t.Fatalf("killed at event %d: %s", n, diff)
		}
		b.apply(t)
		if steps := b.done(); len(steps) > 1 {
			t.Errorf("killed at event %d: done again: %q", n, steps)
		}
		if _, err := b.cut(t, 1+n%5, Drop); err != nil {
			if err := Drop(t.Context(), b.run(t)); err != nil {
				t.Fatal(err)
			}
		}
		left := texts(t, b.conn(t, b.replica), traces)
		if len(left) != 2 || strings.Contains(strings.Join(left, " "), "server") { // the journal's schema and the extension
			t.Fatalf("killed at event %d: left %q", n, left)
		}
		b.onReplica(t, "DROP SCHEMA s CASCADE")
	}

	// Changes of the primary are followed in the same way.
	b.onPrimary(t, changed)
	want = contents(t, primary, []string{"s.a", "s.c"})
	for n := 1; ; n += step {
		events, _ := b.cut(t, n, Refresh)
		if n > events {
			break
		}
	}
	b.apply(t)
	if diff := cmp.Diff(want, contents(t, b.conn(t, b.replica), []string{"s.a", "s.c"})); diff != "" {
		t.Error(diff)
	}
}
