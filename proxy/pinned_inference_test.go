package proxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// A session takes a table lock, a cursor WITH HOLD and a temporary table in one transaction,
// with inference in between. What it has after the commit is PostgreSQL's, the lock holds for
// as long as the transaction, inference never reads the temporary table anywhere else, and the
// connection is kept until the last of the three is gone.
func TestASessionKeptByALockACursorAndATemporaryTable(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	straight := primary.NewDatabase(t)
	for _, d := range []string{db, straight} {
		primary.ExecIn(t, d, "CREATE TABLE t (v int); INSERT INTO t VALUES (1)")
	}
	// A table of the same name is there, which must not answer in place of the temporary one.
	replica.ExecIn(t, other, "CREATE TABLE mine AS SELECT 999 AS v")
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, pool: pool.Config{Size: 1}})
	const inference, ofMine = "SELECT pgml.version() <> ''", "SELECT v, pgml.version() <> '' FROM mine"
	script := []string{
		"BEGIN", "LOCK TABLE t", inference, "DECLARE c CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 3) n", inference,
		"CREATE TEMP TABLE mine AS SELECT 7 AS v", "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'", ofMine, "ROLLBACK",
		"BEGIN", "LOCK TABLE t", "DECLARE c CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 3) n", "CREATE TEMP TABLE mine AS SELECT 7 AS v", "COMMIT",
		"SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'",
		"FETCH c", "SELECT v FROM mine", ofMine, "FETCH c", "CLOSE c", "SELECT v FROM mine", "DROP TABLE mine",
	}
	direct, c := enter(t, address(primary), straight), enter(t, f.addr, db)
	var want, got []string
	for _, sql := range script {
		answer := joined(c.query(sql))
		switch sql {
		case inference:
			if answer != "RowDescription; row t; SELECT 1; ready T" {
				t.Errorf("inference beside it: got %q", answer)
			}
			continue
		case ofMine: // the primary has no pgml
			if !strings.HasPrefix(answer, "ERROR 0A000") && !strings.HasPrefix(answer, "ERROR 3F000") && !strings.HasPrefix(answer, "ERROR 55000") {
				t.Errorf("inference over the temporary table: got %q", answer)
			}
			answer = "refused"
			direct.query(ofMine)
			want = append(want, sql+": refused")
		default:
			want = append(want, sql+": "+joined(direct.query(sql)))
		}
		got = append(got, sql+": "+answer)
		if sql == "CLOSE c" {
			if pin := joined(c.query("SHOW pgshunt.pin")); !strings.Contains(pin, "temporary object;") {
				t.Errorf("after the cursor: kept by %q", pin)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-PostgreSQL +pgshunt):\n%s", diff)
	}
	next := enter(t, f.addr, db) // the only connection is free again, and nothing is left there
	if got := joined(next.query("SELECT (SELECT count(*) FROM pg_cursors WHERE is_holdable), to_regclass('mine') IS NULL")); got != "RowDescription; row 0,t; SELECT 1; ready I" {
		t.Errorf("the next client finds %q", got)
	}
	_, _, _ = direct.Close(), c.Close(), next.Close()
}

// A trigger that calls pgml runs on the primary, whether that has it or not, and what the
// primary says of it reaches the client as it is.
func TestTriggersThatCallPgmlStayOnThePrimary(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	const schema = `CREATE TABLE docs (body text, known bool);
		CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.known := pgml.version() <> ''; RETURN NEW; END $$;
		CREATE TRIGGER fill BEFORE INSERT ON docs FOR EACH ROW EXECUTE FUNCTION fill()`
	primary.ExecIn(t, db, schema)
	replica.ExecIn(t, other, schema)
	pgtest.NoLeaks(t)
	for name, server := range map[string]struct {
		*pgtest.Server
		db string
	}{"without PostgresML": {primary, db}, "with PostgresML": {replica, other}} {
		t.Run(name, func(t *testing.T) {
			f := start(t, setup{primary: server.Server, replicas: []*pgtest.Server{replica}, replicaDatabase: other})
			transcript := func(addr string) (said []string) {
				c := enter(t, addr, server.db)
				for _, sql := range []string{"TRUNCATE docs", "INSERT INTO docs VALUES ('a')", "BEGIN", "INSERT INTO docs VALUES ('b')", "SELECT 1", "ROLLBACK", "SELECT * FROM docs"} {
					said = append(said, sql+": "+joined(c.query(sql)))
				}
				c.send(batch("INSERT INTO docs VALUES ('c')")...)
				said = append(said, joined(c.answer()))
				_ = c.Close()
				return said
			}
			if diff := cmp.Diff(transcript(address(server.Server)), transcript(f.addr)); diff != "" {
				t.Errorf("(-PostgreSQL +pgshunt):\n%s", diff)
			}
		})
	}
}
