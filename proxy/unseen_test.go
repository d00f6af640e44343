package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/router"
)

// However a transaction has come by a level whose reads all see one state of the data, a
// replica does not have that state.
func TestReadBesideASnapshot(t *testing.T) {
	f, _, db := questioned(t, 1, router.Config{})
	f.primary.ExecIn(t, db, "ALTER ROLE postgres IN DATABASE "+db+" SET default_transaction_isolation = 'repeatable read'")
	const refused = "ERROR 0A000 pgml.embed cannot read tables in a REPEATABLE READ or SERIALIZABLE transaction; ready E"
	for does, want := range map[string]string{
		"BEGIN":                                refused,
		"BEGIN ISOLATION LEVEL READ COMMITTED": "",
		"SET default_transaction_isolation = 'read committed'|BEGIN":                                     "",
		"SET default_transaction_isolation = 'Serializable'|BEGIN":                                       refused,
		"SET default_transaction_isolation = 'read committed'|RESET default_transaction_isolation|BEGIN": refused,
		"BEGIN ISOLATION LEVEL READ COMMITTED|SET transaction_isolation = 'repeatable read'":             refused,
	} {
		c := enter(t, f.addr, db)
		for _, sql := range strings.Split(does, "|") {
			c.query(sql)
		}
		if got := joined(c.query(reader)); want == "" && !strings.HasSuffix(got, "ready T") || want != "" && got != want {
			t.Errorf("%s: %q", does, got)
		}
		_ = c.Close()
	}
}

// What a function has written in the transaction at hand is not on any replica either, and
// nobody can say which relations those are.
func TestReadBesideWhatAFunctionMayHaveWritten(t *testing.T) {
	f, _, db := questioned(t, 1, router.Config{})
	execute := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}
	}
	for name, does := range map[string][]pgproto3.FrontendMessage{
		"simple":      {&pgproto3.Query{String: "SELECT put()"}},
		"extended":    execute("SELECT put()"),
		"several":     {&pgproto3.Query{String: "SELECT 1; SELECT put()"}},
		"by SQL":      {&pgproto3.Query{String: "PREPARE p AS SELECT put()"}, &pgproto3.Query{String: "EXECUTE p"}},
		"by Bind":     {&pgproto3.Query{String: "PREPARE p AS SELECT put()"}, &pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{}},
		"by a cursor": {&pgproto3.Query{String: "DECLARE c CURSOR FOR SELECT put()"}, &pgproto3.Query{String: "FETCH c"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.query("BEGIN")
			if got := joined(c.query(reader)); !strings.HasSuffix(got, "ready T") {
				t.Errorf("before: %q", got)
			}
			c.query("COMMIT")
			// In one pipeline, so that the end of one transaction and the next are on their way together.
			c.send(append(append([]pgproto3.FrontendMessage{
				&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "COMMIT"}, &pgproto3.Query{String: "BEGIN"},
			}, does...), &pgproto3.Query{String: reader})...)
			ends := 3
			for _, m := range does {
				switch m.(type) {
				case *pgproto3.Query, *pgproto3.Sync:
					ends++
				}
			}
			for range ends {
				c.answer()
			}
			if got := joined(c.answer()); !strings.HasPrefix(got, "ERROR 0A000") || !strings.HasSuffix(got, "ready E") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// The messages of a batch about one statement wait for a replica once; then the primary has
// all of them.
func TestABatchWaitsForAReplicaOnce(t *testing.T) {
	f, a, db := questioned(t, 1, freshSession(time.Millisecond, true))
	f.primary.ExecIn(t, db, "CREATE SCHEMA pgml; CREATE FUNCTION pgml.embed(text, text) RETURNS real[] IMMUTABLE LANGUAGE sql AS $$SELECT '{1}'::real[]$$")
	f.server.SetFleet(&router.Fleet{Targets: []router.Target{
		{Name: "primary", Healthy: true, Pgml: "2.9.3"}, {Name: "ml1", Replica: true, Healthy: true, Inference: true},
	}})
	a.slow("ml1")
	c := enter(t, f.addr, db)
	c.query("INSERT INTO t VALUES ('a')")
	for range 2 {
		a.took()
		c.send(&pgproto3.Parse{Query: reader}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		const want = "ParseComplete; ParameterDescription; RowDescription; BindComplete; row a,t; SELECT 1; ready I"
		if got := joined(c.answer()); got != want {
			t.Errorf("got %q, not %q", got, want)
		}
		if _, waits := a.took(); waits != "ml1" {
			t.Errorf("waited for %q", waits)
		}
	}
}
