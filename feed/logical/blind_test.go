package logical

import (
	"strings"
	"testing"

	"pgshunt/configs"
)

// Before PostgreSQL 14 an ordinary role may not read the OIDs of subscriptions. What stands
// against the feed is found all the same; nothing is taken for absent that cannot be seen.
func TestARoleThatMayNotLookAtSubscriptions(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	r.apply(t)
	if version(t, r.replica) >= v14 {
		r.replica.Exec(t, "REVOKE SELECT (oid) ON pg_subscription FROM PUBLIC")
	}
	r.replica.Exec(t, "CREATE ROLE cloudsqlsuperuser; CREATE ROLE ml LOGIN IN ROLE cloudsqlsuperuser; GRANT CREATE ON DATABASE postgres TO ml; GRANT USAGE ON SCHEMA pgshunt TO ml; GRANT ALL ON ALL TABLES IN SCHEMA pgshunt, public TO ml")
	r.cfg.Replicas[0].URL = configs.URL(r.replica.URL("ml", "postgres"))
	if _, err := State(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "GRANT SELECT (oid)") {
		t.Errorf("status: %v", err)
	}
	if err := Drop(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "GRANT SELECT (oid)") {
		t.Errorf("drop: %v", err)
	}
	p := r.found(t, "ml1", "subscription_catalog")
	if p == nil || !p.Blocks {
		t.Fatalf("%+v", p)
	}
	r.replica.Exec(t, p.Remedy)
	if p := r.found(t, "ml1", "subscription_catalog"); p != nil {
		t.Errorf("%+v", p)
	}
	if state := r.state(t); state.State == "absent" {
		t.Errorf("%+v", state)
	}
}
