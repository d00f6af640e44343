package proxy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// A user whom a replica does not know is told which server it was, gets the answer of another
// replica or, where the configuration has it so, of the primary, and is never somebody else.
func TestUserThatAReplicaDoesNotKnow(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	primary.Exec(t, "CREATE DATABASE "+other) // where it is the second replica
	t.Cleanup(func() { primary.Exec(t, "DROP DATABASE "+other+" WITH (FORCE)") })
	for _, d := range []string{db, other} {
		primary.ExecIn(t, d, "CREATE SCHEMA pgml; GRANT USAGE ON SCHEMA pgml TO PUBLIC; CREATE FUNCTION pgml.embed(text, text) RETURNS real[] LANGUAGE sql AS 'SELECT NULL::real[]'")
	}
	primary.Exec(t, "CREATE ROLE halfway LOGIN; CREATE ROLE kept_out LOGIN")
	t.Cleanup(func() { primary.Exec(t, "DROP ROLE halfway; DROP ROLE kept_out") })
	replica.Exec(t, "CREATE ROLE kept_out LOGIN; REVOKE CONNECT ON DATABASE "+other+" FROM PUBLIC")
	t.Cleanup(func() { replica.Exec(t, "DROP ROLE kept_out") })
	pgtest.NoLeaks(t)
	able := &router.Fleet{Targets: []router.Target{
		{Name: "primary", Healthy: true, Pgml: "2.10.0"},
		{Name: "ml1", Replica: true, Healthy: true, Training: true, Inference: true, Reads: true},
	}}
	for name, test := range map[string]struct {
		setup      setup
		fleet      *router.Fleet
		user       string
		code, text string // of the error, if any
	}{
		"unknown there": {setup: setup{}, user: "halfway", code: "28000", text: `role "halfway" does not exist`},
		"not let into the database": {
			setup: setup{}, user: "kept_out", code: "42501", text: `permission denied for database "` + other + `"`,
		},
		"another replica": {
			setup: setup{replicas: []*pgtest.Server{replica, primary}, replicaDatabase: other, first: true}, user: "halfway",
		},
		"the primary has no pgml": {setup: setup{policy: orPrimary}, user: "halfway", code: "28000", text: `role "halfway" does not exist`},
		"the primary may answer":  {setup: setup{policy: orPrimary}, fleet: able, user: "halfway"},
		"for another reason":      {setup: setup{policy: orPrimary}, fleet: able, user: "kept_out"},
		"the primary may not":     {setup: setup{}, fleet: able, user: "halfway", code: "28000", text: `role "halfway" does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			if test.setup.replicas == nil {
				test.setup.replicas, test.setup.replicaDatabase = []*pgtest.Server{replica}, other
			}
			f := start(t, test.setup)
			if test.fleet != nil {
				f.server.SetFleet(test.fleet)
			}
			conn, err := pgx.Connect(t.Context(), strings.Replace(f.url("postgres", db), "postgres@", test.user+"@", 1))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			var who string
			err = conn.QueryRow(t.Context(), "SELECT current_user FROM (SELECT pgml.embed('m', 'x')) e").Scan(&who)
			pe := (*pgconn.PgError)(nil)
			switch {
			case test.code == "" && (err != nil || who != test.user):
				t.Errorf("as %q, %v", who, err)
			case test.code != "" && (!errors.As(err, &pe) || pe.Code != test.code || pe.Message != test.text || !strings.Contains(pe.Hint, `server "ml1"`)):
				t.Errorf("as %q, %+v", who, err)
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

var orPrimary = router.Config{Inference: router.Requirement{OrPrimary: true}}
