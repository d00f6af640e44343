package proxy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// Scenario 36: PREPARE TRANSACTION after inference prepares the primary's part, and
// nothing is held on the replica. The oracle is a server that has everything.
func TestPrepareTransactionAfterInference(t *testing.T) {
	settings := map[string]string{"max_prepared_transactions": "5"}
	oracle, primary := pgtest.Replica(t, pgtest.Options{Settings: settings}), pgtest.Primary(t, pgtest.Options{Settings: settings})
	replica := pgtest.SharedReplica(t)
	other := replica.NewDatabase(t)
	for _, s := range []*pgtest.Server{oracle, primary} {
		s.Exec(t, "CREATE TABLE t (v int)")
	}
	script := []string{
		"BEGIN", "INSERT INTO t VALUES (1)", "SELECT cardinality(pgml.embed('m', 'x'))", "SET work_mem = '77kB'", "PREPARE TRANSACTION 'x'",
		"SELECT count(*) FROM t", "SHOW work_mem", "SELECT gid FROM pg_prepared_xacts", "COMMIT PREPARED 'x'", "SELECT count(*) FROM t",
		"BEGIN", "DECLARE c CURSOR FOR SELECT pgml.version()", "FETCH c", "INSERT INTO t VALUES (2)", "PREPARE TRANSACTION 'y'",
		"FETCH c", "ROLLBACK PREPARED 'y'", "SELECT count(*) FROM t",
		"BEGIN", "SELECT cardinality(pgml.embed('m', 'x')) / 0", "PREPARE TRANSACTION 'z'", "SELECT count(*) FROM pg_prepared_xacts",
		"PREPARE TRANSACTION 'none'", "COMMIT PREPARED 'none'",
	}
	run := func(c *client, extended bool) (said []string) {
		for _, sql := range script {
			if !extended {
				said = append(said, sql+": "+joined(c.query(sql)))
				continue
			}
			c.send(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			said = append(said, sql+": "+joined(c.answer()))
		}
		return said
	}
	for _, extended := range []bool{false, true} {
		oracle.Exec(t, "TRUNCATE t")
		want := run(enter(t, address(oracle), "postgres"), extended)
		modes(t, func(t *testing.T, session bool) {
			pgtest.NoLeaks(t)
			f := start(t, setup{primary: primary, replicas: []*pgtest.Server{replica}, replicaDatabase: other, proxy: proxy.Config{SessionMode: session}})
			primary.Exec(t, "TRUNCATE t")
			c := enter(t, f.addr, "postgres")
			if diff := cmp.Diff(want, run(c, extended)); diff != "" {
				t.Errorf("extended %v (-PostgreSQL +pgshunt):\n%s", extended, diff)
			}
			if n := count(t, replica, "SELECT FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%'", other); n != 0 {
				t.Errorf("%d transactions are left on the replica", n)
			}
			_ = c.Close()
		})
	}
}
