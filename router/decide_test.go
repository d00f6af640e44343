package router_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/router"
)

func twoReplicas() *router.Fleet { return (&corpusSession{}).fleet() }

func mustPolicy(tb testing.TB, cfg router.Config) *router.Policy {
	tb.Helper()
	p, err := router.NewPolicy(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// settled are statements of every class whose decision must not allocate.
var settled = []string{
	"SELECT abalance FROM pgbench_accounts WHERE aid = 1",
	"UPDATE t SET a = 1",
	"BEGIN",
	"CREATE TABLE t (a int)",
	"SELECT pgml.predict('p', ARRAY[a]) FROM t",
	"SELECT predict('p', ARRAY[a]) FROM t",
	"SELECT * FROM pgml.train('p')",
	"SELECT * FROM pgml.snapshot_7",
	"SELECT pgml.my_own(1)",
	"SELECT 1; SELECT 2",
	"SELECT pgml.embed('m', 'x'); SELECT 1",
	"INSERT INTO pgml.projects VALUES (1)",
	"SELEC 1",
	"/*+ pgshunt: replica:ml2 */ SELECT 1",
	"SELECT * FROM reports.daily",
	"SELECT * FROM docs JOIN second USING (id)",
	"SELECT body FROM wider",
	"SELECT * FROM recent",
	"SELECT * FROM scored",
	"SELECT pure(1), wrap(1)",
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p := mustPolicy(t, router.Config{Reads: "replica", MaxLag: time.Second, Rules: []router.Rule{
		{Match: router.Match{Relation: router.Patterns{"reports.*"}, User: router.Patterns{"a*", "!ab"}}, To: "ml2"},
		{Match: router.Match{Function: router.Patterns{"other.*"}, Kind: router.Patterns{"read"}}, To: "primary"},
	}, Inference: router.Requirement{Freshness: router.Freshness{Within: time.Second}}})
	choose := router.Chooser{Load: func(string) int { return 1 }, Random: rand.Uint64, Zone: "here", Last: "ml2", Slack: 1}
	known := shop(t)
	known.Targets[1].LagKnown = true
	for name, f := range map[string]*router.Fleet{"names are believed": twoReplicas(), "a catalog": known} {
		for _, block := range []bool{false, true} {
			v := &router.View{User: "app", Database: "shop", SearchPath: []string{"app", "pgml", "public"}, InTransaction: block, ReadOnly: block}
			for _, sql := range settled {
				st := parser.Parse(sql)
				if d := p.Decide(st, v, f); d.Place == router.Refused {
					continue
				}
				n := testing.AllocsPerRun(100, func() {
					if d := p.Decide(st, v, f); d.Place == router.Replica {
						choose.Choose(d, f)
					}
				})
				if n != 0 {
					t.Errorf("%s, in a block: %v: %s: %v allocations", name, block, sql, n)
				}
			}
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p, f := mustPolicy(b, router.Config{}), twoReplicas()
	v := &router.View{User: "app", SearchPath: []string{"app", "public"}}
	known := twoReplicas()
	known.Catalogs = map[string]*router.Catalog{"": mustCatalog(b, server{relations: tables("t", "pgbench_accounts", "only_primary")},
		server{target: 1, relations: tables("t", "pgbench_accounts")}, server{target: 2, relations: tables("t", "pgbench_accounts")})}
	for name, sql := range map[string]string{
		"read":      "SELECT abalance FROM pgbench_accounts WHERE aid = 1",
		"inference": "SELECT pgml.predict('p', ARRAY[a]) FROM t",
		"training":  "SELECT * FROM pgml.train('p', 'regression', 'public.t', 'y')",
	} {
		st := parser.Parse(sql)
		for catalog, f := range map[string]*router.Fleet{"": f, "/catalog": known} {
			b.Run(name+catalog, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p.Decide(st, v, f)
				}
			})
		}
	}
}

func TestDecideNeverSendsAWriteToAReplica(t *testing.T) {
	f := twoReplicas()
	p := mustPolicy(t, router.Config{Reads: "replica"})
	for _, sql := range []string{
		"INSERT INTO t VALUES (1)", "WITH x AS (UPDATE t SET a = 1 RETURNING a) SELECT a FROM x", "SELECT a INTO u FROM t",
		"EXPLAIN ANALYZE DELETE FROM t", "COPY (DELETE FROM t RETURNING a) TO STDOUT", "COPY t FROM STDIN", "TRUNCATE t",
		"SELECT * FROM t FOR SHARE", "SELECT 1; DELETE FROM t", "PREPARE q AS DELETE FROM t", "SELECT f() FROM t",
		"CREATE TABLE u AS SELECT * FROM t", "DO 'BEGIN END'", "CALL f()", "SELECT setval('s', 1)",
	} {
		for _, also := range []string{"", "; SELECT pgml.embed('m', 'x')"} {
			d := p.Decide(parser.Parse(sql+also), &router.View{SearchPath: []string{"public"}}, f)
			if d.Place == router.Replica {
				t.Errorf("%s goes to a replica: %s", sql+also, d.Text())
			}
		}
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	p, f := mustPolicy(t, router.Config{}), twoReplicas()
	v := &router.View{SearchPath: []string{"public"}}
	d := p.Decide(parser.Parse("UPDATE docs SET e = pgml.embed('m', body)"), v, f)
	if d.Place != router.Refused || d.Rule != router.RuleOffload {
		t.Fatalf("not refused: %+v", d)
	}
	e := d.Err
	if e.Code != pgerr.FeatureNotSupported || e.Severity != "ERROR" || e.Routine == "" || e.Hint == "" {
		t.Errorf("incomplete: %+v", e)
	}
	for _, want := range []string{"pgml.embed", "docs"} {
		if !strings.Contains(e.Message+e.Detail, want) {
			t.Errorf("%q is not named in %q, %q", want, e.Message, e.Detail)
		}
	}
}

func TestProjectKnownAtBindOnly(t *testing.T) {
	p, f := mustPolicy(t, router.Config{}), twoReplicas()
	v := &router.View{SearchPath: []string{"public"}}
	st := parser.Parse("SELECT * FROM pgml.train($2, 'regression', $1)")
	if d := p.Decide(st, v, f); d.ProjectParam != 2 || d.Target != "ml1" {
		t.Errorf("with one training replica: %+v", d)
	}
	f.Targets[2].Training = true
	if d := p.Decide(st, v, f); d.ProjectParam != 2 || d.Target != "" {
		t.Errorf("with two training replicas: %+v", d)
	}
	d := p.Decide(parser.Parse("SELECT pgml.predict(42, ARRAY[1.0])"), v, f)
	if d.Project != "" {
		t.Errorf("a model id became project %q", d.Project)
	}
}
