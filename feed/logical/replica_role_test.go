package logical

import (
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// From PostgreSQL 16 on rows are written as the table's owner. Whom the policies that come from
// the primary would bind writes none: that is said before they come.
func TestAnOwnerThatPoliciesWouldBindIsToldBeforehand(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
		ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY few ON t USING (id > 5)`)
	r.replica.Exec(t, "CREATE ROLE bob; CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO bob")
	if version(t, r.replica) >= v16 {
		found := r.blockedBy(t)
		if len(found) != 1 || !strings.Contains(found[0].What, "row-level security of public.t is in force for bob") {
			t.Fatalf("%+v", found)
		}
		r.nothingMade(t)
		if got := ask(t, r.replica, "SELECT relrowsecurity::text FROM pg_class WHERE relname = 't'"); got != "false" {
			t.Error("row-level security came all the same")
		}
		r.replica.Exec(t, found[0].Remedy)
	}
	r.apply(t)
	r.primary.Exec(t, "INSERT INTO t VALUES (2), (7)")
	r.equal(t)
}

// A role that may make subscriptions and is no superuser needs what it is told to need.
func TestARoleThatIsNoSuperuserSubscribes(t *testing.T) {
	r := guarded(t)
	r.primary.Exec(t, "ALTER ROLE feeder SUPERUSER; ALTER ROLE source REPLICATION; GRANT USAGE ON SCHEMA app TO source; GRANT SELECT ON app.t TO source")
	r.replica.Exec(t, `CREATE ROLE taker LOGIN; CREATE ROLE bob; GRANT bob TO taker; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO taker;
		CREATE SEQUENCE app.t_id_seq; CREATE TABLE app.t (id int PRIMARY KEY DEFAULT nextval('app.t_id_seq'), v text); ALTER TABLE app.t OWNER TO bob; ALTER SEQUENCE app.t_id_seq OWNER TO bob`)
	if version(t, r.replica) >= v16 {
		r.replica.Exec(t, "GRANT bob TO taker WITH SET FALSE")
	}
	r.cfg.Replicas[0].URL = configs.URL(r.replica.URL("taker", "postgres"))
	r.valid(t)
	remedies := ""
	for _, p := range r.blockedBy(t) {
		if p.Server != "ml1" || p.Remedy == "" {
			t.Fatalf("no remedy on the replica: %+v", p)
		}
		remedies += p.Remedy + "\n"
		r.replica.Exec(t, p.Remedy)
	}
	if version(t, r.replica) >= v16 && (!strings.Contains(remedies, `GRANT "bob" TO "taker" WITH INHERIT TRUE, SET TRUE`) || !strings.Contains(remedies, "GRANT pg_create_subscription")) {
		t.Errorf("told was %s", remedies)
	}
	r.apply(t)
	r.equal(t)
	r.primary.Exec(t, "INSERT INTO app.t (v) VALUES ('y'); UPDATE app.t SET v = 'z' WHERE id = 1")
	r.equal(t)
	if got := ask(t, r.replica, "SELECT rolsuper::text FROM pg_roles WHERE rolname = 'taker'"); got == "true" && version(t, r.replica) >= v16 {
		t.Error("it is a superuser")
	}
	if !pgtest.Eventually(func() bool { return r.state(t).State == "ready" }) {
		t.Errorf("%+v", r.state(t))
	}
}

// What is set for a role, in ALTER ROLE, makes a feed's connections neither another role nor
// look elsewhere. Its workers do as it says, and that is said beforehand.
func TestSettingsOfARoleDoNotChangeAFeed(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	const settings = `CREATE ROLE weak; CREATE ROLE feeder LOGIN SUPERUSER; GRANT weak TO feeder;
		ALTER ROLE feeder IN DATABASE postgres SET role = weak; ALTER ROLE feeder SET search_path = "$user", public; CREATE SCHEMA feeder AUTHORIZATION feeder;
		CREATE VIEW feeder.pg_class AS SELECT 1 AS oid; `
	r.primary.Exec(t, settings+"CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
	r.replica.Exec(t, settings)
	r.cfg.Primary.URL, r.cfg.Replicas[0].URL = configs.URL(r.primary.URL("feeder", "postgres")), configs.URL(r.replica.URL("feeder", "postgres"))
	r.valid(t)
	found := r.blockedBy(t)
	for i, server := range []*pgtest.Server{r.primary, r.replica} {
		if len(found) != 2 || found[i].Remedy != "ALTER ROLE feeder IN DATABASE postgres RESET role" {
			t.Fatalf("%+v", found)
		}
		server.Exec(t, found[i].Remedy)
	}
	r.apply(t)
	r.equal(t)
	if got := ask(t, r.replica, "SELECT tableowner::text FROM pg_tables WHERE tablename = 't'"); got != "feeder" {
		t.Errorf("%s owns the table", got)
	}
}
