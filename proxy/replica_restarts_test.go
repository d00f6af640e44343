package proxy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// A PostgresML server is killed and comes back without the server processes, their prepared
// statements and what they had loaded, and later without the models, too. Sessions that are
// there do not notice the former, and hear of the latter what the server says by itself.
func TestReplicaRestartsWithoutItsModels(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.Replica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	replica.ExecIn(t, other, "CREATE TABLE training AS SELECT n::real AS rooms, (1000 * n + 500)::real AS price FROM generate_series(1, 40) n")
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	c := enter(t, f.addr, db)
	c.query("SELECT * FROM pgml.train('houses', 'regression', 'public.training', 'price')")
	const ask = "SELECT pgml.predict('houses', ARRAY[$1::real])"
	c.send(&pgproto3.Parse{Name: "named", Query: ask}, &pgproto3.Sync{})
	c.answer()
	named := func(c *client) string {
		c.send(&pgproto3.Bind{PreparedStatement: "named", Parameters: [][]byte{[]byte("7")}}, &pgproto3.Execute{}, &pgproto3.Sync{})
		return joined(c.answer())
	}
	answers := func() []string {
		return []string{named(c), joined(c.query("SELECT pgml.predict('houses', ARRAY[7::real])")), joined(c.query("SELECT count(*) FROM pgml.models"))}
	}
	before := answers()
	if before[0] != "BindComplete; row 7500; SELECT 1; ready I" {
		t.Fatalf("at first %q", before)
	}
	for range 2 {
		replica.Kill()
		if err := replica.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, answers()); diff != "" {
			t.Errorf("(-before +after a restart):\n%s", diff)
		}
	}
	replica.ExecIn(t, other, "TRUNCATE pgml.projects CASCADE")
	replica.Kill()
	if err := replica.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	direct := enter(t, address(replica), other)
	want := []string{joined(direct.query("SELECT pgml.predict('houses', ARRAY[7::real])")), joined(direct.query("SELECT count(*) FROM pgml.models"))}
	if diff := cmp.Diff(want, answers()[1:]); diff != "" {
		t.Errorf("without models (-PostgresML +pgshunt):\n%s", diff)
	}
	c.query("SELECT * FROM pgml.train('houses', 'regression', 'public.training', 'price')")
	if diff := cmp.Diff(before, answers()); diff != "" {
		t.Errorf("(-before +trained again):\n%s", diff)
	}
	_, _ = c.Close(), direct.Close()
}
