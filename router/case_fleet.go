package router

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"pgshunt/parser"
)

// CaseFleet is what a Case takes for known of the servers, where that is not what the
// configuration says: all healthy, fresh, and with every relation. Servers go by
// their names and relations are written as schema.name.
type CaseFleet struct {
	// Down are not healthy.
	Down []string `json:"down,omitempty"`
	// Lag is how far replicas are behind, such as 10s; "unknown" where nobody can tell.
	Lag map[string]CaseLag `json:"lag,omitempty"`
	// Missing are relations that replicas lack, Only those that the primary lacks.
	Missing map[string][]string `json:"missing,omitempty"`
	Only    map[string][]string `json:"only,omitempty"`
	// Models are the projects that have a deployed model.
	Models map[string][]string `json:"models,omitempty"`
	// Pgml are the versions of PostgresML's extension; it is for the primary, mostly.
	Pgml map[string]string `json:"pgml,omitempty"`
}

// CaseLag is the lag of a replica in a Case.
type CaseLag struct {
	lag   time.Duration
	known bool
}

// UnmarshalJSON reads a duration in quotes.
func (l *CaseLag) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("lag: write a time such as \"10s\": %w", err)
	}
	*l = CaseLag{}
	if text == "unknown" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("lag: %q is no time; write one such as \"10s\", or \"unknown\"", text)
	}
	*l = CaseLag{d, true}
	return nil
}

// MarshalJSON is the reverse.
func (l CaseLag) MarshalJSON() ([]byte, error) {
	if !l.known {
		return []byte(`"unknown"`), nil
	}
	return json.Marshal(l.lag.String())
}

// Check says which names are those of no server.
func (c *CaseFleet) Check(f *Fleet) error {
	names := slices.Clone(c.Down)
	names = slices.AppendSeq(names, maps.Keys(c.Lag))
	names = slices.AppendSeq(names, maps.Keys(c.Missing))
	names = slices.AppendSeq(names, maps.Keys(c.Only))
	names = slices.AppendSeq(names, maps.Keys(c.Models))
	names = slices.AppendSeq(names, maps.Keys(c.Pgml))
	for _, name := range names {
		if f.target(name) == nil {
			return fmt.Errorf("fleet: there is no server %q", name)
		}
	}
	lacking := c.relations(c.Missing)
	for r := range c.relations(c.Only) {
		if lacking[r] != nil {
			return fmt.Errorf("fleet: %s.%s is both missing on a replica and on replicas only", r.Schema, r.Name)
		}
	}
	return nil
}

// relations turns lists by server into servers by relation.
func (c *CaseFleet) relations(lists map[string][]string) map[parser.Relation][]string {
	out := make(map[parser.Relation][]string)
	for server, list := range lists {
		for _, name := range list {
			r := relationNamed(name)
			r.Schema = cmp.Or(r.Schema, "public")
			out[r] = append(out[r], server)
		}
	}
	return out
}

// apply returns f with what c knows. database is that of the session.
func (c *CaseFleet) apply(f *Fleet, database string) *Fleet {
	out := &Fleet{Targets: slices.Clone(f.Targets), Catalogs: f.Catalogs}
	for i := range out.Targets {
		t := &out.Targets[i]
		t.Healthy = t.Healthy && !slices.Contains(c.Down, t.Name)
		if lag, given := c.Lag[t.Name]; given {
			t.Lag, t.LagKnown = lag.lag, lag.known
		}
		if version, given := c.Pgml[t.Name]; given {
			t.Pgml = version
		}
		if models, given := c.Models[t.Name]; given {
			t.Models = make(map[string]bool)
			for _, project := range models {
				t.Models[project] = true
			}
		}
	}
	if len(c.Missing)+len(c.Only) > 0 {
		out.Catalogs = maps.Clone(f.Catalogs)
		if out.Catalogs == nil {
			out.Catalogs = make(map[string]*Catalog)
		}
		out.Catalogs[database] = c.catalog(out)
	}
	return out
}

// catalog has all relations that are named, where they are; others are everywhere.
func (c *CaseFleet) catalog(f *Fleet) *Catalog {
	sources := make([]Source, len(f.Targets))
	for i := range f.Targets {
		var has []RelationFacts
		for r, servers := range c.relations(c.Missing) {
			if !slices.Contains(servers, f.Targets[i].Name) {
				has = append(has, RelationFacts{Schema: r.Schema, Name: r.Name})
			}
		}
		for r, servers := range c.relations(c.Only) {
			if slices.Contains(servers, f.Targets[i].Name) {
				has = append(has, RelationFacts{Schema: r.Schema, Name: r.Name})
			}
		}
		slices.SortFunc(has, func(a, b RelationFacts) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Schema, b.Schema))
		})
		sources[i] = Source{Target: i, Relations: rowsOf(has)}
	}
	catalog, err := NewCatalog(sources[0], sources[1:]...)
	if err != nil {
		panic("BUG: " + err.Error()) // the rows are in order and none fails
	}
	return catalog
}

func rowsOf(rows []RelationFacts) iter.Seq2[RelationFacts, error] {
	return func(yield func(RelationFacts, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}
