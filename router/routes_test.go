package router_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
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
	Fleet          string       `json:"fleet,omitempty"` // "none": no replicas
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
	return f
}

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
	if cases < 460 || wire < 400 {
		t.Errorf("%d cases, %d of them for the wire; expected at least 460 and 400", cases, wire)
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
