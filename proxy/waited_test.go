package proxy_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// What a statement has waited for a backend is not allowed to it once more by the server,
// on either one and in either protocol; the statement after it has all of its time.
func TestWaitCountsForStatementTimeout(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	replica.ExecIn(t, other, "ALTER DATABASE "+other+" SET pgml_standin.embed_delay = '1.1'")
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, pool: pool.Config{Size: 1}})
	const timeout = 16000 // milliseconds; the holder keeps the backend for more than a sixteenth of it
	for _, server := range []struct{ name, target, hold, ask string }{
		{"primary", "primary", "SELECT pg_sleep(1.1)", "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"},
		{
			"replica", "ml1", "SELECT pgml.embed('m', 'x') IS NULL",
			"SELECT setting FROM pg_settings WHERE name = 'statement_timeout' AND pgml.version() IS NOT NULL",
		},
	} {
		ask := server.ask
		for protocol, messages := range map[string][]pgproto3.FrontendMessage{
			"simple":   {&pgproto3.Query{String: ask}},
			"extended": {&pgproto3.Parse{Query: ask}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}},
		} {
			holder, c := enter(t, f.addr, db), enter(t, f.addr, db)
			c.query("SET statement_timeout = " + strconv.Itoa(timeout))
			holder.send(&pgproto3.Query{String: server.hold})
			if !pgtest.Eventually(func() bool { return f.pools.Load(server.target) == 1 }) {
				t.Fatalf("%s, %s: nobody holds the backend", server.name, protocol)
			}
			c.send(messages...)
			allowed := func(when string) int {
				got := joined(c.answer())
				row := regexp.MustCompile(`row (\d+);`).FindStringSubmatch(got)
				if row == nil {
					t.Fatalf("%s, %s, %s: %q", server.name, protocol, when, got)
				}
				n, _ := strconv.Atoi(row[1])
				return n
			}
			if n := allowed("after a wait"); n == 0 || n > timeout-timeout/16 {
				t.Errorf("%s, %s: %d ms are allowed after a wait", server.name, protocol, n)
			}
			c.send(messages...)
			if n := allowed("at once"); n != timeout {
				t.Errorf("%s, %s: %d ms are allowed then", server.name, protocol, n)
			}
			holder.answer()
			_, _ = holder.Close(), c.Close()
		}
	}
}
