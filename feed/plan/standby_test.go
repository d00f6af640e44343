package plan

import (
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed/dump"
	"pgshunt/feed/fdw"
	"pgshunt/feed/logical"
	"pgshunt/internal/pgtest"
)

// That a replica is a standby stands against each way that brings something, and is said once.
func TestAStandbyIsToldOfOnce(t *testing.T) {
	primary := pgtest.Primary(t)
	primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	standby := pgtest.Standby(t, primary)
	cfg := config(t, primary.URL("postgres", "postgres"), standby.URL("postgres", "postgres"), nil)
	checks := map[configs.Feed]Check{configs.FeedLogical: logical.Check, configs.FeedDump: dump.Check, configs.FeedFDW: fdw.Check}
	for way := range checks {
		cfg.Replicas[0].Feed = way
		report, err := Run(t.Context(), cfg, []string{"ml1"}, Options{Watch: time.Millisecond, Checks: checks})
		if err != nil {
			t.Fatal(err)
		}
		r := &report.Replicas[0]
		if r.Error != "" {
			t.Fatalf("%s: %s", way, r.Error)
		}
		for _, w := range r.Ways {
			said := 0
			for _, p := range w.Problems {
				if p.Server == "ml1" && p.Blocks {
					said++
				}
			}
			if said != 1 {
				t.Errorf("%s: %d things stand against it: %+v", w.Feed, said, w.Problems)
			}
		}
	}
}
