package proxy_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// told is the parameters that the answer to a statement reports.
func (c *client) told(sql string) (got []string) {
	c.t.Helper()
	c.send(&pgproto3.Query{String: sql})
	for {
		m, err := c.fe.Receive()
		if err != nil {
			c.t.Fatalf("%s: %v", sql, err)
		}
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			got = append(got, m.Name+"="+m.Value)
		case *pgproto3.ErrorResponse:
			c.t.Errorf("%s: %s", sql, m.Message)
		case *pgproto3.ReadyForQuery:
			return got
		}
	}
}

// A client hears of a parameter when it changes it, once, and not of what is set on a replica, or
// on a connection that another session has had, to be as it has it.
func TestClientsHearOfTheirOwnParametersOnly(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	replica.ExecIn(t, other, "ALTER DATABASE "+other+" SET TimeZone = 'Asia/Kolkata'")
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	direct, c, neighbour := enter(t, address(primary), db), enter(t, f.addr, db), enter(t, f.addr, db, "timezone", "Asia/Tokyo")
	const beside = "SELECT pgml.version(), timestamptz '2024-01-02 03:04+00'"
	for _, sql := range []string{
		"SET TimeZone = 'America/New_York'", beside, "SET TimeZone = 'America/New_York'", "SET work_mem = '1MB'", beside,
		"SET DateStyle = 'german'; SET IntervalStyle = 'iso_8601'", "BEGIN", "SET LOCAL TimeZone = 'Asia/Tokyo'", beside, "ROLLBACK", "RESET ALL", beside,
		// Which PostgreSQL tells since version 18.
		"SET search_path = pg_catalog, public", beside, "BEGIN", "SET LOCAL search_path = public", beside, "COMMIT", "RESET search_path", beside,
	} {
		var want []string
		if sql != beside { // which the primary cannot run, and which sets nothing
			want = direct.told(sql)
		}
		if got := c.told(sql); !slices.Equal(got, want) {
			t.Errorf("%s: told %q, PostgreSQL tells %q", sql, got, want)
		}
		for _, sql := range []string{"SELECT timestamptz '2024-01-02 03:04+00'", beside} {
			if got := neighbour.told(sql); len(got) > 0 {
				t.Errorf("a neighbour is told %q", got)
			}
		}
	}
}
