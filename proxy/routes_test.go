package proxy_test

import (
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
					ReadsPolicy    string           `json:"reads_policy"`
					TrainingPolicy string           `json:"training_policy"`
					Rules          []map[string]any `json:"rules"`
				} `json:"session"`
			} `json:"cases"`
		}
		if err := json.Unmarshal([]byte(read(t, file)), &corpus); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range corpus.Cases {
			if !c.Wire || len(c.Session.Rules) > 0 {
				continue
			}
			cases++
			policy := router.Config{Reads: c.Session.ReadsPolicy, InTransaction: c.Session.TrainingPolicy}
			key := policy.Reads + "/" + policy.InTransaction
			if proxies[key] == nil {
				proxies[key] = start(t, setup{primary: primary, replicas: replicas, trainers: 1, policy: policy})
			}
			c.Case.Session = c.Session.CaseSession
			t.Run(filepath.Base(file)+"/"+c.SQL, func(t *testing.T) {
				onTheWire(t, proxies[key], servers, &c.Case)
			})
		}
	}
	if cases < 150 {
		t.Errorf("%d cases on the wire, expected at least 150", cases)
	}
}

// onTheWire runs one case in a session of its own.
func onTheWire(t *testing.T, f *fixture, servers map[string]*pgtest.Server, c *router.Case) {
	conn := pgtest.Connect(t, f.url("postgres", "postgres"))
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

// received tells whether a server was given the statement.
func received(s *pgtest.Server, t *testing.T, mark int, sql string) bool {
	for _, line := range s.LogLines(t, mark) {
		if strings.Contains(line.Text, strings.TrimSpace(sql)) {
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
