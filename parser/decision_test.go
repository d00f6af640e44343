package parser_test

import (
	"testing"

	pg "github.com/pganalyze/pg_query_go/v5"

	"pgshunt/parser"
	"pgshunt/router"
)

// The benchmarks below are what `make bench` shows of routing a text that is not in the cache;
// package proxy has those of one that is. They are here because pg_query is the parser's.

// decisions are texts that sessions send. other differs in a name, so that both have a
// statement of their own in the cache; literal differs in literals only.
var decisions = []struct{ name, text, other, literal string }{
	{
		"point", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
		"SELECT bbalance FROM pgbench_branches WHERE bid = 12345;",
		"SELECT abalance FROM pgbench_accounts WHERE aid = 67890;",
	},
	{
		"prepared", "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
		"SELECT bbalance FROM pgbench_branches WHERE bid = $1",
		"",
	},
	{
		"predict", "SELECT pgml.predict('churn', ARRAY[age, spent, 0.5]) FROM customers WHERE id = $1",
		"SELECT pgml.predict('churn', ARRAY[age, spent, 0.5]) FROM suppliers WHERE id = $1",
		"",
	},
	{
		"join", "SELECT u.id, sum(o.amount) FROM users u JOIN orders o ON o.user_id = u.id LEFT JOIN docs d ON d.id = o.id WHERE u.age > 18 AND o.amount BETWEEN 10 AND 20 GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
		"SELECT u.id, sum(o.amount) FROM users u JOIN orders o ON o.user_id = u.id LEFT JOIN docs e ON e.id = o.id WHERE u.age > 18 AND o.amount BETWEEN 10 AND 20 GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
		"SELECT u.id, sum(o.amount) FROM users u JOIN orders o ON o.user_id = u.id LEFT JOIN docs d ON d.id = o.id WHERE u.age > 21 AND o.amount BETWEEN 1 AND 2 GROUP BY 1 ORDER BY 2 DESC LIMIT 5",
	},
	{
		"update", "UPDATE pgbench_accounts SET abalance = abalance + 17 WHERE aid = 12345 RETURNING abalance",
		"UPDATE pgbench_branches SET bbalance = bbalance + 17 WHERE bid = 12345 RETURNING bbalance",
		"UPDATE pgbench_accounts SET abalance = abalance + 18 WHERE aid = 67890 RETURNING abalance",
	},
}

// desk decides as a session outside a transaction does, with two replicas.
type desk struct {
	cache  *parser.Cache
	policy *router.Policy
	view   router.View
	fleet  router.Fleet
}

func newDesk(tb testing.TB, o parser.Options) *desk {
	tb.Helper()
	policy, err := router.NewPolicy(router.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return &desk{
		cache: parser.New(o), policy: policy, view: router.View{User: "app", SearchPath: []string{"app", "public"}},
		fleet: router.Fleet{Targets: []router.Target{
			{Name: "primary", Healthy: true},
			{Name: "ml1", Replica: true, Healthy: true, Training: true, Inference: true, Reads: true},
			{Name: "ml2", Replica: true, Healthy: true, Inference: true, Reads: true},
		}},
	}
}

func (d *desk) decide(text []byte) router.Decision {
	return d.policy.Decide(d.cache.Statement(text), &d.view, &d.fleet)
}

// BenchmarkDecisionUncached has a cache of one statement and two texts that push each
// other out, so it includes what keeping a statement costs.
func BenchmarkDecisionUncached(b *testing.B) {
	for _, c := range decisions {
		b.Run(c.name, func(b *testing.B) {
			d := newDesk(b, parser.Options{Entries: 1, Patterns: -1})
			texts := [2][]byte{[]byte(c.text), []byte(c.other)}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				d.decide(texts[n&1])
				n++
			}
			if s := d.cache.Stats(); s.Hits+s.SharedHits > 0 {
				b.Fatalf("%d of %d were in the cache", s.Hits+s.SharedHits, n)
			}
		})
	}
}

// BenchmarkDecisionParse is pg_query alone on the texts of BenchmarkDecisionUncached.
func BenchmarkDecisionParse(b *testing.B) {
	for _, c := range decisions {
		b.Run(c.name, func(b *testing.B) {
			texts := [2]string{c.text, c.other}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := pg.Parse(texts[n&1]); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}

func TestDecisionsFromTheCacheDoNotAllocate(t *testing.T) {
	for _, c := range decisions {
		d := newDesk(t, parser.Options{})
		first := d.decide([]byte(c.text))
		for _, text := range []string{c.text, c.literal} {
			if text == "" {
				continue // nothing in it that may differ
			}
			again := []byte(text)
			if n := testing.AllocsPerRun(100, func() { d.decide(again) }); n != 0 {
				t.Errorf("%s: %v allocations", text, n)
			}
			if got := d.decide(again); got.Place != first.Place || got.Rule != first.Rule {
				t.Errorf("%s: %v %s, the first time %v %s", text, got.Place, got.Rule, first.Place, first.Rule)
			}
		}
		if s := d.cache.Stats(); s.Misses != 1 {
			t.Errorf("%s: parsed %d times", c.name, s.Misses)
		}
	}
}
