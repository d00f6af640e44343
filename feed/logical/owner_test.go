package logical

import (
	"context"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/feedtest"
	"pgshunt/internal/pgtest"
)

// refused has every command that would change something say why it does not, and returns the
// way out that they name.
func (r *rig) refused(t *testing.T, why string) (next string) {
	t.Helper()
	next, err := feedtest.Refused(limited(t), why, func() *feed.Run { return r.run(t) },
		map[string]func(context.Context, *feed.Run) error{"apply": Apply, "refresh": Refresh, "drop": Drop})
	if err != nil {
		t.Error(err)
	}
	if p := problem(t, r.state(t), "owner"); !strings.Contains(p.What, why) || !p.Blocks {
		t.Errorf("status says %+v", p)
	}
	return next
}

// Two configurations may have a replica of one name; publication and slot are for one of them
// only, whether it reads from them at the moment or not.
func TestWhatAnotherReplicaHasOnThePrimaryIsNotTaken(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"s.*"} })
	r.primary.Exec(t, "CREATE SCHEMA s; CREATE TABLE s.a (id int PRIMARY KEY)")
	r.apply(t)
	name := r.run(t).Name
	r.replica.Exec(t, "CREATE DATABASE other")
	other := newRigOn(t, r.primary, r.replica, func(c *configs.Replica) { c.Tables = configs.Patterns{"s.*"} })
	other.cfg.Replicas[0].URL = configs.URL(r.replica.URL("postgres", "other"))
	other.refused(t, "belongs to another replica of that name (ml1, database postgres of ")
	r.primary.Exec(t, "INSERT INTO s.a VALUES (1)")
	r.equal(t)

	r.replica.Exec(t, "ALTER SUBSCRIPTION "+name+" DISABLE")
	if !pgtest.Eventually(func() bool {
		return ask(t, r.primary, "SELECT bool_or(active)::text FROM pg_replication_slots") == "false"
	}) {
		t.Fatal("the subscription goes on")
	}
	next := other.refused(t, "belongs to another replica of that name")
	r.primary.Exec(t, "INSERT INTO s.a VALUES (2)")
	r.replica.Exec(t, "ALTER SUBSCRIPTION "+name+" ENABLE")
	r.equal(t)

	// Somebody has lost the replica, and follows the advice.
	r.replica.Exec(t, unsubscribeSQL(name))
	_, remedy, found := strings.Cut(next, "remove it on the primary: ")
	if !found {
		t.Fatal(next)
	}
	for sql := range strings.SplitSeq(remedy, "; ") {
		r.primary.Exec(t, sql)
	}
	other.apply(t)
	r.refused(t, "belongs to another replica of that name (ml1, database other of ")
}

// A publication that somebody has made by hand is nobody's feed, until it is given to one.
func TestAPublicationMadeByHandIsNotTaken(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"s.*"} })
	name := r.run(t).Name
	// What the publication has and a new replica has not, is no sign that it is out of reach.
	r.primary.Exec(t, "CREATE SCHEMA s; CREATE TABLE s.a (id int PRIMARY KEY); CREATE PUBLICATION "+name+" FOR TABLE ONLY s.a")
	next := r.refused(t, "a publication "+name+", which no feed has made")
	_, remedy, _ := strings.Cut(next, "leave it to this feed: ")
	r.primary.Exec(t, remedy)
	r.apply(t)
	r.primary.Exec(t, "INSERT INTO s.a VALUES (1)")
	r.equal(t)
}

func TestASlotWithoutItsPublicationIsNotTaken(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a"} })
	r.primary.Exec(t, "CREATE TABLE a (id int PRIMARY KEY)")
	r.primary.Exec(t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", r.run(t).Name)
	next := r.refused(t, "a replication slot "+r.run(t).Name+", which this replica has not made")
	_, remedy, _ := strings.Cut(next, "remove it on the primary: ")
	r.primary.Exec(t, remedy)
	r.apply(t)
}

// Two primaries may have a database of one name, and feed a replica by one name. (Servers of
// tests come from one initdb and have one identifier, so another is written down.)
func TestASubscriptionToAnotherPrimaryIsNotTaken(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a"} })
	r.primary.Exec(t, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	r.apply(t)
	system := ask(t, r.primary, "SELECT system_identifier::text FROM pg_control_system()")
	if got := ask(t, r.replica, "SELECT obj_description(oid, 'pg_subscription') FROM pg_subscription"); got != feed.Follows+system+", timeline 1, on timeline 1" {
		t.Errorf("the subscription is said to be %q", got)
	}
	r.replica.Exec(t, "COMMENT ON SUBSCRIPTION "+r.run(t).Name+" IS "+feed.Literal(feed.Follows+"1"))
	next := r.refused(t, "follows another primary than this one (system 1, and this is "+system+")")
	r.primary.Exec(t, "INSERT INTO a VALUES (2)")
	r.equal(t)

	// It was this one after all.
	_, comment, _ := strings.Cut(next, "nothing is lost: ")
	comment, _, told := strings.Cut(comment, " there, and pgshunt feed apply --replica ml1; else ")
	if !told {
		t.Fatalf("told is %s", next)
	}
	r.replica.Exec(t, comment)
	r.told()
	r.apply(t)
	if steps := did(r.told(), feed.StatusDone); len(steps) > 0 {
		t.Errorf("apply did %q", steps)
	}

	r.replica.Exec(t, "COMMENT ON SUBSCRIPTION "+r.run(t).Name+" IS "+feed.Literal(feed.Follows+"1"))
	_, remedy, _ := strings.Cut(next, "remove the subscription there: ")
	remedy, _, _ = strings.Cut(remedy, "; then ")
	for sql := range strings.SplitSeq(remedy, "; ") {
		r.replica.Exec(t, sql)
	}
	if err := Refresh(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
}

// A copy of a replica's server has its journal and its subscription too, and reaches for the slot.
func TestACopyOfAReplicaIsNotTheReplica(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a"} })
	r.primary.Exec(t, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	r.apply(t)
	clone := pgtest.Standby(t, r.replica)
	clone.Exec(t, "SELECT pg_promote()")
	other := newRigOn(t, r.primary, clone, func(c *configs.Replica) { c.Tables = configs.Patterns{"a"} })
	next := other.refused(t, "to another server at 127.0.0.1, not to the subscription of ml1: one of the two is a copy of the other")
	r.primary.Exec(t, "INSERT INTO a VALUES (2)")
	r.equal(t)
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}

	_, remedy, _ := strings.Cut(next, "has to forget the feed, there: ")
	remedy, _, _ = strings.Cut(remedy, "; then ")
	for sql := range strings.SplitSeq(remedy, "; ") {
		clone.Exec(t, sql)
	}
	other.cfg.Replicas[0].Name = "ml2"
	if err := Refresh(limited(t), other.run(t)); err != nil {
		t.Fatal(err)
	}
	r.primary.Exec(t, "INSERT INTO a VALUES (3)")
	other.equal(t)
	r.equal(t)
}

func TestMarks(t *testing.T) {
	conditions := map[string]string{"s.t": `a = ') : {"x"}'`}
	for _, m := range []mark{
		{ours: true, conditions: conditions},
		{ours: true, owner: "1-2", where: "ml1, database d of ::1 port 5", conditions: conditions},
		{ours: true, owner: "1-2", where: "ml1, database a: {b}): {} of ::1 port 5", conditions: conditions},
	} {
		if got := readMark(m.comment()); got.owner != m.owner || got.where != m.where || !got.ours || got.conditions["s.t"] != conditions["s.t"] {
			t.Errorf("%q is read as %+v", m.comment(), got)
		}
	}
	for _, comment := range []string{"", "made by pgshunt", "the feed: {}", "made by pgshunt for x (y): {"} {
		if got := readMark(comment); got.ours {
			t.Errorf("%q is a mark", comment)
		}
	}
}
