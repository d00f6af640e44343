package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

// checkOutput runs the command on a configuration and returns what it printed.
func checkOutput(t *testing.T, config string, opts checkOptions) (string, error) {
	t.Helper()
	opts.config = filepath.Join(t.TempDir(), "pgshunt.yaml")
	if err := os.WriteFile(opts.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	opts.timeout = pgtest.Patience
	var out, errOut bytes.Buffer
	err := runCheck(t.Context(), opts, &out, &errOut)
	return out.String() + errOut.String(), err
}

func checkJSON(t *testing.T, config string) (report, error) {
	t.Helper()
	text, err := checkOutput(t, config, checkOptions{json: true})
	var r report
	if jsonErr := json.Unmarshal([]byte(text), &r); jsonErr != nil {
		t.Fatalf("%v in %s", jsonErr, text)
	}
	return r, err
}

// expect looks for a finding by server, check and level whose text contains what.
func (r report) expect(t *testing.T, server, check string, l level, what string) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Server == server && f.Check == check && f.Level == l && strings.Contains(f.What, what) {
			if l == levelProblem && f.Next == "" {
				t.Errorf("the problem %q does not say what to do", f.What)
			}
			return
		}
	}
	t.Errorf("no finding %s/%s at level %s with %q", server, check, l, what)
}

func TestCheckOfGoodServersIsFine(t *testing.T) {
	primary, ml := pgtest.Primary(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}}), pgtest.Replica(t)
	for _, s := range []*pgtest.Server{primary, ml} {
		c := s.Super(t, "postgres")
		for _, sql := range []string{
			"CREATE ROLE app LOGIN", "CREATE TABLE orders (id int PRIMARY KEY)", "CREATE TABLE secrets (id int)",
		} {
			if _, err := c.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := ml.Super(t, "postgres").Exec(t.Context(), "GRANT USAGE ON SCHEMA pgml TO app; DROP TABLE secrets"); err != nil {
		t.Fatal(err)
	}
	config := "primary: {url: \"" + primary.URL("app", "postgres") + "\"}\n" +
		"replicas: [{name: ml1, url: \"" + ml.URL("app", "postgres") + "\", feed: fdw, tables: [\"public.*\", \"!secrets\"]}]\n" +
		"auth: {users: [{name: app, password: x}]}\n"
	r, err := checkJSON(t, config)
	if err != nil || !r.OK {
		t.Errorf("error %v in %+v", err, r)
	}
	r.expect(t, "config", "config", levelOK, "valid")
	r.expect(t, "primary", "reachable", levelOK, "answers in")
	r.expect(t, "primary", "version", levelOK, "PostgreSQL")
	r.expect(t, "primary", "role", levelOK, "takes writes")
	r.expect(t, "primary", "pgml", levelOK, "needs none")
	r.expect(t, "primary", "users", levelOK, "app may log in")
	r.expect(t, "ml1", "login", levelOK, "as app")
	r.expect(t, "ml1", "pgml", levelNote, "stand-in")
	if here, there := ml.Binaries.Major(), primary.Binaries.Major(); here == there {
		r.expect(t, "ml1", "differs", levelOK, "as on the primary")
	} else {
		r.expect(t, "ml1", "differs", levelNote, fmt.Sprintf("major version is %d, the primary's is %d", here, there))
	}
	r.expect(t, "ml1", "tables", levelOK, "has all 1 tables")

	text, err := checkOutput(t, config, checkOptions{colour: true})
	if err != nil || !strings.Contains(text, "\x1b[32mok      \x1b[0m PostgreSQL") || !strings.Contains(text, "0 problems") {
		t.Errorf("error %v in:\n%s", err, text)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	primary := pgtest.Primary(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica", "timezone": "Asia/Tokyo"}})
	c := primary.Super(t, "postgres")
	for _, sql := range []string{
		"CREATE DATABASE latin TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
		"CREATE TABLE orders (id int)",
	} {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	ml := pgtest.Replica(t, pgtest.Options{HBA: "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"})
	config := "primary: {url: \"" + primary.URL("postgres", "postgres") + "\"}\n" +
		"replicas:\n" +
		"  - {name: fed, url: \"" + ml.URL("postgres", "postgres") + "\", feed: logical, tables: [orders, \"dwh.*\"]}\n" +
		"  - {name: itself, url: \"" + primary.URL("postgres", "latin") + "\"}\n" +
		"  - {name: locked, url: \"" + ml.URL("nobody", "postgres") + "\"}\n" +
		"  - {name: lost, url: \"" + ml.URL("postgres", "no_such") + "\"}\n" +
		"  - {name: away, url: \"postgres://x@127.0.0.1:1/x\"}\n" +
		"auth: {users: [{name: ghost, password: x}]}\n" +
		"pool: {size: 100000}\n"
	r, err := checkJSON(t, config)
	if !errors.Is(err, exitFinding) || r.OK {
		t.Errorf("error %v, ok %v", err, r.OK)
	}
	r.expect(t, "primary", "login", levelNote, "a superuser")
	r.expect(t, "primary", "connections", levelProblem, "100000")
	r.expect(t, "primary", "wal_level", levelProblem, "needs logical")
	r.expect(t, "primary", "users", levelProblem, `no role "ghost"`)
	r.expect(t, "fed", "feed", levelProblem, "no subscription")
	r.expect(t, "fed", "differs", levelNote, "Asia/Tokyo")
	r.expect(t, "fed", "tables", levelProblem, "lacks 1 of the 1 tables of its feed: public.orders")
	r.expect(t, "fed", "tables", levelNote, `"dwh.*" matches no table`)
	r.expect(t, "itself", "same", levelProblem, "same server as the primary")
	r.expect(t, "itself", "pgml", levelProblem, "not installed")
	r.expect(t, "locked", "login", levelProblem, "refuses the login")
	r.expect(t, "lost", "login", levelProblem, "3D000")
	r.expect(t, "away", "reachable", levelProblem, "cannot be reached")
}

func TestCheckOfBadConfigurationIsUsage(t *testing.T) {
	const config = "primary: {url: \"postgres://app:hunter2@db/production\"}\nlisen: x\n"
	text, err := checkOutput(t, config, checkOptions{})
	if !errors.Is(err, exitUsage) || !strings.Contains(text, "pgshunt.yaml:2:1: lisen: unknown key") {
		t.Errorf("error %v in:\n%s", err, text)
	}
	r, err := checkJSON(t, config)
	if !errors.Is(err, exitUsage) || r.OK || !strings.Contains(r.Error, "unknown key") || strings.Contains(r.Error, "hunter2") {
		t.Errorf("error %v in %+v", err, r)
	}
	cmd := checkCommand()
	cmd.SetArgs([]string{"-c", filepath.Join(t.TempDir(), "absent.yaml")})
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	if err := cmd.ExecuteContext(t.Context()); !errors.Is(err, exitUsage) || !strings.Contains(out.String(), "no such file") {
		t.Errorf("error %v: %s", err, out.String())
	}
}

// Of a primary with several hosts, each is looked at.
func TestCheckLooksAtEveryHostOfThePrimary(t *testing.T) {
	first := pgtest.Primary(t)
	second := pgtest.Standby(t, first)
	other := pgtest.Primary(t)
	hosts := func(ports ...int) string {
		var list []string
		for _, p := range ports {
			list = append(list, fmt.Sprintf("127.0.0.1:%d", p))
		}
		return fmt.Sprintf("auth: {method: trust}\nprimary: {url: \"postgres://postgres@%s/postgres?sslmode=disable\"}\n", strings.Join(list, ","))
	}
	r, err := checkJSON(t, hosts(second.Port, first.Port))
	if err != nil || !r.OK {
		t.Errorf("error %v in %+v", err, r)
	}
	r.expect(t, "primary", "host", levelOK, fmt.Sprintf("127.0.0.1:%d is a standby", second.Port))
	r.expect(t, "primary", "host", levelOK, fmt.Sprintf("127.0.0.1:%d is the primary", first.Port))
	r.expect(t, "primary", "reachable", levelOK, fmt.Sprintf("127.0.0.1:%d answers in", first.Port))
	r.expect(t, "primary", "role", levelOK, "takes writes")
	nobody := nobodyThere(t)
	r, _ = checkJSON(t, strings.Replace(hosts(first.Port), "/postgres?", ","+nobody+"/postgres?", 1))
	r.expect(t, "primary", "host", levelNote, nobody+" cannot be asked")
	r, err = checkJSON(t, hosts(first.Port, other.Port))
	if !errors.Is(err, exitFinding) {
		t.Errorf("two primaries: %v", err)
	}
	r.expect(t, "primary", "host", levelProblem, "only one may")
}
