package main

import (
	"slices"
	"testing"
)

func TestScriptsAreCutAsPsqlDoes(t *testing.T) {
	s := &script{vars: map[string]string{}, env: map[string]string{"DIR": "/a'b"}, text: `-- a comment; with a semicolon
\getenv dir DIR
\set file :dir '/data/x'
SELECT 'a;b', "c;d", e'\';', $$;$$, $x$ ; $$ $x$, /* ; /* */ ; */ a::int, :'file', b[1:2];
COPY t FROM STDIN;
1	;a
\.
COPY t (nothing) FROM stdin;
SELECT 1 \; SELECT 2 \gset
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);
\d t
SELECT 3`}
	var got []command
	for {
		c, ok := s.next()
		if !ok {
			break
		}
		got = append(got, c)
	}
	want := []command{
		{sql: `SELECT 'a;b', "c;d", e'\';', $$;$$, $x$ ; $$ $x$, /* ; /* */ ; */ a::int, '/a''b/data/x', b[1:2]`},
		{sql: "COPY t FROM STDIN", data: "1\t;a\n", copies: true},
		{sql: "COPY t (nothing) FROM stdin", copies: true},
		{sql: "SELECT 1 ; SELECT 2"},
		{sql: "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"},
		{sql: "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"},
		{sql: "SELECT 3"},
	}
	if !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("statement %d\n got %+v\nwant %+v", i, got[i:min(i+1, len(got))], want[i:min(i+1, len(want))])
			}
		}
	}
}
