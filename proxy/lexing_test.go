package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// Scenarios 85 and 86, where the setting was there at the login: by the startup packet
// in any spelling, or as the role's own. The texts are strings for the server, and end
// in a call of PostgresML for who reads them otherwise. PostgreSQL is asked the same.
func TestTextsUnderSettingsOfTheLogin(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	primary.Exec(t, "CREATE ROLE lexing_off LOGIN; ALTER ROLE lexing_off SET standard_conforming_strings = off; CREATE ROLE lexing_sjis LOGIN; ALTER ROLE lexing_sjis SET client_encoding = 'SJIS'")
	t.Cleanup(func() { primary.Exec(t, "DROP ROLE lexing_off, lexing_sjis") })
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	const (
		backslash = `SELECT 'it\', pgml.version() -- '`
		bytes     = "SELECT E'\xe3\x81\x83\\' AS a, ' , pgml.version() , ' AS b"
	)
	for name, c := range map[string]struct {
		params []string
		sql    string
	}{
		"off":            {[]string{"user", "postgres", "standard_conforming_strings", "off"}, backslash},
		"0":              {[]string{"user", "postgres", "standard_conforming_strings", "0"}, backslash},
		"FALSE":          {[]string{"user", "postgres", "options", "-c standard_conforming_strings=FALSE"}, backslash},
		"role's":         {[]string{"user", "lexing_off"}, backslash},
		"SJIS":           {[]string{"user", "postgres", "client_encoding", "SJIS"}, bytes},
		"another name":   {[]string{"user", "postgres", "client_encoding", "Windows-932"}, bytes},
		"role's own one": {[]string{"user", "lexing_sjis"}, bytes},
	} {
		t.Run(name, func(t *testing.T) {
			mark := replica.Mark(t)
			var said [2]string
			for i, addr := range []string{address(primary), f.addr} {
				cl := dial(t, addr)
				cl.startup(append(c.params, "database", db)...)
				cl.answer()
				simple := joined(cl.query(c.sql))
				cl.send(&pgproto3.Parse{Query: c.sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
				said[i] = simple + "\n" + joined(cl.answer())
				_ = cl.Close()
			}
			if diff := cmp.Diff(said[0], said[1]); diff != "" || strings.Contains(said[0], "ERROR") {
				t.Errorf("PostgreSQL says %q (-PostgreSQL +pgshunt):\n%s", said[0], diff)
			}
			if replica.Saw(t, mark, "pgml.version") {
				t.Error("the replica was asked")
			}
		})
	}
}

// A text that a client sends again is another one when a setting has changed meanwhile. It
// is changed by a named statement, which leaves the unnamed one there.
func TestSameTextAgainUnderAnotherSetting(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	direct, through := enter(t, address(primary), db), enter(t, f.addr, db)
	batch := func(c *client, name, sql string) string {
		c.send(&pgproto3.Parse{Name: name, Query: sql}, &pgproto3.Bind{PreparedStatement: name}, &pgproto3.Execute{}, &pgproto3.Sync{})
		return joined(c.answer())
	}
	const sql, set = `SELECT 'it\', pgml.version() -- '`, "SET standard_conforming_strings = off"
	mark := replica.Mark(t)
	batch(through, "", sql)
	if !replica.Saw(t, mark, "pgml.version") {
		t.Fatal("the replica was not asked before")
	}
	batch(through, "s", set)
	batch(direct, "s", set)
	mark = replica.Mark(t)
	if want, got := batch(direct, "", sql), batch(through, "", sql); got != want {
		t.Errorf("PostgreSQL says %q, pgshunt %q", want, got)
	}
	if replica.Saw(t, mark, "pgml.version") {
		t.Error("the replica was asked")
	}
}

// Scenario 84: texts that are too much to be parsed here go to the primary as they are,
// and get its answer, be that an error about its own limits.
func TestTextsThatAreTooMuchToParse(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: "postgres"})
	deep := func(n int) string { return "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) }
	var list strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&list, "%d,", i)
	}
	texts := map[string]string{
		"10 MB":                      "SELECT length('" + strings.Repeat("x", 10<<20) + "')",
		"a list of 100,000":          "SELECT 77 IN (" + list.String() + "-1)",
		"2,000 parentheses":          deep(2000),
		"beyond the grammar's depth": deep(20_000),
		"200 subselects":             strings.Repeat("SELECT (", 200) + "SELECT 1" + strings.Repeat(")", 200),
		"a long chain of operators":  "SELECT 1" + strings.Repeat("+1", 5000),
		"nested functions":           "SELECT " + strings.Repeat("abs(", 3000) + "1" + strings.Repeat(")", 3000),
		"10 MB of comment":           "SELECT 1 /* " + strings.Repeat("pgml.embed('m', 'x') ", 500_000) + "*/",
		"10 MB with a mistake":       "SELEC '" + strings.Repeat("x", 10<<20) + "'",
	}
	cut := func(s string) string { return fmt.Sprintf("%.300s", s) }
	for name, sql := range texts {
		t.Run(name, func(t *testing.T) {
			direct, through := enter(t, address(primary), db), enter(t, f.addr, db)
			for _, messages := range [][]pgproto3.FrontendMessage{
				{&pgproto3.Query{String: sql}},
				{&pgproto3.Parse{Query: sql}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}},
			} {
				direct.send(messages...)
				want := cut(joined(direct.answer()))
				through.send(messages...)
				if got := cut(joined(through.answer())); got != want {
					t.Errorf("PostgreSQL says %q,\npgshunt %q", want, got)
				}
			}
			through.works()
			_ = through.Close()
			_ = direct.Close()
		})
	}
}
