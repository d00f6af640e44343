package dump

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// brought are tables with what came with each version, and what is said of them.
var brought = []struct {
	since      int
	name, what string
	sql        string
}{
	{14, "spans", "the column s of type int4multirange[]", "CREATE TABLE spans (id int, s int4multirange[])"},
	{15, "once", "once_v_key, UNIQUE NULLS NOT DISTINCT", "CREATE TABLE once (id int, v text UNIQUE NULLS NOT DISTINCT)"},
	{17, "parts", "the identity of the partitioned table, id", "CREATE TABLE parts (id int GENERATED ALWAYS AS IDENTITY, d date) PARTITION BY RANGE (d)"},
	{18, "virtual", "the virtual column v", "CREATE TABLE virtual (id int, v int GENERATED ALWAYS AS (id + 1))"},
	{18, "drafts", "titled, NOT NULL that is not valid", "CREATE TABLE drafts (id int, t text); ALTER TABLE drafts ADD CONSTRAINT titled NOT NULL t NOT VALID"},
	{18, "heads", "headed, NOT NULL NO INHERIT", "CREATE TABLE heads (id int, t text CONSTRAINT headed NOT NULL NO INHERIT)"},
	{18, "loose", "positive, which is NOT ENFORCED", "CREATE TABLE loose (id int, CONSTRAINT positive CHECK (id > 0) NOT ENFORCED)"},
	{18, "periods", "one_at_a_time, which is of periods", "CREATE TABLE periods (id int4range, at daterange, CONSTRAINT one_at_a_time UNIQUE (id, at WITHOUT OVERLAPS))"},
}

func TestWhatAnOlderReplicaDoesNotKnowIsRefused(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Tables = configs.Patterns{"public.*"}
		r.Columns = map[string][]string{"public.fewer": {"id"}}
	})
	ctx := context.Background()
	from, err := versionOf(ctx, b.primary)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, b.primary, "CREATE TABLE fewer (id int, v text)")
	if from >= 180000 {
		exec(t, b.primary, "ALTER TABLE fewer ADD w int GENERATED ALWAYS AS (id)")
	}
	for _, n := range brought {
		if from/10000 >= n.since {
			exec(t, b.primary, n.sql)
		}
	}
	chosen, err := choose(ctx, b.primary, b.Run)
	if err != nil {
		t.Fatal(err)
	}
	to, err := versionOf(ctx, b.replica)
	if err != nil {
		t.Fatal(err)
	}
	all, err := newer(ctx, b.Run, b.primary, newTables(b.Run, chosen))
	if err != nil {
		t.Fatal(err)
	}
	// And for a server of the oldest version, whatever runs here.
	for _, to := range []int{to, 130000} {
		k := &checking{run: b.Run, tables: newTables(b.Run, chosen)}
		k.version(all, to)
		told(t, k.problems, from, to)
	}
	problems, err := Check(ctx, b.Run)
	if err != nil {
		t.Fatal(err)
	}
	told(t, slices.DeleteFunc(problems, func(p feed.Problem) bool { return p.Check != "version" }), from, to)
}

// told looks for what is said of a primary and a replica of those versions.
func told(t *testing.T, problems []feed.Problem, from, to int) {
	t.Helper()
	all := 0
	for _, n := range brought {
		want := fmt.Sprintf("it is PostgreSQL %d, and public.%s has what came with %d: %s", to/10000, n.name, n.since, n.what)
		expected := from/10000 >= n.since && to/10000 < n.since
		if expected {
			all++
		}
		found := false
		for _, p := range problems {
			found = found || p.What == want && p.Blocks
		}
		if found != expected {
			t.Errorf("%q: %v, want %v: %+v", want, found, expected, problems)
		}
	}
	if len(problems) != all {
		t.Errorf("%d problems instead of %d: %+v", len(problems), all, problems)
	}
}

// A directory tells it where the primary cannot be asked.
func TestADirectoryTellsWhatAReplicaIsTooOldFor(t *testing.T) {
	b := newBed(t, nil)
	ctx := context.Background()
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY)")
	dir := filepath.Join(t.TempDir(), "copy")
	if err := Save(ctx, b.Run, dir, "test"); err != nil {
		t.Fatal(err)
	}
	m, err := readManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Newer = []schema.Newer{{Table: "public.a", Since: 99, What: "a thing", Columns: []string{"id"}}}
	problems, err := m.check(ctx, b.Run)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].What, "public.a has what came with 99: a thing") {
		t.Errorf("%v %+v", err, problems)
	}
}
