package migrate

import (
	"context"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
)

// A new column whose default is the time of the statement has the primary's values, whether a row
// is old, comes before the primary has the column, after, or with a value or NULL of its own.
func TestTheTimeOfAStatementIsThePrimarys(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	var notes []string
	live := func(sql string, meanwhile ...string) {
		t.Helper()
		ctx := context.Background()
		runs := []*feed.Run{g.run(func(e feed.Event) {
			if e.Status == feed.StatusNote {
				notes = append(notes, e.Step)
			}
		})}
		l, err := Begin(ctx, runs, read(t, sql)[0], Session{User: "postgres", Path: []string{"public"}, Alone: true})
		if err != nil || l == nil {
			t.Fatalf("%s: %v", sql, err)
		}
		g.primary.Exec(t, "INSERT INTO docs (id) SELECT max(id) + 1 FROM docs")
		g.primary.Exec(t, sql)
		for _, one := range meanwhile {
			g.primary.Exec(t, one)
		}
		if err := l.Finish(ctx, true); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	live("ALTER TABLE docs ADD made timestamptz DEFAULT now()", "INSERT INTO docs (id, made) VALUES (5002, '2001-01-01'), (5003, NULL)",
		"UPDATE docs SET made = NULL WHERE id = 1", "UPDATE docs SET n = 5 WHERE id = 2", "INSERT INTO docs (id) VALUES (5004)")
	g.primary.Exec(t, "INSERT INTO docs (id) VALUES (5005)")
	g.equal()
	live("ALTER TABLE docs ADD day date NOT NULL DEFAULT CURRENT_DATE, ADD at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')")
	g.equal()
	if len(notes) > 0 {
		t.Errorf("it is said %q", notes)
	}
	// Somebody has every row written anew before the replica could follow.
	live("ALTER TABLE docs ADD late timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP", "VACUUM FULL docs", "INSERT INTO docs (id) VALUES (9006)")
	if len(notes) != 1 || !strings.Contains(notes[0], "verify --repair --table public.docs") {
		t.Errorf("it is said %q", notes)
	}
	g.moves()
	var with int
	if err := g.super(g.replica).QueryRow(context.Background(), "SELECT count(late) FROM docs").Scan(&with); err != nil || with != 1 {
		t.Errorf("%d rows have a value, %v", with, err)
	}
}
