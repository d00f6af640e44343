package migrate

import (
	"context"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// Changes that were made on the primary alone stop replication, are seen, and are mended.
func TestRepairMendsWhatWasChangedByHand(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	g.primary.Exec(t, `ALTER TABLE docs ADD score int NOT NULL DEFAULT 7`)
	g.primary.Exec(t, `UPDATE docs SET n = n + 1 WHERE id < 20`)
	g.primary.Exec(t, `ALTER TABLE docs DROP COLUMN extra`)
	g.primary.Exec(t, `INSERT INTO docs (id, body) VALUES (5000, 'after the drop')`)
	g.primary.Exec(t, `ALTER TABLE docs RENAME body TO content`)
	g.primary.Exec(t, `UPDATE docs SET content = 'renamed' WHERE id = 30`)
	g.primary.Exec(t, `ALTER TABLE docs ALTER n TYPE bigint`)
	g.primary.Exec(t, `UPDATE docs SET n = 5000000000 WHERE id = 31`)
	run := g.run(nil)
	seen, err := schema.Drift(context.Background(), run)
	if err != nil || len(seen) < 4 {
		t.Fatalf("the drift is not seen: %v, %v", seen, err)
	}
	if err := Repair(context.Background(), run, Mending{}); err != nil {
		t.Fatal(err)
	}
	g.settled()
	g.primary.Exec(t, `UPDATE docs SET n = n + 1, content = content || '!'`)
	g.settled()

	g.primary.Exec(t, `ALTER TABLE docs ADD late text`)
	var would []string
	run = g.run(func(e feed.Event) {
		if e.Status == feed.StatusWould {
			would = append(would, e.SQL)
		}
	})
	run.Print = true
	if err := Repair(context.Background(), run, Mending{}); err != nil || !strings.Contains(strings.Join(would, "; "), "late") {
		t.Errorf("printed %q: %v", would, err)
	}
	if strings.Contains(g.contents(g.replica)["docs"], "late") {
		t.Error("printing has changed the replica")
	}
}
