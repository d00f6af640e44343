package logical

import (
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/testdata/feeds"
)

// awkward is a replica of all awkward tables; those that no feed of this kind takes are left out.
func awkward(r *configs.Replica) {
	r.Tables = configs.Patterns{"shop.*", "Mixed Case.*", "!scratch"}
}

// identities gives the tables without a key what an administrator would be told to.
const identities = "ALTER TABLE shop.events REPLICA IDENTITY FULL; ALTER TABLE shop.nothing REPLICA IDENTITY FULL"

func TestAwkwardTablesAreFedAndFollow(t *testing.T) {
	r := newRig(t, awkward)
	r.primary.Exec(t, feeds.Awkward(r.primary.Version, r.replica.Version))
	r.primary.Exec(t, identities)
	r.apply(t)
	first := r.told()
	r.equal(t)
	if state := r.state(t); state.State != "ready" || len(state.Tables) < 15 || state.LagSeconds < 0 || state.Retained < 0 {
		t.Errorf("%+v", state)
	}
	for _, want := range []string{"make the publication", "make the replication slot", "make the subscription", "copy the rows", "set the sequences"} {
		if !slices.Contains(did(first, feed.StatusDone), want) {
			t.Errorf("it was not told that it did %q", want)
		}
	}
	r.primary.Exec(t, `UPDATE shop.types SET doc = '{"new": 1}', raw = '{"n":2}' WHERE id = 1; DELETE FROM shop.types WHERE id = 2;
		UPDATE shop.events SET what = 'other' WHERE what = 'event 2'; DELETE FROM shop.log; INSERT INTO shop.log VALUES ('a', NULL), ('a', NULL);
		UPDATE shop.visits SET day = day + 300 WHERE id < 20; INSERT INTO shop.orders (customer, amount) VALUES (1, 2.5);
		UPDATE shop.codes SET code = 'changed' WHERE code = 'c1'; UPDATE shop.documents SET packed = '\x00' WHERE id = 3;
		TRUNCATE shop.lines; INSERT INTO "Mixed Case"."Order ""Table""" VALUES (1000, 'new', NULL, 0); TRUNCATE shop.visits_rest`)
	r.equal(t)
	// The trigger of the primary has written its rows there, and no trigger writes them twice.
	if got := ask(t, r.replica, "SELECT count(*)::text FROM shop.audit"); got != ask(t, r.primary, "SELECT count(*)::text FROM shop.audit") {
		t.Errorf("%s rows of audit", got)
	}
	r.told()
	r.apply(t)
	again := r.told()
	if steps := did(again, feed.StatusDone); len(steps) > 0 {
		t.Errorf("a second run did %q", steps)
	}
	if err := Drop(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.nothingLeft(t)
	if got := ask(t, r.replica, "SELECT count(*)::text FROM shop.orders"); got != "101" {
		t.Errorf("%s orders are left", got)
	}
}

func TestWhatStandsAgainstAFeedIsSaidWithItsRemedy(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) {
		awkward(c)
		c.Tables = configs.Patterns{"shop.*"}
		c.Columns = map[string][]string{"shop.orders": {"number", "vat"}}
		c.Where = map[string]string{"shop.lines": "item = 'item 1'"}
	})
	r.primary.Exec(t, feeds.Awkward(r.primary.Version, r.replica.Version))
	r.primary.Exec(t, "CREATE TABLE shop.near (id int NOT NULL UNIQUE, v text); CREATE TABLE shop.deferred (id int PRIMARY KEY DEFERRABLE)")
	r.replica.Exec(t, "CREATE SCHEMA shop; CREATE TABLE shop.near (id int NOT NULL UNIQUE, v text); INSERT INTO shop.near VALUES (1)")
	err := Apply(limited(t), r.run(t))
	if err == nil {
		t.Fatal("nothing stood against it")
	}
	inPart := []string{"shop.orders.vat is generated", "columns of shop.orders lacks id", "the condition for shop.lines uses item"}
	if min(version(t, r.primary), version(t, r.replica)) < v15 {
		inPart = []string{"shop.orders is to be fed in part, which needs PostgreSQL 15 on both servers", "shop.lines is to be fed in part"}
	}
	for _, want := range append(inPart,
		"shop.events has nothing that tells its rows apart", `ALTER TABLE "shop"."events" REPLICA IDENTITY FULL`,
		`ALTER TABLE "shop"."near" REPLICA IDENTITY USING INDEX "near_id_key"`,
		"shop.deferred has nothing that tells its rows apart",
		"shop.scratch is unlogged", "shop.near holds rows already",
	) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q: %v", want, err)
		}
	}
	r.nothingMade(t)
}

// nothingMade fails where a refused run has changed something.
func (r *rig) nothingMade(t *testing.T) {
	t.Helper()
	if got := ask(t, r.primary, "SELECT (SELECT count(*) FROM pg_publication) || ' ' || (SELECT count(*) FROM pg_replication_slots)"); got != "0 0" {
		t.Errorf("publications and slots: %s", got)
	}
	if got := ask(t, r.replica, "SELECT (SELECT count(*) FROM pg_subscription) || ' ' || (SELECT count(*) FROM pg_namespace WHERE nspname = 'pgshunt')"); got != "0 0" {
		t.Errorf("subscriptions and journals: %s", got)
	}
}
