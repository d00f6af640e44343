package router_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgshunt/router"
)

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
	if got := (router.Chooser{Load: at, Last: "ml1", Slack: 1}).Choose(infer, f); got != "ml1" {
		t.Errorf("the last one, within the slack: %q", got)
	}
	if got := (router.Chooser{Load: at, Last: "ml1"}).Choose(infer, f); got != "ml2" {
		t.Errorf("the last one, beyond the slack: %q", got)
	}
	if got := router.Pick(router.Decision{Target: "ml1"}, f, at); got != "ml1" {
		t.Errorf("named: %q", got)
	}
	only := infer
	only.Candidates = 1 << 1
	if got := (router.Chooser{Load: at, Last: "ml2", Slack: 9}).Choose(only, f); got != "ml1" {
		t.Errorf("the only candidate: %q", got)
	}
	f.Targets[1].Healthy = false
	if got := router.Pick(only, f, at); got != "" {
		t.Errorf("the only candidate is down, but %q", got)
	}
	f.Targets[2].Inference = false
	if got := router.Pick(infer, f, at); got != "" {
		t.Errorf("nobody is left, but %q", got)
	}
}

// A replica without the extension is healthy for reads, if it serves them.
func TestATargetInTroubleServesReadsAlone(t *testing.T) {
	f := twoReplicas()
	f.Targets[1].Trouble, f.Targets[1].Reads = "has no pgml extension", true
	f.Targets[2].Healthy = false
	for class, want := range map[router.Class]string{router.Read: "ml1", router.Inference: "", router.Training: ""} {
		if got := router.Pick(router.Decision{Place: router.Replica, Class: class}, f, nil); got != want {
			t.Errorf("%v: %q, want %q", class, got, want)
		}
	}
}

// TestChoiceOfTwo draws from a fixed source, so that the shares below are always the same.
func TestChoiceOfTwo(t *testing.T) {
	f := &router.Fleet{Targets: []router.Target{{Name: "primary", Healthy: true}}}
	for i := range 4 {
		f.Targets = append(f.Targets, router.Target{Name: fmt.Sprintf("ml%d", i+1), Replica: true, Healthy: true, Inference: true})
	}
	infer := router.Decision{Place: router.Replica, Class: router.Inference}
	shares := func(c router.Chooser) map[string]int {
		c.Random = rand.New(rand.NewPCG(1, 2)).Uint64
		count := map[string]int{}
		for range 4000 {
			count[c.Choose(infer, f)]++
		}
		return count
	}
	for name, n := range shares(router.Chooser{}) {
		if n < 800 || n > 1200 {
			t.Errorf("all equal: %s has %d of 4000", name, n)
		}
	}
	busy := shares(router.Chooser{Load: func(name string) int { return map[string]int{"ml3": 5}[name] }})
	if busy["ml3"] != 0 {
		t.Errorf("the busiest of four was taken %d times, although one of two is always better", busy["ml3"])
	}
	f.Targets[1].Weight = 5
	if n := shares(router.Chooser{})["ml1"]; n < 2200 || n > 2800 {
		t.Errorf("weight 5 of 8: %d of 4000", n)
	}
	heavy := shares(router.Chooser{Load: func(name string) int { return map[string]int{"ml1": 4}[name] + 1 }})
	if heavy["ml1"] < 2200 {
		t.Errorf("five statements on weight 5 are no more than one on weight 1: %d of 4000", heavy["ml1"])
	}
	f.Targets[1].Weight = 0
	f.Targets[2].Zone, f.Targets[4].Zone = "here", "here"
	if near := shares(router.Chooser{Zone: "here"}); near["ml2"]+near["ml4"] != 4000 {
		t.Errorf("replicas of another zone were taken: %v", near)
	}
	if far := shares(router.Chooser{Zone: "nowhere"}); len(far) != 4 {
		t.Errorf("a zone without replicas: %v", far)
	}
	warm := shares(router.Chooser{
		Warm: func(name string) bool { return name == "ml2" },
		Load: func(name string) int { return map[string]int{"ml2": 3}[name] },
	})
	if warm["ml2"] < 1800 {
		t.Errorf("half of all pairs have the warm one, taken %d times of 4000", warm["ml2"])
	}
}
