package router_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgshunt/router"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata/routes")

// corpus is one file of testdata/routes.
type corpus struct {
	Comment string       `json:"comment"`
	Cases   []corpusCase `json:"cases"`
}

// corpusCase is a router.Case with the policy and the servers it is about.
type corpusCase struct {
	router.Case
	Session corpusSession `json:"session,omitzero"`
}

type corpusSession struct {
	router.CaseSession
	ReadsPolicy    string       `json:"reads_policy,omitempty"`
	TrainingPolicy string       `json:"training_policy,omitempty"`
	HintUsers      []string     `json:"hint_users,omitempty"`
	Rules          []corpusRule `json:"rules,omitempty"`
	Fleet          string       `json:"fleet,omitempty"` // "none": no replicas; "watched": with a catalog
}

type corpusRule struct {
	Match  map[string]router.Patterns `json:"match"`
	To     string                     `json:"to,omitempty"`
	Reject string                     `json:"reject,omitempty"`
}

func (s *corpusSession) policy(t *testing.T) *router.Policy {
	t.Helper()
	cfg := router.Config{Reads: s.ReadsPolicy, InTransaction: s.TrainingPolicy, HintUsers: s.HintUsers}
	for _, r := range s.Rules {
		cfg.Rules = append(cfg.Rules, router.Rule{To: r.To, Reject: r.Reject, Match: router.Match{
			Relation: r.Match["relation"], Function: r.Match["function"], Schema: r.Match["schema"],
			User: r.Match["user"], Database: r.Match["database"], Application: r.Match["application"],
			Kind: r.Match["kind"], Project: r.Match["project"], Transaction: strings.Join(r.Match["transaction"], ""),
		}})
	}
	p, err := router.NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *corpusSession) fleet() *router.Fleet {
	f := &router.Fleet{Targets: []router.Target{{Name: "primary", Healthy: true}}}
	if s.Fleet == "none" {
		return f
	}
	f.Targets = append(f.Targets,
		router.Target{Name: "ml1", Replica: true, Healthy: true, Training: true, Inference: true, Reads: true},
		router.Target{Name: "ml2", Replica: true, Healthy: true, Inference: true, Reads: true})
	if s.Fleet == "watched" {
		f.Targets[1].Models, f.Targets[2].Models = map[string]bool{"p": true}, map[string]bool{"p": true}
		f.Catalogs = map[string]*router.Catalog{"": watched()}
	}
	return f
}

// watched is the catalog that the fleet's watcher makes of schema.sql and replica.sql, as
// far as the cases ask. The same cases run with the watcher's own in package proxy.
var watched = sync.OnceValue(func() *router.Catalog {
	both := tables("users", "orders", "docs", "accounts", "houses", "houses_of_p", "models", "reports.daily")
	both = append(both, view("adults", "SELECT id, name FROM public.users WHERE age >= 18"), view("numbered", "SELECT nextval('public.ticket')"))
	notes, fewer, secrets, salaries, audited := table("notes"), table("notes"), table("secrets"), table("salaries"), table("audited")
	notes.Columns, fewer.Columns = "author text\nbody text\nid integer", "body text\nid integer"
	secrets.Security, audited.Touches = "body = current_user", true
	functions := []router.FunctionFacts{
		routine("add_one", 'i', "sql", "SELECT $1 + 1"), routine("audit", 'v', "plpgsql", "BEGIN RETURN NULL; END"),
		routine("counted", 'v', "plpgsql", "BEGIN RETURN 1; END"), routine("embed", 'i', "sql", "SELECT $2"), routine("noop", 'v', "sql", "SELECT 1"),
	}
	primary := server{
		relations: slices.Concat(both, tables("only_primary"), []router.RelationFacts{notes, secrets, salaries, audited, view("far", "SELECT id FROM public.only_primary")}),
		functions: append(slices.Clone(functions), routine("local_only", 'i', "sql", "SELECT 1")),
	}
	salaries.Readers, secrets.Security = "analyst", ""
	replica := server{
		relations: slices.Concat(both, tables("features"), []router.RelationFacts{
			fewer, secrets, salaries, audited, view("scored", "SELECT id, pgml.predict('p', ARRAY[rooms, area]) AS price FROM public.houses"),
			view("documents", "SELECT id, body FROM public.docs WHERE EXISTS (SELECT FROM public.features)"),
		}),
		functions: append(slices.Clone(functions), routine("wrap", 'v', "sql", "SELECT pgml.embed('m', $1)")),
	}
	other := replica
	replica.target, other.target = 1, 2
	other.relations, other.functions = slices.Clone(replica.relations), slices.Clone(replica.functions)
	c, err := router.NewCatalog(primary.source(), replica.source(), other.source())
	if err != nil {
		panic(err)
	}
	return c
})

// TestRoutes compares every case of testdata/routes. A change of routing shows in the
// diff that -update makes there; one nobody can explain is a bug.
func TestRoutes(t *testing.T) {
	files, err := filepath.Glob("../testdata/routes/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no routes: %v", err)
	}
	cases, wire := 0, 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c corpus
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i := range c.Cases {
			one := &c.Cases[i]
			cases++
			if one.Wire {
				wire++
			}
			one.Case.Session = one.Session.CaseSession
			fleet := one.Session.fleet()
			got := one.Case.Decide(one.Session.policy(t), fleet)
			if *update {
				one.Expect(got)
				continue
			}
			for _, difference := range one.Check(got, fleet) {
				t.Errorf("%s: %s\n\t%s", filepath.Base(file), one.SQL, difference)
			}
			if got.Place == router.Refused && (got.Err == nil || got.Err.Hint == "" && got.Rule[0] != 'r') {
				t.Errorf("%s: %s\n\trefused without an error that says what to do", filepath.Base(file), one.SQL)
			}
		}
		if *update {
			write(t, file, &c)
		}
	}
	if cases < 520 || wire < 500 {
		t.Errorf("%d cases, %d of them for the wire; expected at least 520 and 500", cases, wire)
	}
}

func write(t *testing.T, file string, c *corpus) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
