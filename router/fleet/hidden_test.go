package fleet

import (
	"testing"

	"pgshunt/parser"
	"pgshunt/router"
)

// What PostgreSQL calls by itself is told with the types and relations it does so for; and a
// foreign table of the primary's may be another thing from a replica.
func TestFactsOfWhatIsHidden(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	const sql = `CREATE TYPE pair AS (a int, b int); CREATE TYPE crate AS (p pair[]); CREATE TABLE crates (b crate); CREATE DOMAIN crated AS crate;
		CREATE FUNCTION compare(pair, pair) RETURNS int LANGUAGE sql AS 'SELECT 0'; CREATE FUNCTION compare(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 - $2';
		CREATE FUNCTION less(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < $2';
		CREATE OPERATOR CLASS pair_ops DEFAULT FOR TYPE pair USING btree AS FUNCTION 1 compare(pair, pair);
		CREATE OPERATOR CLASS odd_ops FOR TYPE int USING btree AS FUNCTION 1 compare(int, int);
		CREATE TYPE odd AS RANGE (subtype = int, subtype_opclass = odd_ops);
		CREATE TABLE base (v int CHECK (less(v, 9))); CREATE TABLE heir () INHERITS (base); CREATE INDEX ON heir (v odd_ops);
		CREATE TABLE whole (v int) PARTITION BY RANGE (v odd_ops); CREATE TABLE piece PARTITION OF whole FOR VALUES FROM (0) TO (9);
		CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE far (v int) SERVER nowhere`
	primary.Exec(t, sql)
	replica.Exec(t, sql)
	w := watch(t, pair(primary, replica, router.FeedNone))
	_, functions := w.facts("primary")
	for name, want := range map[string]router.Hidden{
		".plans of public.base": {Relations: "base", Family: true}, ".plans of public.heir": {Relations: "base\nheir", Family: true},
	} {
		if f, ok := functions[name]; !ok || f.Hidden != want {
			t.Errorf("%s: %+v, expected %+v", name, f.Hidden, want)
		}
	}
	policy, err := router.NewPolicy(router.Config{Reads: "replica"})
	if err != nil {
		t.Fatal(err)
	}
	for sql, replica := range map[string]bool{
		"SELECT 1": true, "SELECT v FROM base": false, "SELECT v FROM heir": false, "SELECT v FROM piece": false, "SELECT v FROM whole": false,
		"SELECT NULL::odd": false, "SELECT NULL::pair": false, "SELECT NULL::crate[]": false, "SELECT NULL::crated": false, "SELECT NULL::crates": false,
		"SELECT * FROM crates": false, "SELECT * FROM far": false,
	} {
		d := policy.Decide(parser.Parse(sql), &router.View{Database: "postgres", SearchPath: []string{"public"}}, w.Snapshot())
		if (d.Place == router.Replica) != replica {
			t.Errorf("%s: %s, %s", sql, d.Place, d.Text())
		}
	}
	if relations, _ := w.facts("ml1"); relations["public.far"].Absent != "is a foreign table on the primary" {
		t.Errorf("a foreign table: %q", relations["public.far"].Absent)
	}
}
