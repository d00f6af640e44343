package fdw

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
)

// keeping feeds some tables of the shop, and copies those that are named.
func keeping(materialize ...string) func(*configs.Replica) {
	return func(r *configs.Replica) {
		r.Tables, r.FDW.Materialize = configs.Patterns{"shop.orders", "shop.visits*", "shop.secrets", "shop.events"}, materialize
	}
}

// likeThere fails unless the replica's tables have what the primary's have, or, where want is
// false, if they do.
func (b *bed) likeThere(t *testing.T, want bool) {
	t.Helper()
	primary, replica := b.conn(t, b.primary), b.conn(t, b.replica)
	tables := tablesOf(t, replica)
	if diff := cmp.Diff(contents(t, primary, tables), contents(t, replica, tables)); (diff == "") != want {
		t.Errorf("equal: %v\n%s", !want, diff)
	}
}

func TestHotTablesAreCopied(t *testing.T) {
	b := awkward(t, keeping())
	b.replica.Exec(t, "CREATE ROLE analyst LOGIN")
	b.onPrimary(t, `GRANT USAGE ON SCHEMA shop TO analyst; GRANT SELECT ON shop.orders, shop.secrets TO analyst`)
	b.apply(t) // all of it foreign at first
	b.onReplica(t, "CREATE VIEW shop.over AS SELECT id, vat FROM shop.orders")
	b.configure(t, keeping("shop.orders", "shop.visits", "shop.secrets"))
	b.apply(t)
	b.noSecret(t)
	replica := b.conn(t, b.replica)
	b.likeThere(t, true)
	kinds := func() []string {
		return texts(t, replica, `SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'shop'::regnamespace ORDER BY 1`)
	}
	if diff := cmp.Diff([]string{"orders", "secrets", "visits", "visits_2025", "visits_2026", "visits_2026_de", "visits_2026_rest", "visits_rest"}, kinds()); diff != "" {
		t.Error(diff)
	}
	// A copy has what the primary's table has: key, privileges, row-level security.
	if got := texts(t, replica, "SELECT indexname FROM pg_indexes WHERE schemaname = 'shop' AND tablename = 'orders' ORDER BY 1"); !slices.Contains(got, "orders_pkey") {
		t.Errorf("indexes %q", got)
	}
	analyst := b.replica.Conn(t, "analyst", b.database)
	if got := texts(t, analyst, "SELECT count(*) || ' ' || (SELECT count(*) FROM shop.secrets) FROM shop.orders"); !slices.Equal(got, []string{"100 0"}) {
		t.Errorf("analyst sees %q", got)
	}

	b.onPrimary(t, "INSERT INTO shop.orders (customer, amount) VALUES (8, 800); INSERT INTO shop.visits VALUES (1000, '2026-02-02', 'fr', 1); INSERT INTO shop.events VALUES (NULL, 'live')")
	b.likeThere(t, false)
	if got := texts(t, replica, "SELECT count(*)::text FROM shop.events WHERE what = 'live'"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("a foreign table has %q", got)
	}
	b.apply(t)
	b.likeThere(t, false) // a copy is not made anew by that
	state, err := State(t.Context(), b.run(t))
	if err != nil || state.State != "ready" || state.LagSeconds <= 0 {
		t.Errorf("%+v, %v", state, err)
	}
	for _, one := range state.Tables {
		if hot := one.Name == "orders" || one.Name == "secrets" || strings.HasPrefix(one.Name, "visits"); one.State != "ready" || (one.Age > 0) != hot || one.Copy != hot {
			t.Errorf("%+v", one)
		}
	}
	if err := Refresh(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
	b.likeThere(t, true)
	if got := texts(t, replica, "SELECT count(*)::text FROM shop.over"); !slices.Equal(got, []string{"101"}) {
		t.Errorf("the view has %q", got)
	}

	// Back to a foreign table, but for what depends on the copy.
	b.configure(t, keeping("shop.orders"))
	b.apply(t)
	b.likeThere(t, true)
	if diff := cmp.Diff([]string{"orders"}, kinds()); diff != "" {
		t.Error(diff)
	}
	if got := texts(t, replica, "SELECT relation FROM pgshunt.copies"); !slices.Equal(got, []string{"shop.orders"}) {
		t.Errorf("the journal has %q", got)
	}
	b.configure(t, keeping())
	if err := Apply(t.Context(), b.run(t)); err == nil || !strings.Contains(err.Error(), "view shop.over depends on") {
		t.Errorf("%v", err)
	}
	if err := Drop(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
	left := texts(t, replica, traces+" UNION ALL SELECT relation FROM pgshunt.copies UNION ALL SELECT name FROM pgshunt.feeds")
	if diff := cmp.Diff([]string{"extension", "schema pgshunt", "schema shop"}, sorted(left)); diff != "" {
		t.Error(diff)
	}
}

func TestHotCopiesAreRenewedWhenTheyAreOldEnough(t *testing.T) {
	b := awkward(t, keeping("shop.orders", "shop.visits", "shop.secrets"))
	b.apply(t)
	b.onPrimary(t, "INSERT INTO shop.orders (customer, amount) VALUES (9, 900)")
	if next, err := Renew(t.Context(), b.run(t), time.Hour); err != nil || next <= 0 || next > time.Hour {
		t.Errorf("the next copy is in %v: %v", next, err)
	}
	b.likeThere(t, false)
	if next, err := Renew(t.Context(), b.run(t), time.Nanosecond); err != nil || next != time.Nanosecond {
		t.Errorf("the next copy is in %v: %v", next, err)
	}
	b.likeThere(t, true)
	b.configure(t, func(r *configs.Replica) { keeping("shop.orders", "shop.visits", "shop.secrets")(r); r.Schedule = 1 })
	if state, err := State(t.Context(), b.run(t)); err != nil || state.State != "stale" {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestATableOfTheReplicasOwnIsNotReplaced(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.FDW.Materialize = configs.Patterns{"public.a"} })
	b.onPrimary(t, "CREATE TABLE a (id int); CREATE TABLE b (id int); GRANT SELECT ON a, b TO reader")
	b.onReplica(t, "CREATE TABLE a (id int); CREATE TABLE b (id int); INSERT INTO a VALUES (7)")
	if checks, remedies := problems(t, b); len(remedies) != 2 {
		t.Errorf("%q, %q", checks, remedies)
	}
	if err := Apply(t.Context(), b.run(t)); err == nil {
		t.Error("it is replaced")
	}
}

func sorted(texts []string) []string {
	slices.Sort(texts)
	return texts
}

func TestAPartitionIsNotCopiedAlone(t *testing.T) {
	b := awkward(t, func(r *configs.Replica) { r.FDW.Materialize = configs.Patterns{"shop.visits_2025"} })
	if checks, _ := problems(t, b); !slices.Contains(checks, "ml1 materialize!") {
		t.Errorf("%q", checks)
	}
}
