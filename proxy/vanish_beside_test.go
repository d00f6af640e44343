package proxy_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// Scenario 68: a client vanishes with a transaction on the primary and a cursor, a
// portal or a statement at work on the replica. The one is rolled back, the others are
// gone, and both server processes serve the next client as if nothing had been.
func TestClientVanishesBesideAReplica(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	const slow = "SELECT count(*) FROM generate_series(1, 1000000000) n WHERE pgml.version() <> n::text"
	for name, vanish := range map[string]func(t *testing.T, c *client, other string){
		"with a cursor": func(t *testing.T, c *client, _ string) {
			c.query("DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 1000) n WHERE pgml.version() <> ''")
			if got := joined(c.query("FETCH 1 FROM c")); !strings.Contains(got, "row 1;") {
				t.Errorf("got %q", got)
			}
		},
		"with a portal": func(t *testing.T, c *client, _ string) {
			c.send(&pgproto3.Parse{Query: "SELECT n FROM generate_series(1, 1000) n WHERE pgml.version() <> ''"},
				&pgproto3.Bind{}, &pgproto3.Execute{MaxRows: 1}, &pgproto3.Flush{})
			for line := ""; line != "PortalSuspended"; line, _ = c.receive() {
			}
		},
		"in a statement": func(t *testing.T, c *client, other string) {
			c.send(&pgproto3.Query{String: slow})
			running(t, replica, other, "generate_series", true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, session bool) {
				db, other := primary.NewDatabase(t), replica.NewDatabase(t)
				primary.ExecIn(t, db, "CREATE TABLE t (v int)")
				pgtest.NoLeaks(t)
				f := start(t, setup{
					replicas: []*pgtest.Server{replica}, replicaDatabase: other,
					pool: pool.Config{Size: 1}, proxy: proxy.Config{SessionMode: session},
				})
				c := enter(t, f.addr, db)
				c.query("BEGIN; LOCK t; INSERT INTO t VALUES (1); SET LOCAL work_mem = '77kB'")
				vanish(t, c, other)
				_ = c.Close()
				next := enter(t, f.addr, db)
				if got := joined(next.query("SELECT count(*), current_setting('work_mem') FROM t")); got != "RowDescription; row 0,4MB; SELECT 1; ready I" {
					t.Errorf("on the primary the next client finds %q", got)
				}
				const left = `SELECT (SELECT count(*) FROM pg_cursors WHERE name <> ''), (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
					now() = statement_timestamp(), current_setting('work_mem') FROM pgml.version()`
				if got := joined(next.query(left)); got != "RowDescription; row 0,0,t,4MB; SELECT 1; ready I" {
					t.Errorf("on the replica the next client finds %q", got)
				}
				running(t, replica, other, "generate_series", false)
				_ = next.Close()
			})
		})
	}
}

// Scenario 69: idle server processes of a replica that are ended are replaced without
// a word, as those of the primary are.
func TestIdleReplicaProcessTerminated(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	modes(t, func(t *testing.T, session bool) {
		db, other := primary.NewDatabase(t), replica.NewDatabase(t)
		pgtest.NoLeaks(t)
		f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, proxy: proxy.Config{SessionMode: session}})
		c := enter(t, f.addr, db)
		const want = "RowDescription; row t; SELECT 1; ready I"
		for range 3 {
			for range 2 {
				if got := joined(c.query("SELECT pgml.version() <> ''")); got != want {
					t.Errorf("got %q", got)
				}
			}
			terminate(t, replica, other)
		}
		_ = c.Close()
	})
}

// Scenario 5: the secret of protocol 3.2 counts as a whole. Its beginning, which is as
// long as an older one, cancels nothing, and neither does more than it.
func TestCancelWithPartOfALongKey(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	c, key := longKeyClient(t, f.addr, db)
	if len(key.SecretKey) != 32 {
		t.Fatalf("a secret of %d bytes", len(key.SecretKey))
	}
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, db, "pg_sleep", true)
	for _, n := range []int{0, 4, 31} {
		cancel(t, f.addr, key.ProcessID, key.SecretKey[:n])
	}
	cancel(t, f.addr, key.ProcessID, append(key.SecretKey[:32:32], 0))
	running(t, primary, db, "pg_sleep", true)
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
		t.Errorf("got %q", got)
	}
	_ = c.Close()
}
