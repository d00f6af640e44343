package router_test

import (
	"fmt"
	"testing"

	"pgshunt/router"
)

func TestNewPolicyRejectsWhatItCannotMean(t *testing.T) {
	for name, cfg := range map[string]router.Config{
		"reads":          {Reads: "anywhere"},
		"in_transaction": {InTransaction: "later"},
		"no place":       {Rules: []router.Rule{{}}},
		"two places":     {Rules: []router.Rule{{To: "primary", Reject: "no"}}},
		"kind":           {Rules: []router.Rule{{To: "primary", Match: router.Match{Kind: router.Patterns{"selects"}}}}},
	} {
		if _, err := router.NewPolicy(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestHomeMovesOnlyWithItsReplica(t *testing.T) {
	fleet := func(names ...string) *router.Fleet {
		f := &router.Fleet{}
		for _, n := range names {
			f.Targets = append(f.Targets, router.Target{Name: n, Replica: true, Training: true})
		}
		return f
	}
	three, two := fleet("ml1", "ml2", "ml3"), fleet("ml3", "ml1")
	count := map[string]int{}
	for i := range 3000 {
		project := fmt.Sprintf("project-%d", i)
		before, after := router.HomeOf(project, three), router.HomeOf(project, two)
		count[before]++
		if before != "ml2" && before != after {
			t.Fatalf("%s moved from %s to %s when ml2 left", project, before, after)
		}
	}
	for name, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%s is home of %d of 3000 projects", name, n)
		}
	}
	if home := router.HomeOf("", three); home != "ml1" {
		t.Errorf("without a project: %q", home)
	}
	if home := router.HomeOf("p", &router.Fleet{Targets: []router.Target{{Name: "primary"}}}); home != "" {
		t.Errorf("without training replicas: %q", home)
	}
}
