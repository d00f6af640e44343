package logical

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

func TestTablesComeInAndGoOut(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a", "part"} })
	r.primary.Exec(t, `CREATE TABLE a (id serial PRIMARY KEY, v text); INSERT INTO a (v) VALUES ('x');
		CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b SELECT generate_series(1, 10);
		CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10); INSERT INTO part VALUES (1)`)
	r.apply(t)
	r.equal(t)
	// A partition that somebody makes does not stop the feed, and comes in with the next apply.
	r.primary.Exec(t, "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20); INSERT INTO part VALUES (11), (2); INSERT INTO a (v) VALUES ('y')")
	if !pgtest.Eventually(func() bool { return ask(t, r.replica, "SELECT count(*)::text FROM a") == "2" }) {
		t.Fatal("a new partition stops the feed")
	}
	if p := problem(t, r.state(t), "tables"); !strings.Contains(p.What, "public.part_2") {
		t.Errorf("%+v", p)
	}
	r.cfg.Replicas[0].Tables = configs.Patterns{"a", "b", "part"}
	r.apply(t)
	r.equal(t)
	if got := ask(t, r.replica, "SELECT count(*)::text FROM b"); got != "10" {
		t.Errorf("%s rows of a table that came in", got)
	}
	if state := r.state(t); state.State != "ready" || len(state.Tables) != 4 {
		t.Errorf("%+v", state)
	}
	r.cfg.Replicas[0].Tables = configs.Patterns{"a"}
	r.apply(t)
	if got := ask(t, r.replica, "SELECT string_agg(srrelid::regclass::text, ',') FROM pg_subscription_rel"); got != "a" {
		t.Errorf("subscribed: %s", got)
	}
	if got := ask(t, r.primary, "SELECT string_agg(tablename, ',') FROM pg_publication_tables"); got != "a" {
		t.Errorf("published: %s", got)
	}
	// It still has rows; to come in again it has to be emptied, which apply does not do.
	r.cfg.Replicas[0].Tables = configs.Patterns{"a", "b"}
	if err := Apply(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "public.b holds rows already") {
		t.Errorf("%v", err)
	}
	if err := Refresh(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
}

func TestRowsThatNoFeedHasBroughtStay(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a"} })
	r.primary.Exec(t, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1)")
	r.apply(t)
	r.replica.Exec(t, "CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (7)")
	r.cfg.Replicas[0].Tables = configs.Patterns{"a", "b"}
	for _, do := range []func(context.Context, *feed.Run) error{Apply, Refresh} {
		if err := do(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "public.b holds rows already, which no feed has brought") {
			t.Errorf("%v", err)
		}
	}
	if got := ask(t, r.replica, "SELECT id::text FROM b"); got != "7" {
		t.Errorf("the row is %s now", got)
	}
	// Who names the table means it.
	if err := Resync(limited(t), r.run(t), configs.Patterns{"b"}.MatchQualified); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
}

func TestTablesAreFedInPart(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) {
		c.Tables = configs.Patterns{"orders", "part"}
		c.Columns = map[string][]string{"public.orders": {"region", "id"}}
		c.Where = map[string]string{"public.orders": "region = 'eu'", "public.part": "id > 5"}
	})
	r.primary.Exec(t, `CREATE TABLE orders (id int, region text, secret text NOT NULL, PRIMARY KEY (region, id));
		INSERT INTO orders SELECT i, (ARRAY['eu', 'us'])[1 + i % 2], 's' FROM generate_series(1, 20) i;
		CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10); INSERT INTO part VALUES (1), (7)`)
	if version(t, r.primary) < v15 || version(t, r.replica) < v15 {
		found := r.blockedBy(t)
		if len(found) != 2 || !strings.Contains(found[0].What, "public.orders is to be fed in part, which needs PostgreSQL 15 on both servers") {
			t.Errorf("%+v", found)
		}
		r.nothingMade(t)
		return
	}
	r.apply(t)
	r.equal(t)
	for _, p := range r.state(t).Problems {
		if p.Check == "partial" {
			t.Errorf("what has just been applied is configured otherwise: %+v", p)
		}
	}
	r.primary.Exec(t, "UPDATE orders SET region = 'eu' WHERE id = 1; UPDATE orders SET region = 'us' WHERE id = 2; INSERT INTO part VALUES (2), (8)")
	r.equal(t)
	if got := ask(t, r.replica, "SELECT string_agg(id::text, ',' ORDER BY id) FROM part"); got != "7,8" {
		t.Errorf("part has %s", got)
	}
	// Another condition is another set of rows.
	r.cfg.Replicas[0].Where["public.orders"] = "region = 'us'"
	if p := problem(t, r.state(t), "partial"); !strings.Contains(p.What, "public.orders") {
		t.Errorf("%+v", p)
	}
	if err := Apply(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "public.orders: fed with other columns or conditions") {
		t.Errorf("apply with another condition: %v", err)
	}
	if err := Refresh(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
	if got := ask(t, r.replica, "SELECT string_agg(DISTINCT region, ',') FROM orders"); got != "us" {
		t.Errorf("regions %s", got)
	}
}

func TestOneTableIsCopiedAgainWhileOthersGoOn(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a", "b", "c"} })
	r.primary.Exec(t, `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT i, 'v' FROM generate_series(1, 100) i;
		CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE); INSERT INTO b SELECT i, i FROM generate_series(1, 50) i; CREATE TABLE c (id int PRIMARY KEY)`)
	r.apply(t)
	r.replica.Exec(t, "UPDATE a SET v = 'wrong' WHERE id < 10; INSERT INTO a VALUES (1000, 'nobody''s')")
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	wrote := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			r.primary.Exec(t, fmt.Sprintf("INSERT INTO c VALUES (%d); UPDATE a SET v = 'w%d' WHERE id = %d", n, n, 1+n%100))
		}
		wrote <- n
	}()
	err := Resync(limited(t), r.run(t), func(_, name string) bool { return name == "a" })
	cancel()
	if n := <-wrote; n == 0 {
		t.Error("nothing was written meanwhile")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.equal(t)
	// Rows of another table that refer to it were not removed with it.
	if got := ask(t, r.replica, "SELECT count(*)::text FROM b"); got != "50" {
		t.Errorf("%s rows of b", got)
	}
	if copied := did(r.told(), feed.StatusSkip); !slices.Contains(copied, "copy the rows") {
		t.Error("the others were copied again too")
	}
}

func TestRefreshSetsSequences(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a"} })
	r.primary.Exec(t, `CREATE SEQUENCE shared START 100; CREATE TABLE a (id serial PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY, s bigint DEFAULT nextval('shared')); INSERT INTO a DEFAULT VALUES`)
	r.apply(t)
	r.primary.Exec(t, "INSERT INTO a (s) SELECT nextval('shared') FROM generate_series(1, 9)")
	if err := Refresh(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a_id_seq", "a_i_seq", "shared"} {
		state := "SELECT last_value || ' ' || is_called FROM " + name
		if got, want := ask(t, r.replica, state), ask(t, r.primary, state); got != want {
			t.Errorf("%s is %s, on the primary %s", name, got, want)
		}
	}
	r.told()
	if err := Refresh(limited(t), r.run(t)); err != nil || slices.Contains(did(r.told(), feed.StatusDone), "set the sequences") {
		t.Errorf("set again: %v", err)
	}
}

// Rows that a constraint without validation leaves alone are copied, and the constraint is there
// afterwards: one of a table, and one that partitions have from above.
func TestRowsThatAConstraintLeavesAloneAreFed(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t", "part"} })
	r.primary.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, NULL), (2, 'x'); ALTER TABLE t ADD CONSTRAINT "Some" CHECK (v IS NOT NULL) NOT VALID;
		CREATE TABLE part (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
		INSERT INTO part VALUES (1, -1); ALTER TABLE part ADD CONSTRAINT positive CHECK (n > 0) NOT VALID`)
	if version(t, r.primary) >= v18 {
		r.primary.Exec(t, "ALTER TABLE t ADD CONSTRAINT given NOT NULL v NOT VALID")
	}
	r.apply(t)
	r.equal(t)
	constraints := "SELECT string_agg(conrelid::regclass || conname || pg_get_constraintdef(oid), ',' ORDER BY conrelid::regclass::text, conname) FROM pg_constraint WHERE contype IN ('c', 'n') AND connamespace = 'public'::regnamespace"
	if version(t, r.replica) < v18 { // it has no such NOT NULL
		constraints += " AND contype = 'c'"
	}
	if got, want := ask(t, r.replica, constraints), ask(t, r.primary, constraints); got != want {
		t.Errorf("on the replica: %s\non the primary: %s", got, want)
	}
	r.told()
	r.apply(t)
	if steps := did(r.told(), feed.StatusDone); len(steps) > 0 {
		t.Errorf("a second run did %q", steps)
	}
	if err := resyncAll(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
}

// A constraint of the replica's own is not the feed's to take off, and one that the primary has
// validated since need not go.
func TestConstraintsThatThePrimaryDoesNotLeaveOpenStay(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	const table = "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ADD CONSTRAINT "
	r.primary.Exec(t, table+"later CHECK (v <> '') NOT VALID; INSERT INTO t VALUES (1, 'x')")
	r.replica.Exec(t, table+"own CHECK (id > 0) NOT VALID")
	const constraints = "SELECT string_agg(conname, ', ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'"
	for _, apply := range []func(context.Context, *feed.Run) error{Apply, resyncAll} {
		if err := apply(limited(t), r.run(t)); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, r.replica, constraints); got != "later, own" {
			t.Errorf("the replica has %s", got)
		}
		r.primary.Exec(t, "ALTER TABLE t VALIDATE CONSTRAINT later")
	}
	r.equal(t)
}
