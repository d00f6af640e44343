package schema

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// What the replica has of its own is no drift, nor is a column that a list leaves out, or
// that may be null there.
func TestDriftIsAboutWhatTheFeedBrings(t *testing.T) {
	s := pgtest.Primary(t)
	ours, theirs := s.NewDatabase(t), s.NewDatabase(t)
	s.ExecIn(t, ours, `CREATE TABLE listed (id int PRIMARY KEY, b text, secret text, c int); CREATE TABLE whole (id int, n bigint NOT NULL)`)
	s.ExecIn(t, theirs, `CREATE TABLE listed (id int PRIMARY KEY, c bigint, secret text); CREATE TABLE whole (id int, n bigint); CREATE TABLE own (id int); CREATE TABLE dropped (id int);
		CREATE SCHEMA pgshunt; CREATE TABLE pgshunt.copies (relation text, copied_at timestamptz); INSERT INTO pgshunt.copies VALUES ('public.listed', now()), ('public.dropped', now())`)
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(s.URL(s.Superuser(), ours))
	cfg.Replicas = []configs.Replica{{
		Name: "ml1", Server: configs.Server{URL: configs.URL(s.URL(s.Superuser(), theirs))}, Feed: configs.FeedDump,
		Tables: configs.Patterns{"public.*"}, Columns: map[string][]string{"public.listed": {"id", "b", "c"}},
	}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	run, err := feed.Open(cfg, "ml1", feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := Drift(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	state := feed.State{Tables: []feed.TableState{{Schema: "public", Name: "dropped"}, {Schema: "public", Name: "listed"}, {Schema: "public", Name: "whole"}}}
	Fill(&state, all)
	want := map[string][]string{
		"dropped": {"extra table: nothing on the primary, a table here (the primary has dropped or renamed it)"},
		"listed": {
			`column "b": missing column: text on the primary, nothing here (rows that are there have no value in it until pgshunt feed verify --repair or refresh)`,
			`column "c": type: integer on the primary, bigint here`,
		},
	}
	for _, table := range state.Tables {
		if diff := cmp.Diff(want[table.Name], table.Drift); diff != "" {
			t.Errorf("%s: %s", table.Name, diff)
		}
	}
	if len(all) != 4 {
		t.Errorf("%v", all)
	}
}
