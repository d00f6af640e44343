package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/router"
)

const routeConfig = `
primary:
  url: postgres://app@db.example.com:5432/production
replicas:
  - name: ml1
    url: postgres://app@ml1.example.com:5432/production
  - name: ml2
    url: postgres://app@ml2.example.com:5432/production
    serves: [inference, reads]
routing:
  rules:
    - match: {relation: "reports.*", kind: read}
      to: ml2
    - match: {kind: training, user: intern}
      reject: interns do not train
`

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func runRouteText(t *testing.T, opts routeOptions, input string, args ...string) (out, errOut string, status error) {
	t.Helper()
	if opts.config == "" {
		opts.config, opts.configSet = writeFile(t, "pgshunt.yaml", routeConfig), true
	}
	if opts.searchPath == nil {
		opts.searchPath = []string{"public"}
	}
	var o, e bytes.Buffer
	err := runRoute(t.Context(), opts, args, strings.NewReader(input), &o, &e)
	return o.String(), e.String(), err
}

func TestRoutePrintsOneLineForEachStatement(t *testing.T) {
	out, errOut, err := runRouteText(t, routeOptions{}, "",
		"SELECT pgml.embed('m', 'x')", "SELECT * FROM pgml.train('p')", "SELECT * FROM reports.daily", "UPDATE docs\nSET e = pgml.embed('m', body)")
	if err != nil || errOut != "" {
		t.Fatal(err, errOut)
	}
	lines := strings.Split(out, "\n")
	for i, want := range []string{"TARGET", "any replica", "ml1", "ml2", "refused"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, expected %s", i, lines[i], want)
		}
	}
	for _, want := range []string{"rules[0]", "pgml.train runs on", "UPDATE docs SET", "ERROR 0A000", "HINT: "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestRouteFollowsAScript(t *testing.T) {
	out, _, err := runRouteText(t, routeOptions{json: true}, `
		SET search_path TO pgml, public;
		SELECT predict('p', ARRAY[1.0]);
		BEGIN; INSERT INTO docs (body) VALUES ('a;b');
		SELECT pgml.embed('m', body) FROM docs;
		COMMIT;
		SELECT pgml.embed('m', body) FROM docs;
		PREPARE q AS SELECT pgml.embed('m', 'x'); EXECUTE q; RESET ALL; SELECT predict('p', 1)`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"primary", "ml1", "primary", "primary", "refused", "primary", "any replica", "any replica", "any replica", "primary", "primary"}
	d := json.NewDecoder(strings.NewReader(out))
	for i := 0; d.More(); i++ {
		var r route
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if i >= len(want) || r.Target != want[i] {
			t.Errorf("statement %d, %s, goes to %s", i, r.SQL, r.Target)
		}
	}
}

func TestRouteRunsCases(t *testing.T) {
	cases := `
comment: our own
cases:
  - sql: SELECT * FROM reports.daily
    place: replica
    target: ml2
    rule: rules[0]
  - sql: SELECT * FROM pgml.train('p')
    session: {user: intern}
    place: refused
    sqlstate: 0A000
`
	out, _, err := runRouteText(t, routeOptions{test: writeFile(t, "cases.yaml", cases)}, "")
	if err != nil || out != "2 cases, 0 failed\n" {
		t.Errorf("%v\n%s", err, out)
	}
	wrong := strings.Replace(cases, "target: ml2", "target: ml1", 1)
	out, _, err = runRouteText(t, routeOptions{test: writeFile(t, "cases.yaml", wrong)}, "")
	if !errors.Is(err, exitFinding) || !strings.Contains(out, `target is "ml2", expected "ml1"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRouteExplainsWrongUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, opts := range map[string]routeOptions{
		"config":        {config: missing, configSet: true},
		"file":          {file: missing},
		"cases":         {test: missing},
		"unknown key":   {test: writeFile(t, "cases.yaml", "cases: [{sql: SELECT 1, plaice: primary}]")},
		"no cases":      {test: writeFile(t, "cases.yaml", "cases: []")},
		"not YAML":      {test: writeFile(t, "cases.yaml", "cases: [")},
		"broken config": {config: writeFile(t, "pgshunt.yaml", "nonsense: 1"), configSet: true},
	} {
		out, errOut, err := runRouteText(t, opts, "")
		if !errors.Is(err, exitUsage) || errOut == "" || out != "" {
			t.Errorf("%s: %v, %q, %q", name, err, errOut, out)
		}
	}
}

func TestRouteWithoutConfiguration(t *testing.T) {
	opts := routeOptions{config: filepath.Join(t.TempDir(), "pgshunt.yaml")}
	out, _, err := runRouteText(t, opts, "SELECT 1; -- x\n;SELECT pgml.embed('m', 'x')")
	if err != nil || strings.Count(out, "\n") != 3 || !strings.Contains(out, "\nreplica ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The project's own cases have the form that operators are told to use.
func TestRouteReadsTheCorpusForm(t *testing.T) {
	file, err := loadRouteCases("../../testdata/routes/inference.json")
	if err != nil || len(file.Cases) < 20 {
		t.Fatal(err)
	}
	var none router.Case
	if len(none.Check(router.Decision{}, &router.Fleet{})) != 0 {
		t.Error("an empty case compares something")
	}
}
