package proxy_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// welcomeOf is what a login is told of parameters, and the error or status that ends it.
func welcomeOf(t *testing.T, addr, database string, params ...string) (told map[string]string, end string) {
	t.Helper()
	c := dial(t, addr)
	c.startup(append([]string{"user", "postgres", "database", database}, params...)...)
	told = make(map[string]string)
	for {
		switch m, err := c.fe.Receive(); m := m.(type) {
		case *pgproto3.ParameterStatus:
			told[m.Name] = m.Value
		case *pgproto3.ReadyForQuery:
			return told, "ready"
		case *pgproto3.ErrorResponse:
			return told, m.Message
		default:
			if err != nil {
				return told, err.Error()
			}
		}
	}
}

// Clients with names of their own do not each need a server process to be let in, and
// are told their names as PostgreSQL does.
func TestClientsWithDifferentNamesAreWelcomed(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	odd := []string{"z\u00fcrich", "tab\there", strings.Repeat("x", 64), strings.Repeat("x", 80)}
	for _, name := range append([]string{"first"}, odd...) {
		welcomeOf(t, f.addr, db, "application_name", name)
	}
	holder := enter(t, f.addr, db, "application_name", "holder")
	holder.query("BEGIN") // has the only server process
	names := append([]string{"", "it's", "a b", "~", strings.Repeat("x", 63)}, odd...)
	for i := range 20 {
		names = append(names, fmt.Sprint("client", i))
	}
	for _, name := range names {
		want, _ := welcomeOf(t, address(primary), db, "application_name", name)
		if got, end := welcomeOf(t, f.addr, db, "application_name", name); end != "ready" || !maps.Equal(got, want) {
			t.Fatalf("%q is told %v, not %v: %s", name, got, want, end)
		}
	}
	holder.query("ROLLBACK")
	for _, name := range []string{"", "client1"} {
		c := enter(t, f.addr, db, "application_name", name)
		if got := joined(c.query("SHOW application_name")); got != "RowDescription; row "+name+"; SHOW; ready I" {
			t.Errorf("%q is shown %q", name, got)
		}
	}
	// The server's own is another matter.
	want, _ := welcomeOf(t, address(primary), db)
	if got, end := welcomeOf(t, f.addr, db); end != "ready" || !maps.Equal(got, want) {
		t.Errorf("without a name a client is told %v, not %v: %s", got, want, end)
	}
}
