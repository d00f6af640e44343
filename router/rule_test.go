package router_test

import (
	"testing"
	"time"

	"pgshunt/parser"
	"pgshunt/router"
)

// Within a transaction a rule rejects and bounds the time as anywhere; it sends a read away
// only where it says that it is about transactions, and nothing was done that could matter.
func TestRulesWithinTransactions(t *testing.T) {
	relation := func(name, block string) router.Match {
		return router.Match{Relation: router.Patterns{name}, Transaction: block}
	}
	p := mustPolicy(t, router.Config{Rules: []router.Rule{
		{Match: relation("secret", ""), Reject: "not here"},
		{Match: relation("slow", ""), To: "primary", Timeout: time.Second},
		{Match: relation("outside", ""), To: "ml1"},
		{Match: relation("inside", "inside"), To: "ml1"},
	}})
	f := twoReplicas()
	for _, c := range []struct {
		sql, where string
		change     func(*router.View)
	}{
		{"SELECT * FROM secret", "refused by rules[0]", nil},
		{"INSERT INTO docs SELECT * FROM secret", "refused by rules[0]", nil},
		{"SELECT * FROM slow", "primary by rules[1]", nil},
		{"SELECT * FROM outside", "primary by transaction", nil},
		{"SELECT * FROM inside", "ml1 by rules[3]", nil},
		{"INSERT INTO inside VALUES (1)", "primary by transaction", nil},
		{"SELECT now() FROM inside", "primary by transaction", nil},
		{"SELECT f(1) FROM inside", "primary by transaction", nil},
		{"SELECT * FROM inside FOR UPDATE", "primary by transaction", nil},
		{"DECLARE c CURSOR FOR SELECT * FROM inside", "primary by transaction", nil},
		{"SELECT * FROM inside", "primary by transaction", func(v *router.View) { v.Snapshot = true }},
		{"SELECT * FROM inside", "primary by transaction", func(v *router.View) { v.Locked = true }},
		{"SELECT * FROM inside", "primary by transaction", func(v *router.View) { v.WroteUnknown = true }},
		{"SELECT * FROM inside", "primary by transaction", func(v *router.View) { v.Written = []parser.Relation{{Name: "docs"}} }},
		{"SELECT * FROM inside", "primary by pinned", func(v *router.View) { v.InTransaction, v.Pinned = false, "LISTEN" }},
		{"SELECT * FROM secret", "refused by rules[0]", func(v *router.View) { v.InTransaction, v.Pinned = false, "session mode" }},
		{"SELECT * FROM secret", "primary by failed", func(v *router.View) { v.Failed = true }},
	} {
		v := &router.View{SearchPath: []string{"public"}, InTransaction: true}
		if c.change != nil {
			c.change(v)
		}
		d := p.Decide(parser.Parse(c.sql), v, f)
		if got := router.TargetName(d, v) + " by " + d.Rule; got != c.where || d.Rule == "rules[1]" && d.Timeout != time.Second {
			t.Errorf("%s: %s, expected %s: %s", c.sql, got, c.where, d.Text())
		}
	}
}

// A rule that names no kind does not send writes to a replica.
func TestRulesWithoutKind(t *testing.T) {
	match := router.Match{Relation: router.Patterns{"docs"}}
	for to, want := range map[string]string{"ml1": "ml1 primary ml1 primary", "primary": "primary primary primary primary"} {
		p := mustPolicy(t, router.Config{Rules: []router.Rule{{Match: match, To: to}}})
		got := ""
		for _, sql := range []string{"SELECT * FROM docs", "INSERT INTO docs VALUES (1)", "SELECT pgml.embed('m', body) FROM docs", "ALTER TABLE docs ADD c int"} {
			v := &router.View{SearchPath: []string{"public"}}
			got += " " + router.TargetName(p.Decide(parser.Parse(sql), v, twoReplicas()), v)
		}
		if got[1:] != want {
			t.Errorf("to %s: %s, expected %s", to, got[1:], want)
		}
	}
	match.Kind = router.Patterns{"write"}
	p := mustPolicy(t, router.Config{Rules: []router.Rule{{Match: match, To: "ml1"}}})
	if d := p.Decide(parser.Parse("INSERT INTO docs VALUES (1)"), &router.View{}, twoReplicas()); d.Target != "ml1" {
		t.Errorf("a rule for writes: %s", d.Text())
	}
}

// What a rule says of replicas that are not fresh or not there comes before the policy's.
func TestOnStaleOfARule(t *testing.T) {
	match := func(name string) router.Match { return router.Match{Relation: router.Patterns{name}} }
	fresh := router.Freshness{Within: time.Second}
	for _, policy := range []bool{false, true} {
		p := mustPolicy(t, router.Config{Inference: router.Requirement{Wait: time.Minute, OrPrimary: policy}, Rules: []router.Rule{
			{Match: match("may"), To: "replica", OnStale: "primary", Freshness: fresh},
			{Match: match("mustnot"), To: "ml1", OnStale: "error", Freshness: fresh},
			{Match: match("named"), To: "ml1", OnStale: "primary"},
			{Match: match("says_nothing"), To: "replica", Freshness: fresh},
		}})
		f := twoReplicas()
		ask := func(name string) router.Decision {
			return p.Decide(parser.Parse("SELECT * FROM "+name), &router.View{SearchPath: []string{"public"}}, f)
		}
		for name, want := range map[string]bool{"may": true, "mustnot": false, "named": true, "says_nothing": policy} {
			if d := ask(name); d.Place != router.Replica || d.OrPrimary != want || d.Freshness != fresh && name != "named" || d.Wait != time.Minute && name != "named" {
				t.Errorf("%s: %s, the primary may answer %v, %s, %s", name, d.Place, d.OrPrimary, d.Freshness, d.Wait)
			}
		}
		f.Targets[1].Healthy, f.Targets[2].Healthy = false, false
		for name, want := range map[string]router.Place{"may": router.Primary, "mustnot": router.Refused, "named": router.Primary} {
			if d := ask(name); d.Place != want {
				t.Errorf("%s, all are down: %s, %s", name, d.Place, d.Text())
			}
		}
	}
	for _, r := range []router.Rule{{To: "primary", OnStale: "error"}, {Reject: "no", OnStale: "error"}, {To: "ml1", OnStale: "wait"}} {
		if _, err := router.NewPolicy(router.Config{Rules: []router.Rule{r}}); err == nil {
			t.Errorf("accepted: %+v", r)
		}
	}
}

// max_lag counts wherever any replica may answer a plain read.
func TestMaxLagOfHintedReads(t *testing.T) {
	p := mustPolicy(t, router.Config{Reads: "replica", MaxLag: time.Second, Rules: []router.Rule{{Match: router.Match{Relation: router.Patterns{"ruled"}}, To: "replica"}}})
	f := twoReplicas()
	f.Targets[1].Lag, f.Targets[1].LagKnown, f.Targets[2].LagKnown = time.Minute, true, true
	for sql, want := range map[string]string{
		"SELECT * FROM ruled": "ml2", "/*+ pgshunt: replica */ SELECT * FROM docs": "ml2", "/*+ pgshunt: replica:ml1 */ SELECT * FROM docs": "ml1",
	} {
		if d := p.Decide(parser.Parse(sql), &router.View{}, f); names(f, d) != want {
			t.Errorf("%s: %s", sql, names(f, d))
		}
	}
	f.Targets[2].Lag = time.Hour
	for _, sql := range []string{"SELECT * FROM ruled", "/*+ pgshunt: replica */ SELECT * FROM docs"} {
		if d := p.Decide(parser.Parse(sql), &router.View{}, f); d.Place != router.Primary {
			t.Errorf("%s, all are behind: %s", sql, d.Place)
		}
	}
}
