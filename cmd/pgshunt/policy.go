package main

import (
	"time"

	"pgshunt/configs"
	"pgshunt/router"
)

// routerConfig is the policy of a configuration in the router's own terms.
func routerConfig(cfg *configs.Config) router.Config {
	r := &cfg.Routing
	out := router.Config{
		Reads: r.Reads.To, MaxLag: time.Duration(r.Reads.MaxLag),
		InTransaction: string(r.Training.InTransaction),
		Inference: router.Requirement{
			Freshness: freshnessOf(r.Inference.Freshness), Wait: time.Duration(r.Inference.Wait),
			OrPrimary: r.Inference.OnStale == configs.OnStalePrimary,
		},
		Training:  router.Requirement{Freshness: freshnessOf(r.Training.Freshness), Wait: time.Duration(r.Training.Wait)},
		HintUsers: router.Patterns(r.Hints.Users),
	}
	for _, r := range cfg.Routing.Rules {
		kinds := make(router.Patterns, 0, len(r.Match.Kind))
		for _, k := range r.Match.Kind {
			kinds = append(kinds, string(k))
		}
		out.Rules = append(out.Rules, router.Rule{
			Match: router.Match{
				Relation: router.Patterns(r.Match.Relation), Function: router.Patterns(r.Match.Function),
				Schema: router.Patterns(r.Match.Schema), User: router.Patterns(r.Match.User),
				Database: router.Patterns(r.Match.Database), Application: router.Patterns(r.Match.Application),
				Kind: kinds, Project: router.Patterns(r.Match.Project), Transaction: string(r.Match.Transaction),
			},
			To: r.To, Reject: r.Reject, Freshness: freshnessOf(r.Freshness), OnStale: onStale(r.OnStale), Timeout: time.Duration(r.Timeout),
		})
	}
	return out
}

// onStale is what a rule says of replicas that are not fresh, "" where it says nothing.
func onStale(o configs.OnStale) string {
	if o == configs.OnStalePrimary {
		return "primary"
	}
	return string(o)
}

func freshnessOf(f configs.Freshness) router.Freshness {
	return router.Freshness{Session: f.Session, Within: time.Duration(f.Bound)}
}
