package proxy_test

import (
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// "$user" in search_path is the role that is in force, whose tables a replica may not have.
func TestTheSearchPathIsTheRoles(t *testing.T) {
	primary, replica := pgtest.Primary(t), pgtest.Replica(t)
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, "CREATE ROLE bob; CREATE SCHEMA bob AUTHORIZATION bob; CREATE TABLE t (v text); GRANT SELECT ON t TO bob")
	}
	primary.Exec(t, "INSERT INTO t VALUES ('primary'); CREATE TABLE bob.t (v text); INSERT INTO bob.t VALUES ('bobs'); GRANT SELECT ON bob.t TO bob")
	replica.Exec(t, "INSERT INTO t VALUES ('replica')")
	pgtest.NoLeaks(t)
	f := watched(t, setup{policy: router.Config{Reads: "replica"}, replicas: []*pgtest.Server{replica}}, router.FeedNone, primary)
	c := enter(t, f.addr, "postgres")
	const theirs, bobs = "row replica; SELECT 1; ready I", "row bobs; SELECT 1; ready I"
	c.script(t, fromT, theirs, "SET ROLE bob", "SET; ready I", fromT, bobs,
		"SET ROLE none", "SET; ready I", fromT, theirs,
		"SET SESSION AUTHORIZATION bob", "SET; ready I", fromT, bobs,
		"SET SESSION AUTHORIZATION DEFAULT", "SET; ready I", fromT, theirs,
		"SELECT set_config('role', 'bob', false)", bobs[:4]+"bob", fromT, bobs, "RESET ROLE", "RESET; ready I", fromT, theirs,
		"BEGIN READ ONLY", "BEGIN; ready T", "SET LOCAL ROLE bob", "SET; ready T", fromT, is("bobs"), "COMMIT", "COMMIT; ready I", fromT, theirs)
}
