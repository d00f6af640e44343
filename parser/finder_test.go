package parser

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFinder(t *testing.T) {
	for text, want := range map[string]bool{
		"ALTER TABLE t ADD c int":                                        true,
		"/* a /* b */ c */ -- d\n drop\ttable t":                         true,
		"INSERT INTO t VALUES ('; drop table t'); SELECT":                false,
		"INSERT INTO t VALUES ('it''s'); drop table t;":                  true,
		`INSERT INTO t VALUES ('a\'); drop table t;`:                     true,
		`INSERT INTO t VALUES (E'a\'); drop table t;')`:                  false,
		`INSERT INTO t VALUES (E'a\\'); drop table t;`:                   true,
		"SELECT E'a'\n'\\'; drop table t; '":                             false,
		"SELECT E'a' -- x\n'\\'; drop table t":                           true,
		"SELECT E'a' -\n'\\'; drop table t":                              true,
		"SELECT E'a' /* x */\n '\\'; drop table t":                       true,
		"SELECT E'a'\n-- x\n'\\'; drop table t; '":                       false,
		"SELECT 'e'''; drop table t":                                     true,
		"SELECT $a$ ; drop table t $b$ $a $ $$ $a$; SELECT 1":            false,
		"SELECT $a$ ; $a$a$; drop table t":                               true,
		"SELECT $$ ; $$; drop table t":                                   true,
		"SELECT $1; drop table t":                                        true,
		"SELECT a$b$; drop table t":                                      true,
		`SELECT ";drop table t", "a""; drop table t"`:                    false,
		"SELECT 1 --; drop table t\n":                                    false,
		"SELECT 1 /*/; drop table t*/":                                   false,
		"SELECT 1 - 2 / 3; drop table t":                                 true,
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DROP TABLE t'": false,
		"CREATE OR REPLACE FUNCTION f() RETURNS void":                    false,
		"create or replace view v as select 1":                           false,
		"ALTER VIEW t RENAME a TO b":                                     true,
		"CREATE TEMP TABLE t (a int)":                                    false,
		"CREATE UNLOGGED TABLE t (a int)":                                true,
		"CREATE UNIQUE INDEX i ON t (a)":                                 true,
		"GRANT SELECT ON t TO a":                                         true,
		"REASSIGN OWNED BY a TO b":                                       true,
		"SELECT a, (SELECT 1) INTO u FROM t":                             true,
		"SELECT (SELECT 1 into x)":                                       false,
		"WITH a AS (SELECT 1), b (x) AS (VALUES (2)) SELECT x INTO u":    true,
		"((SELECT 1 INTO u))":                                            true,
		"(SELECT (SELECT 1)); drop table t":                              true,
		"(WITH a AS (SELECT 1) SELECT * INTO u FROM a)":                  true,
		"WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a":             false,
		"WITH update AS (SELECT 1) SELECT * FROM update":                 false,
		"WITH update AS (SELECT 1) SELECT * INTO u FROM update":          true,
		"it's\x00drop table t":                                           true, // as a name and a text of Parse
		"COMMENT ON TABLE t IS 'create'":                                 false,
		"":                                                               false,
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(text + ";"), "by bytes": iotest.OneByteReader(strings.NewReader(text + ";"))} {
			var f Finder
			piece := make([]byte, 512)
			found := false
			for {
				n, err := r.Read(piece)
				found = f.Find(piece[:n])
				if err != nil {
					break
				}
			}
			if found != want {
				t.Errorf("%s, %s: %t", text, name, found)
			}
		}
	}
	for text, want := range map[string]bool{`SELECT 'a\'; drop table t; '`: false, `SELECT 'a'; drop table t`: true} {
		f := Finder{Escapes: true}
		if f.Find([]byte(text+" ")) != want {
			t.Errorf("%s with escapes: %t", text, !want)
		}
	}
	text := []byte("SELECT E'\x83\\'; drop table t") // one character of SJIS, and the end
	if f := (Finder{Wide: true}); !f.Find(text) {
		t.Error("a byte of a character is taken for a backslash")
	}
	if f := (Finder{}); f.Find(text) {
		t.Error("a backslash is none")
	}
	text = []byte("SELECT E'\xb1\\\\'; drop table t") // a character, an escaped backslash, and the end
	if f := (Finder{Wide: true, Halfwidth: true}); !f.Find(text) {
		t.Error("a backslash is taken for half of a character")
	}
}

// A Finder agrees with the lexer about where strings and comments end.
func TestFinderAgreesWithTheLexer(t *testing.T) {
	fragments := []string{"'", "'", "''", `\`, " E'", "e'", " U&'", `"`, "$a$", "$$", "$", "--", "/*", "*/", "/", "*", "-", "\n", " ", "x", "1", "(", ")", ",", ",", ";", ";", "; drop table t ", "; drop table t "}
	for n := range 200_000 {
		r := rand.New(rand.NewPCG(uint64(n), 1))
		var text strings.Builder
		text.WriteString("SELECT ")
		for range r.IntN(12) {
			text.WriteString(fragments[r.IntN(len(fragments))])
		}
		l, first, want, bad := lexer{src: []byte(text.String())}, true, false, false
		for {
			k, start, end := l.next()
			if k == tokenEnd {
				break
			}
			bad = bad || k == tokenBad && end < len(l.src)
			if k == tokenSpace || k == tokenComment {
				continue
			}
			want = want || first && k == tokenWord && strings.EqualFold(string(l.src[start:end]), "drop")
			first = k == tokenOperator && l.src[start] == ';'
		}
		var f Finder
		if got := f.Find([]byte(text.String())); got != want && !bad {
			t.Fatalf("%q: %t, the lexer says %t", text.String(), got, want)
		}
	}
}
