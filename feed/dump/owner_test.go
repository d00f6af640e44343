package dump

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/verify"
	"pgshunt/internal/feedtest"
)

// Two primaries may have a database of one name, and a mistaken URL names the other. (Servers of tests
// come from one initdb and have one identifier, as after a failover, so another is written down.)
func TestCopiesOfAnotherPrimaryAreNotReplaced(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.*"} })
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	b.refresh(t)
	system := value(t, b.primary, "SELECT system_identifier FROM pg_control_system()")
	if got := value(t, b.replica, "SELECT source FROM pgshunt.feeds"); got != feed.Follows+system {
		t.Errorf("the source is said to be %q", got)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := Save(context.Background(), b.Run, dir, "test"); err != nil {
		t.Fatal(err)
	}
	exec(t, b.replica, "UPDATE pgshunt.feeds SET source = "+feed.Literal(feed.Follows+"1"))
	exec(t, b.primary, "INSERT INTO a VALUES (2)")
	const why = "are of another primary than this one (system 1, and this is "
	_, err := feedtest.Refused(context.Background(), why+system+")", func() *feed.Run { return b.Run }, map[string]func(context.Context, *feed.Run) error{
		"apply": Apply, "refresh": Refresh,
		"renew":        func(ctx context.Context, run *feed.Run) error { _, err := Renew(ctx, run, time.Nanosecond); return err },
		"apply from":   func(ctx context.Context, run *feed.Run) error { return ApplyFrom(ctx, run, dir) },
		"refresh from": func(ctx context.Context, run *feed.Run) error { return RefreshFrom(ctx, run, dir) },
		"repair": func(ctx context.Context, run *feed.Run) error {
			_, err := verify.Run(ctx, run, verify.Options{Repair: true})
			return err
		},
	})
	if err != nil {
		t.Error(err)
	}
	if got := value(t, b.replica, "SELECT count(*) FROM a"); got != "1" {
		t.Errorf("%s rows", got)
	}
	state, err := State(context.Background(), b.Run)
	if err != nil || state.State != "broken" || len(state.Problems) != 1 || !strings.Contains(state.Problems[0].What, why) {
		t.Fatalf("%+v %v", state, err)
	}
	exec(t, b.replica, state.Problems[0].Remedy)
	b.refresh(t)
	b.equal(t)

	// Of one that a version before has copied, or that does not tell who it is, nothing is known.
	exec(t, b.replica, "UPDATE pgshunt.feeds SET source = current_database()")
	b.refresh(t)
	if got := value(t, b.replica, "SELECT source FROM pgshunt.feeds"); got != feed.Follows+system {
		t.Errorf("the source is said to be %q", got)
	}
}
