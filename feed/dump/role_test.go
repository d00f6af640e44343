package dump

import (
	"testing"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// A role that the connection string names is the one that works, as for psql: it reads the
// tables, and owns the copies. What ALTER ROLE sets gives way to it, as to the role that logs in.
func TestTheRoleOfAConnectionStringWorks(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	at, on := primary.NewDatabase(t), replica.NewDatabase(t)
	for _, server := range []*pgtest.Server{primary, replica} {
		server.Exec(t, "CREATE ROLE comes LOGIN NOINHERIT; CREATE ROLE works; CREATE ROLE weak; GRANT works, weak TO comes; ALTER ROLE comes SET role = weak")
		t.Cleanup(func() { server.Exec(t, "DROP ROLE comes, works, weak") })
	}
	t.Cleanup(func() { replica.ExecIn(t, on, "DROP OWNED BY works"); primary.ExecIn(t, at, "DROP OWNED BY works") })
	primary.ExecIn(t, at, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1); ALTER TABLE a OWNER TO works; CREATE ROLE guest; GRANT SELECT ON a TO guest")
	t.Cleanup(func() { primary.ExecIn(t, at, "DROP OWNED BY guest; DROP ROLE guest") })
	replica.ExecIn(t, on, "GRANT CREATE ON DATABASE "+on+" TO works; GRANT USAGE, CREATE ON SCHEMA public TO works")
	for _, named := range []string{"options=-c%20role%3Dweak%20-c%20role%3Dworks", "role=works", "role=works&options=-c%20role%3Dnone"} {
		b := bedIn(t, primary, replica, at, on, func(r *configs.Replica) { r.URL = configs.URL(replica.URL("comes", on) + "&" + named) })
		b.Config.Primary.URL = configs.URL(primary.URL("comes", at) + "&" + named)
		exec(t, b.primary, "UPDATE a SET id = id + 1")
		b.reopen(t)
		b.refresh(t)
		b.equal(t)
		if got := value(t, b.replica, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'a'"); got != "works" {
			t.Errorf("%s: %s owns the copy", named, got)
		}
		if b.Target.User() != "works" || b.Primary.User() != "works" {
			t.Errorf("%s: said to be %s and %s", named, b.Target.User(), b.Primary.User())
		}
	}
}
