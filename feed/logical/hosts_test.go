package logical

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// hosts makes a primary's URL of several servers.
func hosts(servers ...*pgtest.Server) configs.URL {
	var all []string
	for _, s := range servers {
		all = append(all, fmt.Sprintf("127.0.0.1:%d", s.Port))
	}
	return configs.URL("postgres://postgres@" + strings.Join(all, ",") + "/postgres?sslmode=disable")
}

// Where primary.url names the standby too nobody has to tell the subscription of a failover, nor
// pgshunt; what can be told of it is told.
func TestFailoverBetweenSeveralHosts(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	fails := r.primary.Binaries.Major() >= 17
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
	var standby *pgtest.Server
	if fails {
		standby = r.follower(t)
	} else {
		standby = pgtest.Standby(t, r.primary)
	}
	// The standby comes first, and is passed over.
	r.cfg.Primary.URL = hosts(standby, r.primary)
	r.apply(t)
	if fails {
		r.followed(t, standby)
	}
	if state := r.state(t); state.State != "ready" || slices.ContainsFunc(state.Problems, func(p feed.Problem) bool { return p.Blocks || p.Check == "hosts" }) {
		t.Errorf("%+v", state)
	}
	old := r.primary
	r.primary.Exec(t, "INSERT INTO t VALUES (1000)")
	if !pgtest.Eventually(func() bool { return ask(t, standby, "SELECT count(*)::text FROM t") == "101" }) {
		t.Fatal("the standby does not follow")
	}
	old.Kill()
	standby.Exec(t, "SELECT pg_promote()")
	r.primary = standby
	standby.Exec(t, "INSERT INTO t VALUES (1001)")
	if !fails {
		r.fedAnew(t, "has no slot")
	}
	r.equal(t)
	state := r.state(t)
	if state.State != "ready" {
		t.Errorf("%+v", state)
	}
	if fails {
		if p := problem(t, state, "failover"); p.Blocks || !strings.Contains(p.What, "(timeline 1, now 2)") {
			t.Errorf("%+v", p)
		}
		r.told()
		r.apply(t)
		if done := did(r.told(), feed.StatusDone); !slices.Equal(done, []string{"note which primary the subscription follows"}) {
			t.Errorf("apply did %q", done)
		}
	}
	if slices.ContainsFunc(r.state(t).Problems, func(p feed.Problem) bool { return p.Check == "failover" }) {
		t.Error("the failover is still told of")
	}
	r.comesBack(t, old)
}

// comesBack starts the old primary, which takes writes: with its address in the URL it is told of,
// and so it is where it is the only one there.
func (r *rig) comesBack(t *testing.T, old *pgtest.Server) {
	t.Helper()
	if err := old.Restart(limited(t)); err != nil {
		t.Fatal(err)
	}
	old.Exec(t, "INSERT INTO t SELECT generate_series(2000, 5000)")
	if p := problem(t, r.state(t), "hosts"); !p.Blocks || !strings.Contains(p.What, fmt.Sprintf("127.0.0.1:%d (timeline 1) take writes", old.Port)) {
		t.Errorf("%+v", p)
	}
	if err := Apply(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "take writes, and only one may") {
		t.Errorf("%v", err)
	}
	r.cfg.Primary.URL = hosts(old)
	if p := problem(t, r.state(t), "returned"); !p.Blocks || !strings.Contains(p.What, "has followed timeline 2 of the primary, and this server is on timeline 1") {
		t.Errorf("%+v", p)
	}
	if err := Apply(limited(t), r.run(t)); err == nil || !strings.Contains(err.Error(), "has come back") {
		t.Errorf("%v", err)
	}
	r.cfg.Primary.URL = hosts(r.primary)
	r.apply(t)
	r.equal(t)
}

// Two names of one server, as an address that moves and its own, are no two servers.
func TestTwoNamesOfThePrimary(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"t"} })
	r.primary.Exec(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
	r.cfg.Primary.URL = configs.URL(fmt.Sprintf("postgres://postgres@localhost:%d,127.0.0.1:%[1]d/postgres?sslmode=disable", r.primary.Port))
	r.apply(t)
	r.equal(t)
	if state := r.state(t); state.State != "ready" || slices.ContainsFunc(state.Problems, func(p feed.Problem) bool { return p.Check == "hosts" }) {
		t.Errorf("%+v", state)
	}
}
