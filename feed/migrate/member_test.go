package migrate

import (
	"context"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
)

// A role that is a member of another on the replica reads by that what it reads on the primary, and at no
// step more, when its membership there comes and goes.
func TestMembershipsAreOrdered(t *testing.T) {
	g := newRig(t, configs.FeedDump, "CREATE ROLE r_bob LOGIN; CREATE ROLE r_far; GRANT SELECT ON docs TO r_far")
	g.replica.Exec(t, "CREATE ROLE r_bob LOGIN; CREATE ROLE r_far; GRANT r_far TO r_bob")
	if err := Repair(t.Context(), g.run(nil), Mending{}); err != nil {
		t.Fatal(err)
	}
	run := g.run(func(e feed.Event) {
		if here, there := g.seen(g.replica), g.seen(g.primary); e.Status == feed.StatusDone && here&^there != 0 {
			t.Errorf("after %q r_bob sees %b and on the primary %b", e.Step, here, there)
		}
	})
	all := 1<<11 - 2
	for _, step := range []struct {
		sql  string
		sees int
	}{
		{"GRANT r_far TO r_bob", all},
		{"REVOKE r_far FROM r_bob", 0},
		{"ALTER GROUP r_far ADD USER r_bob", all},
		{"CREATE ROLE r_idle; GRANT r_idle TO r_bob; REVOKE r_idle FROM r_bob", all},
		{"ALTER GROUP r_far DROP USER r_bob", 0},
	} {
		if err := Script(context.Background(), []*feed.Run{run}, read(t, step.sql), Options{}); err != nil {
			t.Fatalf("%s: %v", step.sql, err)
		}
		if here, there := g.seen(g.replica), g.seen(g.primary); here != step.sees || there != step.sees {
			t.Errorf("%s: r_bob sees %b and on the primary %b", step.sql, here, there)
		}
	}
}
