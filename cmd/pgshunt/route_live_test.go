package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

const freshConfig = `primary: {url: "postgres://app@db/production"}
replicas:
  - {name: ml1, url: "postgres://app@ml1/production", feed: logical}
  - {name: ml2, url: "postgres://app@ml2/production", feed: logical, serves: [inference, reads]}
routing:
  reads: {to: replica, max_lag: 2s}
  inference: {freshness: session, on_stale: primary_error}
`

// A policy is tested with servers down, behind, and without tables and models, and
// without any server.
func TestRouteCasesSayWhatIsKnownOfTheServers(t *testing.T) {
	opts := routeOptions{config: writeFile(t, "pgshunt.yaml", freshConfig), configSet: true}
	opts.test = writeFile(t, "cases.yaml", `
fleet: {lag: {ml2: 10s}}
cases:
  - {sql: SELECT * FROM users, target: ml1, candidates: [ml1]}
  - {sql: SELECT * FROM users, fleet: {}, target: any replica, candidates: [ml1, ml2]}
  - {sql: SELECT * FROM users, fleet: {lag: {ml1: unknown, ml2: 3s}}, target: primary, reason: fresh enough}
  - {sql: SELECT * FROM users, fleet: {missing: {ml1: [public.users]}}, target: ml2}
  - {sql: SELECT * FROM users, fleet: {missing: {ml1: [users], ml2: [users]}}, target: primary, reason: users cannot be read on a replica}
  - {sql: SELECT * FROM features, fleet: {only: {ml2: [public.features]}}, target: ml2}
  - {sql: "SELECT pgml.predict('fraud', ARRAY[x]) FROM users", fleet: {models: {ml1: [], ml2: [fraud]}}, target: ml2, freshness: session}
  - {sql: "SELECT pgml.embed('m', name) FROM users", fleet: {missing: {ml1: [users], ml2: [users]}}, place: refused}
  - {sql: "SELECT pgml.embed('m', 'x')", fleet: {down: [ml1, ml2]}, place: refused, sqlstate: "57P03"}
  - {sql: "SELECT pgml.embed('m', 'x')", fleet: {down: [ml1, ml2], pgml: {primary: "2.10.0"}}, target: primary}
`)
	out, errOut, err := runRouteText(t, opts, "")
	if err != nil || out != "10 cases, 0 failed\n" {
		t.Errorf("%v, %s\n%s", err, errOut, out)
	}
	opts.test = writeFile(t, "cases.yaml", "cases: [{sql: SELECT * FROM users, fleet: {lag: {ml1: 1m, ml2: 1m}}, target: ml1, freshness: 2s}]")
	out, _, err = runRouteText(t, opts, "")
	if err == nil || !strings.Contains(out, `target is "primary", expected "ml1"`) || !strings.Contains(out, `freshness is "any", expected "2s"`) {
		t.Errorf("%v\n%s", err, out)
	}
	for wrong, want := range map[string]string{
		`{down: [ml3]}`:        `there is no server "ml3"`,
		`{lag: {ml1: soon}}`:   `"soon" is no time`,
		`{absent: {ml1: [a]}}`: "absent",
		`{missing: {ml1: [users]}, only: {ml2: [public.users]}}`: "both missing",
	} {
		opts.test = writeFile(t, "cases.yaml", "cases: [{sql: SELECT 1, fleet: "+wrong+"}]")
		if _, errOut, err := runRouteText(t, opts, ""); err == nil || !strings.Contains(errOut, want) {
			t.Errorf("%s: %v, %s", wrong, err, errOut)
		}
	}
}

func TestRouteAsksTheServers(t *testing.T) {
	primary, ml := pgtest.Primary(t), pgtest.Replica(t)
	for _, s := range []*pgtest.Server{primary, ml} {
		s.Exec(t, "CREATE TABLE houses (rooms real, price real)")
	}
	primary.Exec(t, "CREATE TABLE only_here (body text)")
	ml.Exec(t, "INSERT INTO houses SELECT n, n * 1000 FROM generate_series(1, 40) n")
	ml.Exec(t, "SELECT * FROM pgml.train('houses', 'regression', 'houses', 'price')")
	opts := routeOptions{
		config: writeFile(t, "pgshunt.yaml", fmt.Sprintf(
			"primary: {url: %q}\nreplicas: [{name: ml1, url: %q, feed: fdw}, {name: ml2, url: \"postgres://postgres@%s/postgres\"}]\n",
			primary.URL("postgres", "postgres"), ml.URL("postgres", "postgres"), nobodyThere(t))),
		configSet: true, live: true, timeout: pgtest.Patience,
	}
	const missing = "SELECT pgml.embed('m', body) FROM only_here"
	out, errOut, err := runRouteText(t, opts, missing)
	if err != nil || !strings.Contains(out, "\nrefused  inference  ") || !strings.Contains(out, "only_here") || !strings.Contains(out, "compared") {
		t.Errorf("a table that is missing on the replica: %v, %s\n%s", err, errOut, out)
	}
	const sql = "SELECT pgml.predict('houses', ARRAY[1::real])"
	out, errOut, err = runRouteText(t, opts, sql)
	if err != nil {
		t.Fatal(err, errOut)
	}
	for _, want := range []string{
		"\nprimary  healthy ", "\nml1      healthy ", " 0s ", " 2.10.0 ", " houses\n", "\nml2      does not accept connections",
		"\nml1     inference  inference  pgml.predict",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("does not show %q:\n%s", want, out)
		}
	}
	opts.json = true
	out, errOut, err = runRouteText(t, opts, sql)
	if err != nil {
		t.Fatal(err, errOut)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var server liveServer
	var r route
	if len(lines) != 4 || json.Unmarshal([]byte(lines[1]), &server) != nil || json.Unmarshal([]byte(lines[3]), &r) != nil {
		t.Fatal(out)
	}
	if server.Server != "ml1" || !server.Healthy || server.Lag != "0s" || len(server.Models) != 1 || r.SQL != sql || r.Target != "ml1" {
		t.Errorf("%+v, %+v", server, r)
	}
}

// The cases that the guide shows are true.
func TestTheGuidesCasesHold(t *testing.T) {
	t.Setenv("APP_PASSWORD", "x")
	guide, err := os.ReadFile("../../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(guide), "```yaml\n")
	cases, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the guide shows no cases")
	}
	opts := routeOptions{config: "../../configs/freshness.yaml", configSet: true, test: writeFile(t, "cases.yaml", cases)}
	out, errOut, err := runRouteText(t, opts, "")
	if err != nil || !strings.HasSuffix(out, "8 cases, 0 failed\n") {
		t.Errorf("%v, %s\n%s", err, errOut, out)
	}
}
