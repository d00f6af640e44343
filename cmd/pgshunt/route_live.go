package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"pgshunt/configs"
	"pgshunt/router"
	"pgshunt/router/fleet"
)

// liveFleet asks the servers of a configuration once. database is the one that clients
// would ask for.
func liveFleet(ctx context.Context, cfg *configs.Config, database string) (*router.Fleet, error) {
	c, err := watchConfig(cfg, nil)
	if err != nil {
		return nil, err
	}
	f, err := fleet.Read(ctx, c, database)
	if err != nil {
		return nil, fmt.Errorf("the servers could not be looked at in time: %w", err)
	}
	return f, nil
}

// liveServer is what --live says of one server. Its JSON form stands before the routes.
type liveServer struct {
	Server  string   `json:"server"`
	Healthy bool     `json:"healthy"`
	Trouble string   `json:"trouble,omitempty"`
	Lag     string   `json:"lag,omitempty"` // "" for the primary, and where nobody can tell
	Pgml    string   `json:"pgml,omitempty"`
	Models  []string `json:"models,omitempty"` // projects with a deployed model
	Catalog bool     `json:"catalog"`          // what it has was compared with the primary
}

func liveServers(f *router.Fleet, database string) (out []liveServer) {
	catalog := f.Catalogs[database]
	for i := range f.Targets {
		t := &f.Targets[i]
		s := liveServer{Server: t.Name, Healthy: t.Healthy, Trouble: t.Trouble, Pgml: t.Pgml, Catalog: catalog.Knows(i)}
		if t.Replica && t.LagKnown {
			s.Lag = t.Lag.Round(time.Millisecond).String()
		}
		for project := range t.Models {
			s.Models = append(s.Models, project)
		}
		slices.Sort(s.Models)
		out = append(out, s)
	}
	return out
}

func printServers(out io.Writer, servers []liveServer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tSTATE\tLAG\tPGML\tRELATIONS\tMODELS OF")
	for _, s := range servers {
		state, relations := "healthy", "not known"
		switch {
		case s.Trouble != "":
			state = s.Trouble
		case !s.Healthy:
			state = "unhealthy"
		}
		if s.Catalog {
			relations = "compared"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Server, state, orDash(s.Lag), orDash(s.Pgml), relations, orDash(strings.Join(s.Models, ", ")))
	}
	_ = w.Flush() // to a terminal or pipe whose loss ends the program anyway
	fmt.Fprintln(out)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
