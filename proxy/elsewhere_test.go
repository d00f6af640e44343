package proxy_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

const gone1 = `ERROR 08006 connection to server "ml1" was lost; ready `

// dying is a replica that ends every connection at its first statement, after an answer
// that it may give.
func dying(t *testing.T, answer ...pgproto3.BackendMessage) *pgtest.Server {
	return startFake(t, func(fc *fakeConn) {
		if len(answer) > 0 {
			fc.say(answer...)
		}
	}).server()
}

// A read that a replica has not begun to answer goes to another one when it is lost.
func TestReadOfALostReplicaGoesElsewhere(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{first: true, replicas: []*pgtest.Server{dying(t), replica}, replicaDatabase: other})
	const ask = "SELECT pgml.embed('m', 'x') IS NOT NULL"
	c := enter(t, f.addr, db)
	mark := replica.Mark(t)
	if got := joined(c.query(ask)); got != "RowDescription; row t; SELECT 1; ready I" {
		t.Errorf("simple: %q", got)
	}
	if !replica.Saw(t, mark, "pgml.embed") {
		t.Error("the second replica has not been asked")
	}
	c.send(&pgproto3.Parse{Query: ask}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if got := joined(c.answer()); got != "ParseComplete; BindComplete; RowDescription; row t; SELECT 1; ready I" {
		t.Errorf("extended: %q", got)
	}
	c.send(&pgproto3.Parse{Name: "s", Query: ask}, &pgproto3.Describe{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{})
	if got := joined(c.answer()); got != "ParseComplete; ParameterDescription; RowDescription; ready I" {
		t.Errorf("prepare: %q", got)
	}
	for range 2 {
		c.send(&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := joined(c.answer()); got != "BindComplete; row t; SELECT 1; ready I" {
			t.Errorf("prepared: %q", got)
		}
	}
	c.send(&pgproto3.Parse{Name: "s", Query: ask}, &pgproto3.Sync{})
	if got := joined(c.answer()); got != `ERROR 42P05 prepared statement "s" already exists; ready I` {
		t.Errorf("prepared twice: %q", got)
	}
	c.works()
}

// Nothing else is sent twice.
func TestOnlyUnansweredReadsGoElsewhere(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	const ask = "SELECT pgml.embed('m', 'x') IS NOT NULL"
	long := "SELECT pgml.embed('m', '" + strings.Repeat("x", 5000) + "') IS NOT NULL"
	for name, test := range map[string]struct {
		answer  []pgproto3.BackendMessage
		before  string
		send    []pgproto3.FrontendMessage
		want    string
		further string // the answer to a second batch in the pipeline
	}{
		"has been answered in part": {
			answer: []pgproto3.BackendMessage{column, row("x")},
			send:   []pgproto3.FrontendMessage{&pgproto3.Query{String: ask}}, want: "RowDescription; row x; " + gone1 + "I",
		},
		"in a transaction": {before: "BEGIN", send: []pgproto3.FrontendMessage{&pgproto3.Query{String: ask}}, want: gone1 + "E"},
		"training":         {send: []pgproto3.FrontendMessage{&pgproto3.Query{String: "SELECT pgml.train('p', 'regression', 't', 'y')"}}, want: gone1 + "I"},
		"copy":             {send: []pgproto3.FrontendMessage{&pgproto3.Query{String: "COPY (" + ask + ") TO STDOUT"}}, want: gone1 + "I"},
		"with a hint": {
			send: []pgproto3.FrontendMessage{&pgproto3.Query{String: "/*+ pgshunt: replica:ml1 */ " + ask}}, want: gone1 + "I",
		},
		"too long to be kept": {send: []pgproto3.FrontendMessage{&pgproto3.Query{String: long}}, want: gone1 + "I"},
		"something behind it": {
			send: []pgproto3.FrontendMessage{&pgproto3.Query{String: ask}, &pgproto3.Query{String: "SELECT 7"}},
			want: gone1 + "I", further: "RowDescription; row 7; SELECT 1; ready I",
		},
		"a function that may write": {send: []pgproto3.FrontendMessage{&pgproto3.Query{String: "SELECT put(), pgml.embed('m', 'x')"}}, want: gone1 + "I"},
		"a sequence": {
			send: []pgproto3.FrontendMessage{&pgproto3.Query{String: "/*+ pgshunt: replica */ SELECT nextval('s'), pgml.embed('m', 'x')"}}, want: gone1 + "I",
		},
		"a temporary table": {
			send: []pgproto3.FrontendMessage{&pgproto3.Query{String: "CREATE TEMP TABLE mine AS SELECT pgml.embed('m', 'x')"}}, want: gone1 + "I",
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, other := primary.NewDatabase(t), replica.NewDatabase(t)
			pgtest.NoLeaks(t)
			f := start(t, setup{first: true, replicas: []*pgtest.Server{dying(t, test.answer...), replica}, replicaDatabase: other, trainers: 1})
			c := enter(t, f.addr, db)
			mark := replica.Mark(t)
			if test.before != "" {
				c.query(test.before)
			}
			c.send(test.send...)
			if got := joined(c.answer()); got != test.want {
				t.Errorf("got %q, not %q", got, test.want)
			}
			if test.further != "" {
				if got := joined(c.answer()); got != test.further {
					t.Errorf("then %q", got)
				}
			}
			c.query("ROLLBACK")
			c.works()
			for _, st := range replica.Statements(t, mark) {
				if st.Database == other && strings.Contains(st.SQL, "pgml") {
					t.Errorf("the second replica was sent %q", st.SQL)
				}
			}
		})
	}
}

// A replica that cannot be logged in to is replaced too, also beside a transaction, since
// nothing has run; and where there is none the answer says so.
func TestReplicaThatIsNotThere(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	absent := startFake(t, nil)
	absent.close()
	const ask = "SELECT pgml.embed('m', 'x') IS NOT NULL"
	t.Run("another is", func(t *testing.T) {
		pgtest.NoLeaks(t)
		f := start(t, setup{first: true, replicas: []*pgtest.Server{absent.server(), replica}, replicaDatabase: other})
		c := enter(t, f.addr, db)
		for _, status := range []string{"I", "T"} {
			if got := joined(c.query(ask)); got != "RowDescription; row t; SELECT 1; ready "+status {
				t.Errorf("simple: %q", got)
			}
			c.send(&pgproto3.Parse{Query: ask}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			if got := joined(c.answer()); got != "ParseComplete; BindComplete; row t; SELECT 1; ready "+status {
				t.Errorf("extended: %q", got)
			}
			c.query("BEGIN")
		}
	})
	t.Run("none is", func(t *testing.T) {
		pgtest.NoLeaks(t)
		f := start(t, setup{first: true, replicas: []*pgtest.Server{absent.server(), absent.server()}})
		c := enter(t, f.addr, db)
		if got := joined(c.query(ask)); got != "ERROR 57P03 no PostgresML server can be reached; ready I" {
			t.Errorf("got %q", got)
		}
		c.query("BEGIN; SAVEPOINT a")
		if got := joined(c.query(ask)); got != "ERROR 57P03 no PostgresML server can be reached; ready E" {
			t.Errorf("in a transaction: %q", got)
		}
		if got := joined(c.query("ROLLBACK TO a")); got != "ROLLBACK; ready T" {
			t.Errorf("back to the savepoint: %q", got)
		}
		if got := joined(c.query("COMMIT")); got != "COMMIT; ready I" {
			t.Errorf("commit: %q", got)
		}
	})
}
