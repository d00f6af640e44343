package fleet

import (
	"slices"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/parser"
	"pgshunt/router"
)

// What calls functions without a call in the statement is read with what it calls:
// operators, aggregates, casts, and the checks of domains.
func TestFactsOfWhatCallsFunctions(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	const writes = `CREATE TABLE log (a int); CREATE SCHEMA x;
		CREATE FUNCTION x.writes(int, int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1); SELECT 1';
		CREATE FUNCTION checks(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN true; END';
		CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
		CREATE TYPE pair AS (a int, b int);
		CREATE FUNCTION pair(int) RETURNS pair LANGUAGE sql AS 'SELECT ROW(x.writes($1, $1), 1)::pair';
		CREATE FUNCTION plain(pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1.a';
		CREATE CAST (int AS pair) WITH FUNCTION pair(int); CREATE CAST (pair AS int) WITH FUNCTION plain(pair) AS IMPLICIT;
		CREATE OPERATOR =&= (LEFTARG = int, RIGHTARG = int, FUNCTION = x.writes);
		CREATE OPERATOR =|= (LEFTARG = int, RIGHTARG = int, FUNCTION = adds);
		CREATE OPERATOR x.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
		CREATE AGGREGATE total(int) (SFUNC = x.writes, STYPE = int); CREATE AGGREGATE added(int) (SFUNC = adds, STYPE = int);
		CREATE DOMAIN checked AS text CHECK (checks(VALUE)); CREATE DOMAIN fine AS text CHECK (length(VALUE) > 1);`
	primary.Exec(t, writes)
	replica.Exec(t, writes)
	w := watch(t, pair(primary, replica, router.FeedNone))
	_, functions := w.facts("primary")
	for name, want := range map[string]struct {
		volatility byte
		calls      []string
		cast       router.Hidden
	}{
		"public.=&=":                     {'v', []string{"x.writes"}, router.Hidden{}},
		"public.=|=":                     {'i', []string{"public.adds"}, router.Hidden{}},
		"x.+":                            {'i', []string{"pg_catalog.int4pl"}, router.Hidden{}},
		"public.total":                   {'i', []string{"x.writes"}, router.Hidden{}},
		".cast (integer AS public.pair)": {'v', []string{"public.pair"}, router.Hidden{Types: "pair", Explicit: true}},
		".cast (public.pair AS integer)": {'i', []string{"public.plain"}, router.Hidden{Types: "pair"}},
		".domain checked":                {'i', []string{"public.checks"}, router.Hidden{Types: "checked"}},
		".domain fine":                   {'i', []string{"length"}, router.Hidden{Types: "fine"}},
	} {
		f := functions[name]
		var calls []string
		if f.Body != nil {
			for _, c := range f.Body.Calls {
				calls = append(calls, c.Text)
			}
		}
		if f.Volatility != want.volatility || f.Hidden != want.cast || !slices.Equal(calls, want.calls) {
			t.Errorf("%s: %c, %v, calls %v; expected %v", name, f.Volatility, f.Hidden, calls, want)
		}
	}
	for _, s := range []*pgtest.Server{primary, replica} { // it may be met in any call
		s.Exec(t, "DROP DOMAIN checked")
	}
	w.Want("postgres")
	w.Compare(patient(t), "postgres")
	fleet := w.Snapshot()
	policy, err := router.NewPolicy(router.Config{Reads: "replica"})
	if err != nil {
		t.Fatal(err)
	}
	for sql, replica := range map[string]bool{
		"SELECT 1 =|= 2": true, "SELECT added(a) FROM log": true, "SELECT a::text::fine FROM log": true, "SELECT a + 1 FROM log": true,
		"SELECT 1 =&= 2": false, "SELECT total(a) FROM log": false, "SELECT a::pair FROM log": false,
	} {
		d := policy.Decide(parser.Parse(sql), &router.View{Database: "postgres", SearchPath: []string{"public"}}, fleet)
		if (d.Place == router.Replica) != replica {
			t.Errorf("%s: %s, %s", sql, d.Place, d.Text())
		}
	}
}
