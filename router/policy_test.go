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

func TestPick(t *testing.T) {
	f := twoReplicas()
	load := map[string]int{"ml1": 3, "ml2": 2}
	at := func(name string) int { return load[name] }
	infer := router.Decision{Place: router.Replica, Class: router.Inference}
	if got := router.Pick(infer, f, at); got != "ml2" {
		t.Errorf("least loaded: %q", got)
	}
	if got := router.Pick(infer, f, nil); got != "ml1" {
		t.Errorf("without load: %q", got)
	}
	if got := router.PickNear(infer, f, at, "ml1", 1); got != "ml1" {
		t.Errorf("the warm one, within the slack: %q", got)
	}
	if got := router.PickNear(infer, f, at, "ml1", 0); got != "ml2" {
		t.Errorf("the warm one, beyond the slack: %q", got)
	}
	if got := router.Pick(router.Decision{Target: "ml1"}, f, at); got != "ml1" {
		t.Errorf("named: %q", got)
	}
	f.Targets[1].Healthy, f.Targets[2].Inference = false, false
	if got := router.Pick(infer, f, at); got != "" {
		t.Errorf("nobody is left, but %q", got)
	}
}
