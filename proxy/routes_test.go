package proxy_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// TestRoutesOnTheWire sends the wire cases of testdata/routes through a proxy and
// asks the servers' logs which of them received the statement. What the router's
// own test decides on paper is here what happened.
func TestRoutesOnTheWire(t *testing.T) {
	primary := pgtest.Primary(t)
	replicas := []*pgtest.Server{pgtest.Replica(t), pgtest.Replica(t)}
	schema := read(t, "../testdata/routes/schema.sql")
	primary.Exec(t, schema)
	for _, r := range replicas {
		r.Exec(t, schema)
		r.Exec(t, read(t, "../testdata/routes/replica.sql"))
	}
	servers := map[string]*pgtest.Server{"primary": primary, "ml1": replicas[0], "ml2": replicas[1]}
	proxies := map[string]*fixture{}
	cases := 0
	files, err := filepath.Glob("../testdata/routes/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		var corpus struct {
			Cases []struct {
				router.Case
				Session struct {
					router.CaseSession
					routePolicy
				} `json:"session"`
			} `json:"cases"`
		}
		if err := json.Unmarshal([]byte(read(t, file)), &corpus); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range corpus.Cases {
			if !c.Wire {
				continue
			}
			cases++
			key, err := json.Marshal(c.Session.routePolicy)
			if err != nil {
				t.Fatal(err)
			}
			if proxies[string(key)] == nil {
				proxies[string(key)] = c.Session.start(t, primary, replicas)
			}
			c.Case.Session = c.Session.CaseSession
			t.Run(filepath.Base(file)+"/"+c.SQL, func(t *testing.T) {
				onTheWire(t, proxies[string(key)], servers, &c.Case)
			})
		}
	}
	if cases < 500 {
		t.Errorf("%d cases on the wire, expected at least 500", cases)
	}
}

// routePolicy is what a session of testdata/routes says of the policy and the servers.
type routePolicy struct {
	ReadsPolicy    string   `json:"reads_policy"`
	TrainingPolicy string   `json:"training_policy"`
	HintUsers      []string `json:"hint_users"`
	Rules          []struct {
		Match  map[string][]string `json:"match"`
		To     string              `json:"to"`
		Reject string              `json:"reject"`
	} `json:"rules"`
	Fleet string `json:"fleet"`
}

// start starts a proxy with that policy, in front of those servers.
func (p routePolicy) start(t *testing.T, primary *pgtest.Server, replicas []*pgtest.Server) *fixture {
	cfg := router.Config{Reads: p.ReadsPolicy, InTransaction: p.TrainingPolicy, HintUsers: p.HintUsers}
	for _, r := range p.Rules {
		cfg.Rules = append(cfg.Rules, router.Rule{To: r.To, Reject: r.Reject, Match: router.Match{
			Relation: r.Match["relation"], Function: r.Match["function"], Schema: r.Match["schema"],
			User: r.Match["user"], Database: r.Match["database"], Application: r.Match["application"],
			Kind: r.Match["kind"], Project: r.Match["project"], Transaction: strings.Join(r.Match["transaction"], ""),
		}})
	}
	if p.Fleet == "none" {
		replicas = nil
	}
	c := setup{primary: primary, replicas: replicas, trainers: 1, policy: cfg}
	if p.Fleet == "watched" {
		return watched(t, c, router.FeedNone, primary)
	}
	return start(t, c)
}

// onTheWire runs one case in a session of its own.
func onTheWire(t *testing.T, f *fixture, servers map[string]*pgtest.Server, c *router.Case) {
	conn := pgtest.Connect(t, f.url(cmp.Or(c.Session.User, "postgres"), "postgres"))
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	for _, sql := range c.Before {
		_, _ = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol) // may be meant to fail
	}
	marks := map[string]int{}
	for name, s := range servers {
		marks[name] = s.Mark(t)
	}
	_, err := conn.PgConn().Exec(ctx, c.SQL).ReadAll()
	if c.SQLState != "" {
		if pe := (*pgconn.PgError)(nil); !errors.As(err, &pe) || pe.Code != c.SQLState {
			t.Errorf("answered %v, expected SQLSTATE %s", err, c.SQLState)
		}
	}
	var got []string
	for _, name := range []string{"primary", "ml1", "ml2"} {
		if received(servers[name], t, marks[name], c.SQL) {
			got = append(got, name)
		}
	}
	if want := expectedServers(c); !slicesMeet(got, want) {
		t.Errorf("went to %v, expected one of %v (answer: %v)", got, want, err)
	}
	for _, sql := range c.After {
		_, _ = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	}
	_ = conn.Close(ctx)
}

// received tells whether a server was given the statement, by whoever is not the watcher.
func received(s *pgtest.Server, t *testing.T, mark int, sql string) bool {
	for _, line := range s.LogLines(t, mark) {
		if line.Application != "pgshunt fleet" && strings.Contains(line.Text, strings.TrimSpace(sql)) {
			return true
		}
	}
	return false
}

// expectedServers are the servers of which exactly one must have had the statement;
// none where it is refused.
func expectedServers(c *router.Case) []string {
	switch {
	case c.Place == "refused":
		return nil
	case c.Target != "":
		return []string{c.Target}
	case c.Place == "replica":
		return []string{"ml1", "ml2"}
	case c.Place == "stay" && c.Session.PinnedTo != "":
		return []string{c.Session.PinnedTo}
	}
	return []string{"primary"}
}

func slicesMeet(got, want []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	return len(got) == 1 && strings.Contains(strings.Join(want, " "), got[0])
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
