package proxy

import (
	"log/slog"
	"testing"

	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// The texts of parser's benchmarks of decisions, by the same names.
var decisions = []struct{ name, text string }{
	{"point", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;"},
	{"prepared", "SELECT abalance FROM pgbench_accounts WHERE aid = $1"},
	{"predict", "SELECT pgml.predict('churn', ARRAY[age, spent, 0.5]) FROM customers WHERE id = $1"},
	{"join", "SELECT u.id, sum(o.amount) FROM users u JOIN orders o ON o.user_id = u.id LEFT JOIN docs d ON d.id = o.id WHERE u.age > 18 AND o.amount BETWEEN 10 AND 20 GROUP BY 1 ORDER BY 2 DESC LIMIT 10"},
	{"update", "UPDATE pgbench_accounts SET abalance = abalance + 17 WHERE aid = 12345 RETURNING abalance"},
}

// deciding is a session outside of a transaction, with two replicas.
func deciding(tb testing.TB) *session {
	tb.Helper()
	policy, err := router.NewPolicy(router.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	pools := pool.New(pool.Config{Log: log}, nil)
	tb.Cleanup(pools.Close)
	srv := New(Config{Log: log, Pools: pools, Parser: parser.New(parser.Options{}), Routing: Routing{Policy: policy}, Random: func() uint64 { return 0 }},
		&router.Fleet{Targets: []router.Target{
			{Name: primaryTarget, Healthy: true},
			{Name: "ml1", Replica: true, Healthy: true, Training: true, Inference: true, Reads: true},
			{Name: "ml2", Replica: true, Healthy: true, Inference: true, Reads: true},
		}})
	s := &session{srv: srv, log: log}
	s.changed.L = &s.mu
	s.status, s.who.user = 'I', "app"
	s.view = router.View{User: "app", SearchPath: []string{"app", "public"}}
	s.state.start(new(pool.Settings).With(pool.Setting{Name: "application_name", SQL: "SET application_name TO 'app'", Value: "app"}), "")
	return s
}

func (s *session) where(tb testing.TB, text []byte) *router.Decision {
	d, err := s.decide(s.facts(text))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// BenchmarkDecisionCached is what `make bench` shows of routing: from a text that has come
// before to where it goes.
func BenchmarkDecisionCached(b *testing.B) {
	for _, c := range decisions {
		b.Run(c.name, func(b *testing.B) {
			s, text := deciding(b), []byte(c.text)
			s.where(b, text)
			b.ReportAllocs()
			for b.Loop() {
				s.where(b, text)
			}
		})
	}
}

// A decision that is remembered is the one that the policy would make again, and takes no
// memory.
func TestDecisionsAreRemembered(t *testing.T) {
	for _, c := range decisions {
		s, text := deciding(t), []byte(c.text)
		s.where(t, text)
		st := s.facts(text)
		kept := s.srv.verdicts.find(st, s.alike, false, s.plan)
		if kept == nil {
			t.Errorf("%s: not remembered", c.name)
			continue
		}
		if want := s.plan.Policy.Decide(st, &s.view, s.plan.fleet); kept.Place != want.Place || kept.Rule != want.Rule || kept.Text() != want.Text() {
			t.Errorf("%s: remembered %v, not %v", c.name, kept, want)
		}
		if n := testing.AllocsPerRun(100, func() { s.where(t, text) }); n > 0 {
			t.Errorf("%s: %.0f allocations", c.name, n)
		}
	}
}
