package proxy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// routedTexts are the statements of testdata/routes.
func routedTexts(t *testing.T) (texts []string) {
	t.Helper()
	files, err := filepath.Glob("../testdata/routes/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no routes: %v", err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var corpus struct{ Cases []router.Case }
		if err := json.Unmarshal(raw, &corpus); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, c := range corpus.Cases {
			texts = append(texts, c.SQL)
		}
	}
	return texts
}

// What a plain statement is not looked at for must be what it does not do.
func TestPlainStatementsLeaveNothingBehind(t *testing.T) {
	plain := 0
	for _, text := range routedTexts(t) {
		st := parser.Parse(text)
		if !st.Plain {
			continue
		}
		plain++
		looked := *st
		looked.Plain = false
		part := &looked.Parts[0]
		if parametric(&looked) || changesState(&looked) || borrows(&looked) || seesNames(part) || holdable(&looked) {
			t.Errorf("%s: not plain", text)
		}
		s := session{srv: &Server{}}
		s.state.start(new(pool.Settings).With(pool.Setting{Name: "a", SQL: "SET a TO 1"}), "")
		s.state.sending(&looked)
		s.state.pins.within(part)
		p := &s.state.pins
		if p.text != "" || p.doubt || p.moved.is() || s.state.temporary != nil || s.state.modes.snapshot || s.state.modes.readOnly || s.state.wroteUnknown {
			t.Errorf("%s: leaves something behind", text)
		}
		if len(part.Writes) == 0 && len(s.state.written) > 0 || s.state.mayReset(&looked) || s.executed(part) != nil || s.runs(&looked) != &looked {
			t.Errorf("%s: does more than it says", text)
		}
		s.stranger = true
		if err := s.foresee(&looked); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if plain < 50 {
		t.Errorf("only %d statements are plain", plain)
	}
	for _, text := range []string{
		"", "SELECT 1; SELECT 2", "SELECT f()", "SELECT set_config('a.b', 'c', false)", "BEGIN",
		"SELECT * FROM pg_prepared_statements", "SELECT pg_prepared_statement()", "SELECT pg_advisory_lock(1)", "DECLARE c CURSOR FOR SELECT 1",
		"EXPLAIN SELECT 1", "SELECT a INTO b FROM c", "EXECUTE p", "COPY t FROM STDIN", "SELEC", "SELECT pgml.predict('p', ARRAY[1])",
	} {
		if parser.Parse(text).Plain {
			t.Errorf("%q is plain", text)
		}
	}
}

func TestVerdictsAreForTheSameViewAndFleet(t *testing.T) {
	policy, err := router.NewPolicy(router.Config{})
	if err != nil {
		t.Fatal(err)
	}
	target := router.Target{Name: "ml1", Replica: true, Healthy: true, Inference: true, Training: true}
	fleets := []*router.Fleet{{}, {Targets: []router.Target{target}}}
	views := []router.View{
		{User: "u", SearchPath: []string{"public"}},
		{User: "u", SearchPath: []string{"pgml", "public"}},
		{User: "u", SearchPath: []string{"public"}, InTransaction: true},
		{User: "u", SearchPath: []string{"public"}, Hint: "primary"},
	}
	var vs verdicts
	found := 0
	texts := []*parser.Statement{parser.Parse("SELECT * FROM models"), parser.Parse("SELECT * FROM t"), parser.Parse("UPDATE t SET a = 1")}
	for _, f := range fleets {
		p := &plan{fleet: f}
		for range missesToGo + 3 {
			for _, st := range texts {
				if !st.Plain {
					t.Fatalf("%s is not plain", st.Text)
				}
				for i := range views {
					v := &views[i]
					a, want := vs.sort(v), policy.Decide(st, v, f)
					if got := vs.find(st, a, v.InTransaction, p); got == nil {
						vs.keep(&verdict{st: st, alike: a, plan: p, inTransaction: v.InTransaction, d: want})
					} else if found++; *got != want {
						t.Errorf("%s for %+v: %+v, expected %+v", st.Text, v, *got, want)
					}
				}
			}
		}
	}
	if found == 0 {
		t.Error("no verdict is found")
	}
	for i := range 2 * maxAlike { // sessions of too many kinds are not remembered for ever
		vs.sort(&router.View{User: string(rune('a' + i%26)), Application: string(rune(i))})
	}
	if len(vs.alike) > maxAlike {
		t.Errorf("%d kinds of sessions are remembered", len(vs.alike))
	}
}
