package main

import (
	"pgshunt/configs"
	"pgshunt/router"
)

// routerConfig is the policy of a configuration in the router's own terms.
func routerConfig(cfg *configs.Config) router.Config {
	out := router.Config{
		Reads:         cfg.Routing.Reads.To,
		InTransaction: string(cfg.Routing.Training.InTransaction),
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
				Kind: kinds,
			},
			To: r.To, Reject: r.Reject,
		})
	}
	return out
}
