package proxy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// Scenario 7: settings of the startup packet, by options or by their own names, hold on
// the primary and on replicas; pgshunt's own are heard by no server, also not when they
// are set later or when the connection is one for replication.
func TestOwnSettingsAreNotForwarded(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	const (
		settings = "SELECT current_setting('search_path'), current_setting('work_mem'), current_setting('app.tenant'), current_setting('DateStyle')"
		beside   = settings + " FROM pgml.version()"
	)
	want := enter(t, address(primary), db, "options", `-c search_path=x,public -cwork_mem=77kB`, "app.tenant", "a 'b'", "datestyle", "german").query(settings)
	marks := map[*pgtest.Server]int{primary: primary.Mark(t), replica: replica.Mark(t)}
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, replicas: []*pgtest.Server{replica}, replicaDatabase: other})
		for name, own := range map[string][]string{
			"by options":      {"options", `-c search_path=x,public -c pgshunt.route=primary --pgshunt.note=private -cwork_mem=77kB`},
			"by their names":  {"search_path", "x,public", "PGSHUNT.route", "primary", "pgshunt.note", "private", "options", "-c work_mem=77kB"},
			"none of our own": {"options", `-c search_path=x,public -cwork_mem=77kB`},
		} {
			params := append([]string{"app.tenant", "a 'b'", "datestyle", "german"}, own...)
			c := enter(t, f.addr, db, params...)
			if got := c.query(settings); !slices.Equal(got, want) {
				t.Errorf("%s, on the primary: %q, PostgreSQL %q", name, got, want)
			}
			c.query("SET pgshunt.route = 'replica'")
			if got := c.query(beside); !slices.Equal(got, want) {
				t.Errorf("%s, on the replica: %q, the primary %q", name, got, want)
			}
			_ = c.Close()
			w := enter(t, f.addr, db, append(params, "replication", "database")...)
			if got := joined(w.query("SHOW work_mem")); !strings.Contains(got, "row 77kB") {
				t.Errorf("%s, for replication: %q", name, got)
			}
			_ = w.Close()
		}
	})
	for server, mark := range marks {
		for _, line := range server.LogLines(t, mark) {
			if strings.Contains(strings.ToLower(line.Text), "pgshunt.") && !strings.Contains(line.Text, "SET pgshunt.route") {
				t.Errorf("a server was told %q", line.Text)
			}
		}
	}
}

// Scenario 13: what servers report is the primary's, whatever the replica's version and
// settings are; the client hears nothing of the replica's own.
func TestParametersAreThePrimarys(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	replica := pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	for _, set := range []string{"TimeZone = 'Asia/Kolkata'", "DateStyle = 'german'", "IntervalStyle = 'iso_8601'", "default_transaction_read_only = on", "application_name = 'theirs'"} {
		replica.Exec(t, "ALTER DATABASE "+other+" SET "+set)
	}
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	login := func(addr string) (*client, map[string]string) {
		c := dial(t, addr)
		c.startup("user", "postgres", "database", db)
		told := map[string]string{}
		for {
			m, err := c.fe.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.ParameterStatus:
				told[m.Name] = m.Value
			case *pgproto3.ReadyForQuery:
				return c, told
			}
		}
	}
	_, want := login(address(primary))
	c, told := login(f.addr)
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-PostgreSQL +pgshunt):\n%s", diff)
	}
	mark := replica.Mark(t)
	for i := range 3 {
		c.send(&pgproto3.Query{String: fmt.Sprintf("SELECT %d, pgml.version()", i)})
		for done := false; !done; {
			m, err := c.fe.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.ParameterStatus:
				t.Errorf("the client is told %s = %q", m.Name, m.Value)
			case *pgproto3.ErrorResponse:
				t.Error(m.Message)
			case *pgproto3.ReadyForQuery:
				done = true
			}
		}
	}
	if !replica.Saw(t, mark, "pgml.version") {
		t.Error("nothing ran on the replica")
	}
}

// Scenario 23: a parameter that the primary takes and the replica refuses, as those of
// an extension that only one of them has loaded, does not break what runs there.
func TestParameterThatTheReplicaRefuses(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	other := replica.NewDatabase(t)
	replica.Exec(t, "ALTER DATABASE "+other+" SET session_preload_libraries = 'plpgsql'") // which knows its values then
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	c := enter(t, f.addr, primary.NewDatabase(t))
	direct := enter(t, address(replica), other)
	if got := joined(direct.query("SET plpgsql.variable_conflict = 'x'")); !strings.HasPrefix(got, "ERROR ") {
		t.Fatalf("the replica takes it: %q", got)
	}
	for _, sql := range []string{"SET plpgsql.variable_conflict = 'x'", "SET DateStyle = 'german'"} {
		if got := joined(c.query(sql)); got != "SET; ready I" {
			t.Errorf("%s: %q", sql, got)
		}
	}
	for range 2 {
		if got := joined(c.query("SELECT date '2024-02-03', pgml.version() <> ''")); got != "RowDescription; row 03.02.2024,t; SELECT 1; ready I" {
			t.Errorf("on the replica: %q", got)
		}
		if got := joined(c.query("SHOW plpgsql.variable_conflict")); got != "RowDescription; row x; SHOW; ready I" {
			t.Errorf("on the primary: %q", got)
		}
	}
}
