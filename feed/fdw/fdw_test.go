package fdw

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/feed"
)

func TestForeignTablesHaveWhatThePrimaryHas(t *testing.T) {
	b := awkward(t, nil)
	b.onPrimary(t, `GRANT USAGE ON SCHEMA shop TO analyst; GRANT SELECT ON shop.orders, shop.secrets TO analyst; GRANT SELECT (id, mood) ON shop.types TO analyst`)
	b.replica.Exec(t, "CREATE ROLE analyst LOGIN")
	b.apply(t)
	b.noSecret(t)

	primary, replica := b.conn(t, b.primary), b.conn(t, b.replica)
	tables := tablesOf(t, primary)
	if diff := cmp.Diff(tables, tablesOf(t, replica)); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(contents(t, primary, tables), contents(t, replica, tables)); diff != "" {
		t.Error(diff)
	}
	b.onPrimary(t, "INSERT INTO shop.orders (customer, amount) VALUES (8, 800)")
	if got := texts(t, replica, "SELECT mood::text || vat FROM shop.orders WHERE customer = 8"); !slices.Equal(got, []string{"so so152.0000"}) {
		t.Errorf("a new row is %q", got)
	}

	analyst := b.replica.Conn(t, "analyst", b.database)
	if got := texts(t, analyst, "SELECT max(id)::text FROM shop.orders"); !slices.Equal(got, []string{"101"}) {
		t.Errorf("analyst reads %q", got)
	}
	if got := texts(t, analyst, "SELECT mood::text FROM shop.types WHERE id = 1"); !slices.Equal(got, []string{"glad"}) {
		t.Errorf("analyst reads %q", got)
	}
	for _, sql := range []string{
		"SELECT doc FROM shop.types", "SELECT * FROM shop.lines", // not allowed on the primary either
		"SELECT * FROM shop.secrets", // row-level security does not reach through
		"CREATE FOREIGN TABLE mine (x int) SERVER " + b.run(t).Name,
	} {
		if _, err := analyst.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{"UPDATE shop.empty SET v = 'x'", "TRUNCATE shop.empty", "INSERT INTO shop.empty VALUES (1)"} {
		if _, err := replica.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s is allowed", sql)
		}
	}

	// A second run finds everything done.
	b.apply(t)
	if steps := b.done(); len(steps) > 1 || len(steps) == 1 && !strings.HasPrefix(steps[0], "log in") {
		t.Errorf("done again: %q", steps)
	}
	state, err := State(t.Context(), b.run(t))
	if err != nil {
		t.Fatal(err)
	}
	if state.State != "ready" || state.LagSeconds != 0 || len(state.Tables) != len(tables) || len(state.Problems) > 0 {
		t.Errorf("%+v", state)
	}
	for _, one := range state.Tables {
		if one.State != "ready" || one.Drift != nil || one.Age != 0 {
			t.Errorf("%+v", one)
		}
	}

	if err := Drop(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
	if err := Drop(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
	left := texts(t, replica, `SELECT 'server ' || srvname FROM pg_foreign_server UNION ALL SELECT 'mapping ' || usename FROM pg_user_mappings
		UNION ALL SELECT relname FROM pg_class WHERE relkind = 'f' UNION ALL SELECT 'journal' FROM pgshunt.feeds UNION ALL SELECT extname FROM pg_extension WHERE extname = 'postgres_fdw'`)
	if diff := cmp.Diff([]string{"postgres_fdw"}, left); diff != "" {
		t.Error(diff)
	}
	if state, err = State(t.Context(), b.run(t)); err != nil || state.State != "absent" {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestPrintingChangesNothing(t *testing.T) {
	b := awkward(t, nil)
	run := b.run(t)
	run.Print = true
	for _, do := range []func() error{
		func() error { return Apply(t.Context(), run) }, func() error { return Refresh(t.Context(), run) }, func() error { return Drop(t.Context(), run) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	b.noSecret(t)
	var would []string
	for _, e := range b.events {
		switch e.Status {
		case feed.StatusWould:
			would = append(would, e.SQL)
		case feed.StatusNote, feed.StatusSkip, feed.StatusProgress:
		default:
			t.Errorf("%+v", e)
		}
	}
	all := strings.Join(would, "\n")
	for _, part := range []string{"CREATE SERVER", "CREATE USER MAPPING FOR PUBLIC", "password E'***'", "IMPORT FOREIGN SCHEMA \"shop\" LIMIT TO", "-c row_security=off -c default_transaction_read_only=on"} {
		if !strings.Contains(all, part) {
			t.Errorf("%q is not printed:\n%s", part, all)
		}
	}
	replica := b.conn(t, b.replica)
	if left := texts(t, replica, `SELECT extname::text FROM pg_extension WHERE extname = 'postgres_fdw' UNION ALL SELECT nspname FROM pg_namespace WHERE nspname IN ('shop', 'pgshunt')`); len(left) > 0 {
		t.Errorf("made: %q", left)
	}
}
