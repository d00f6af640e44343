package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/internal/pghosts"
	"pgshunt/router"
)

// The sample file has every key of routing that says how fresh data must be.
func TestRoutingOfAConfigurationReachesTheRouter(t *testing.T) {
	t.Setenv("APP_PASSWORD", "x")
	cfg, err := configs.Load("../../configs/freshness.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := router.Config{
		Reads: "replica", MaxLag: 2 * time.Second, InTransaction: "detach",
		Inference: router.Requirement{Freshness: router.Freshness{Session: true}, Wait: time.Second},
		Training:  router.Requirement{Freshness: router.Freshness{Within: 10 * time.Second}, Wait: 5 * time.Minute},
		HintUsers: router.Patterns{"app", "admin_*"},
		Rules: []router.Rule{{
			Match: router.Match{
				Kind: router.Patterns{"inference"}, Project: router.Patterns{"report_*"}, Transaction: "outside",
			},
			To: "replica", Freshness: router.Freshness{Within: time.Minute}, Timeout: time.Minute,
		}},
	}
	got := routerConfig(cfg)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := router.NewPolicy(got); err != nil {
		t.Error(err)
	}
	for choice, finishes := range map[configs.OnDisconnect]bool{cfg.Routing.Training.OnDisconnect: true, "cancel": false} {
		cfg.Routing.Training.OnDisconnect = choice
		if got := routesBy(cfg, nil, nil, nil).FinishTraining; got != finishes {
			t.Errorf("%s: training finishes without its client: %v", choice, got)
		}
	}
	fleet := fleetOf(cfg)
	if m := fleet.Targets[1]; m.Weight != 2 || m.Zone != "eu-central-1a" || m.Feed != router.FeedLogical {
		t.Errorf("ml1 is %+v", m)
	}
	if needed, err := watched(cfg); err != nil || !needed {
		t.Errorf("the servers are not watched: %v", err)
	}
	c, err := watchConfig(cfg, nil)
	if err != nil || len(c.Servers) != 3 || c.Database != "production" {
		t.Fatalf("%+v, %v", c, err)
	}
	login, err := c.Servers[0].Login("other")
	if err != nil || login.Database != "other" || len(pghosts.Of(login)) != 2 {
		t.Errorf("the login to the primary goes to %v, database %s: %v", pghosts.Of(login), login.Database, err)
	}
}
