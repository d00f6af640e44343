package proxy_test

import (
	"context"
	"crypto/tls"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// trainer is a proxy in front of a replica that trains as slowly as the test likes: the
// table that training reads is locked.
type trainer struct {
	*fixture
	t         *testing.T
	db, other string
	replica   *pgtest.Server
	lock      *pgx.Conn
	tls       *tls.Config
}

// training is a statement that trains a project.
func training(project string) string {
	return "SELECT * FROM pgml.train('" + project + "', 'regression', 'fit', 'y', algorithm => 'linear')"
}

func newTrainer(t *testing.T, finish bool, c setup) *trainer {
	t.Helper()
	w := &trainer{t: t, replica: pgtest.SharedReplica(t)}
	w.db, w.other = pgtest.SharedPrimary(t).NewDatabase(t), w.replica.NewDatabase(t)
	const fit = "CREATE TABLE fit AS SELECT i::float8 AS x, (2 * i)::float8 AS y FROM generate_series(1, 20) i"
	w.replica.ExecIn(t, w.other, fit)
	pgtest.SharedPrimary(t).ExecIn(t, w.db, "CREATE TABLE t (v int)")
	pgtest.NoLeaks(t)
	ca := newAuthority(t)
	w.tls = &tls.Config{RootCAs: ca.pool, ServerName: "localhost"}
	c.replicaDatabase = w.other
	if c.primary == nil {
		c.replicas = []*pgtest.Server{w.replica}
	} else {
		w.db = w.other
	}
	c.proxy.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue("pgshunt")}}
	c.proxy.FinishTraining = finish
	w.fixture = start(t, c)
	w.hold()
	return w
}

// hold has all training wait from now on.
func (w *trainer) hold() {
	w.t.Helper()
	w.lock = w.replica.Super(w.t, w.other)
	for _, sql := range []string{"BEGIN", "LOCK TABLE fit IN ACCESS EXCLUSIVE MODE"} {
		if _, err := w.lock.Exec(context.Background(), sql); err != nil {
			w.t.Fatal(err)
		}
	}
}

// free has all training go on.
func (w *trainer) free() { _ = w.lock.Close(context.Background()) }

// fitting waits until so many trainings are at work.
func (w *trainer) fitting(want int) {
	w.t.Helper()
	n := 0
	if !pgtest.Eventually(func() bool {
		n = count(w.t, w.replica, `SELECT FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND wait_event_type = 'Lock'
			AND query LIKE '%pgml.train%'`, w.other)
		return n == want
	}) {
		w.t.Fatalf("%d trainings are at work, not %d", n, want)
	}
}

// logged waits for a line of the log.
func (w *trainer) logged(pattern string) {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	if !pgtest.Eventually(func() bool { return re.MatchString(w.log.String()) }) {
		w.t.Fatalf("nothing like %q in the log", pattern)
	}
}

// used waits until n backends of a server are in use.
func (w *trainer) used(target string, n int) {
	w.t.Helper()
	if !pgtest.Eventually(func() bool { return w.pools.Load(target) == n }) {
		w.t.Errorf("%d backends of %s in use, not %d", w.pools.Load(target), target, n)
	}
}

func (w *trainer) trained() int {
	w.t.Helper()
	var n int
	if err := w.replica.Super(w.t, w.other).QueryRow(w.t.Context(), "SELECT count(*)::int4 FROM pgml.models").Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// withoutLeaving is how a process ends that is killed, reset how one does whose machine has
// forgotten it, and politely how a driver closes.
func withoutLeaving(c *client) { _ = c.Close() }

func politely(c *client) {
	c.send(&pgproto3.Terminate{})
	_ = c.Close()
}

func reset(c *client) {
	nc := c.Conn
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	_ = nc.(*net.TCPConn).SetLinger(0)
	_ = nc.Close()
}

// inTransaction opens one on the primary that must not outlive its client.
func inTransaction(c *client) { c.query("BEGIN; INSERT INTO t VALUES (1)") }

// lostTrainings are the ways in which a client may be at a training when it vanishes.
var lostTrainings = map[string]struct {
	encrypted bool
	begin     func(c *client, project string)
	vanish    func(c *client)
}{
	"simple":        {begin: train, vanish: withoutLeaving},
	"simple-reset":  {begin: train, vanish: reset},
	"simple-tls":    {begin: train, vanish: withoutLeaving, encrypted: true},
	"extended":      {begin: func(c *client, project string) { c.send(batch(training(project))...) }, vanish: withoutLeaving},
	"by-parameters": {begin: byParameters, vanish: politely},
	"before-another": {begin: func(c *client, project string) {
		c.send(&pgproto3.Query{String: training(project)}, &pgproto3.Query{String: "SELECT 1"})
	}, vanish: withoutLeaving},
	"before-a-question": {begin: func(c *client, project string) {
		c.send(&pgproto3.Query{String: training(project)}, &pgproto3.Query{String: "SHOW pgshunt.pin"})
	}, vanish: withoutLeaving},
	"beside":          {begin: func(c *client, project string) { inTransaction(c); train(c, project) }, vanish: withoutLeaving},
	"beside-politely": {begin: func(c *client, project string) { inTransaction(c); train(c, project) }, vanish: politely},
	"beside-tls":      {begin: func(c *client, project string) { inTransaction(c); train(c, project) }, vanish: politely, encrypted: true},
	"beside-extended": {begin: func(c *client, project string) {
		inTransaction(c)
		c.send(batch(training(project))...)
	}, vanish: reset},
	"in-a-pipeline": {begin: func(c *client, project string) {
		inTransaction(c)
		var all []pgproto3.FrontendMessage
		for _, sql := range []string{"INSERT INTO t VALUES (2)", training(project), "INSERT INTO t VALUES (3)"} {
			all = append(all, batch(sql)[:3]...)
		}
		c.send(append(all, &pgproto3.Sync{})...)
	}, vanish: withoutLeaving},
}

func train(c *client, project string) { c.send(&pgproto3.Query{String: training(project)}) }

func byParameters(c *client, project string) {
	c.send(&pgproto3.Parse{Query: strings.Replace(training(""), "''", "$1", 1)},
		&pgproto3.Bind{Parameters: [][]byte{[]byte(project)}}, &pgproto3.Execute{}, &pgproto3.Sync{})
}

func batch(sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}
}

// vanish has a client begin a training and vanish in every way there is.
func (w *trainer) vanish() {
	w.t.Helper()
	for project, way := range lostTrainings {
		c, _ := lazyReader(w.t, w.addr, w.db, way.encrypted, w.tls)
		way.begin(c, project)
		w.t.Cleanup(func() { _ = c.Close() })
		defer way.vanish(c)
	}
	w.fitting(len(lostTrainings))
}
