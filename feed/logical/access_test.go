package logical

import (
	"errors"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

const hiddenPassword = `hu'nt\er 2`

// guarded is a rig where the roles have no more rights than they need, and the replica's
// way to the primary has a password.
func guarded(t *testing.T) *rig {
	t.Helper()
	hba := "host all source 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	// Before PostgreSQL 14 passwords are kept in another way.
	r := newRigOn(t, pgtest.Primary(t, pgtest.Options{HBA: hba, Settings: map[string]string{"password_encryption": "scram-sha-256"}}), pgtest.Replica(t, pgtest.Options{Settings: soon}), func(c *configs.Replica) {
		c.Tables = configs.Patterns{"app.*"}
	})
	if version(t, r.primary) >= v15 && version(t, r.replica) >= v15 {
		r.cfg.Replicas[0].Where = map[string]string{"app.t": "id > 0 -- all"}
	}
	// Without a temporary view nobody sees what a condition uses.
	r.primary.Exec(t, `REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC; CREATE ROLE feeder LOGIN; CREATE ROLE owner; CREATE ROLE source LOGIN PASSWORD `+feed.Literal(hiddenPassword)+`;
		CREATE SCHEMA app AUTHORIZATION owner; SET ROLE owner; CREATE TABLE app.t (id serial PRIMARY KEY, v text); INSERT INTO app.t (v) VALUES ('x')`)
	r.cfg.Primary.URL = configs.URL(r.primary.URL("feeder", "postgres"))
	r.cfg.Replicas[0].Source.URL = configs.URL(r.primary.URL("source", "postgres"))
	r.cfg.Replicas[0].Source.Password = hiddenPassword
	r.valid(t)
	return r
}

func TestTheRemediesAreEnough(t *testing.T) {
	r := guarded(t)
	err := Apply(limited(t), r.run(t))
	var blocked *feed.Blocked
	if !errors.As(err, &blocked) {
		t.Fatal(err)
	}
	r.nothingMade(t)
	for _, p := range blocked.Problems {
		if !p.Blocks {
			continue
		}
		// The replica's attempt to connect fails for a reason that the primary's remedies remove.
		if p.Check == "source" {
			// The second is since PostgreSQL 16.
			if !strings.Contains(p.What, "must be superuser or replication role") && !strings.Contains(p.What, "permission denied to start WAL sender") {
				t.Errorf("%+v", p)
			}
			continue
		}
		if p.Server != "primary" || p.Remedy == "" {
			t.Fatalf("no remedy on the primary: %+v", p)
		}
		r.primary.Exec(t, p.Remedy)
	}
	r.apply(t)
	r.equal(t)
	if got := ask(t, r.primary, "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolsuper"); got != "postgres" {
		t.Errorf("superusers: %s", got)
	}
	r.noPassword(t)
	// Another password for the source reaches the subscription, and is not seen either.
	const other = `an'other\`
	r.primary.Exec(t, "ALTER ROLE source PASSWORD "+feed.Literal(other))
	r.cfg.Replicas[0].Source.Password = other
	r.apply(t)
	r.primary.Exec(t, "INSERT INTO app.t (v) VALUES ('y')")
	r.equal(t)
	for _, e := range r.told() {
		if strings.Contains(e.SQL, "other") {
			t.Errorf("an event has the password: %s", e.SQL)
		}
	}
}

// noPassword looks for the password in the logs, and in what was told.
func (r *rig) noPassword(t *testing.T) {
	t.Helper()
	for _, e := range r.told() {
		if strings.Contains(e.SQL, "nt") && strings.Contains(e.SQL, "er 2") {
			t.Errorf("an event has the password: %s", e.SQL)
		}
	}
	for _, l := range r.replica.LogLines(t, 0) {
		if strings.Contains(l.Text, "er 2") {
			t.Errorf("the replica's log has the password: %s", l.Text)
		}
	}
}

func TestAWrongPasswordAndAnUnreachableServerAreToldBeforehand(t *testing.T) {
	r := guarded(t)
	r.primary.Exec(t, "ALTER ROLE feeder SUPERUSER; ALTER ROLE source REPLICATION; GRANT USAGE ON SCHEMA app TO source; GRANT SELECT ON app.t TO source")
	r.cfg.Replicas[0].Source.Password = "wro'ng"
	err := Apply(limited(t), r.run(t))
	if err == nil || !strings.Contains(err.Error(), "password authentication failed") || strings.Contains(err.Error(), "wro") {
		t.Errorf("a wrong password: %v", err)
	}
	r.nothingMade(t)
	r.cfg.Replicas[0].Source.URL = "postgres://source@127.0.0.1:1/postgres?sslmode=disable"
	if err := Apply(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "does not reach the primary") || !strings.Contains(err.Error(), "Connection refused") {
		t.Errorf("nobody there: %v", err)
	}
	r.nothingMade(t)
	for _, l := range r.replica.LogLines(t, 0) {
		if strings.Contains(l.Text, "wro") {
			t.Errorf("the replica's log has the password: %s", l.Text)
		}
	}
}

func TestSettingsThatStandAgainstAFeed(t *testing.T) {
	primary := pgtest.Primary(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica", "max_replication_slots": "0", "max_wal_senders": "1"}})
	r := newRigOn(t, primary, pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"max_logical_replication_workers": "0"}}), func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	found, err := Check(limited(t), r.run(t))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"wal_level": "ALTER SYSTEM SET wal_level = 'logical';", "max_replication_slots": "ALTER SYSTEM SET max_replication_slots = '7';",
		"max_logical_replication_workers": "ALTER SYSTEM SET max_logical_replication_workers = 4",
	}
	for _, p := range found {
		if remedy, ok := want[p.Check]; ok && p.Blocks && p.Remedy == remedy {
			delete(want, p.Check)
		}
		if p.Check == "slot_limit" && p.Blocks {
			t.Errorf("a warning blocks: %+v", p)
		}
	}
	if len(want) > 0 {
		t.Errorf("not told: %v in %+v", want, found)
	}
}

// A role that may not replicate is let in by no line of pg_hba.conf, and is not told to look there.
func TestWhyTheReplicaDoesNotReachThePrimary(t *testing.T) {
	r := guarded(t)
	r.primary.Exec(t, "ALTER ROLE feeder SUPERUSER; GRANT USAGE ON SCHEMA app TO source; GRANT SELECT ON app.t TO source")
	note := func() string {
		t.Helper()
		found, err := Check(limited(t), r.run(t))
		if err != nil {
			t.Fatal(err)
		}
		return problem(t, feed.State{Problems: found}, "source").Note
	}
	if got := note(); strings.Contains(got, "pg_hba") || !strings.Contains(got, "as long as source may not replicate") {
		t.Errorf("without REPLICATION: %s", got)
	}
	r.primary.Exec(t, "ALTER ROLE source REPLICATION")
	r.cfg.Replicas[0].Source.Password = "wrong"
	if got := note(); !strings.Contains(got, "pg_hba.conf of the primary needs a line as: host postgres source ") {
		t.Errorf("with a wrong password: %s", got)
	}
}
