package parser

import (
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v5"
)

func TestLexer(t *testing.T) {
	for text, want := range map[string]string{
		`SELECT 1`:                          "word space number",
		`a$b$ "x""y" U&"z"`:                 "word space quoted space quoted",
		`'a''b' E'a\'b' x'1f' U&'d' n'e'`:   "string space string space string space string space word string",
		"'a'\n  'b' 'c'":                    "string space string",
		"E'a' -- not here\n'b'":             "string space comment space string",
		"E'a'\n-- here\n'b\\'c'":            "string",
		`$$a'b$$ $x$ $$ $x$ $1 $12`:         "string space string space param space param",
		`/* a /* b */ c */1--d`:             "comment number comment",
		`1.5 .5 1e5 1e-5 1. 0xff 1_000 1..`: "number space number space number space number space number space number space number space number op",
		`a-1`:                               "word op number",
		`a::b[1]`:                           "word op op word op number op",
		`'open`:                             "bad",
		`/* open`:                           "bad",
		`"open`:                             "bad",
		`1a`:                                "bad word",
	} {
		l := lexer{src: []byte(text)}
		var got []string
		for {
			tok, start, end := l.next()
			if tok == tokenEnd {
				break
			}
			if end <= start {
				t.Fatalf("%q: no progress at %d", text, start)
			}
			got = append(got, tokenName(tok))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q\n got %s\nwant %s", text, s, want)
		}
	}
}

func tokenName(t token) string {
	return [...]string{"end", "space", "comment", "word", "quoted", "string", "number", "param", "op", "bad"}[t]
}

// FuzzLexer compares with PostgreSQL's own scanner: where that accepts a text, both see
// the same literals, parameters and identifiers in the same places.
func FuzzLexer(f *testing.F) {
	for _, s := range []string{
		"SELECT 1", "a$b 'c''d' E'\\'' $$x$$ $a$b$a$", "U&'\\0061' U&\"b\" x'1f' B'01' n'x'", "1.5e-3 .5 1..2 0x1f 1_0", "$1+$2::int--c\n/*d/*e*/*/",
		"'a'\n'b'", "E'a'\n'b\\''", "'a' --x\n'b'", "'a'\n--x\n'b'", "a.b(c=>1)", "\"a\"\"b\"", "a\u00e9$1b", "1e", "$1a", "e'\\\\'",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsRune(text, 0) || len(text) > 1000 {
			return
		}
		want, err := pg.Scan(text)
		if err != nil || !strings.HasPrefix(strings.ToValidUTF8(text, ""), text) {
			return
		}
		if strings.Contains(text, "--") || strings.Contains(text, "..") {
			// pg_query's scanner does not continue a string across a comment, PostgreSQL's
			// does; and it misplaces the end of some numbers before "..".
			return
		}
		got := significant([]byte(text))
		expected := scanned(want)
		for _, p := range got {
			if p.kind == "bad" {
				return // only means that the text has no normal form
			}
		}
		if len(got) != len(expected) {
			t.Fatalf("%q: %d tokens %v, expected %d %v", text, len(got), got, len(expected), expected)
		}
		for i := range got {
			if expected[i].end == 0 {
				got[i].end = 0 // Scan does not tell the end of U&'...'
			}
			if got[i] != expected[i] {
				t.Fatalf("%q: token %v, expected %v", text, got[i], expected[i])
			}
		}
	})
}

type place struct {
	kind       string
	start, end int
}

// significant lists the tokens whose extent matters to normal forms.
func significant(text []byte) (out []place) {
	l := lexer{src: text}
	for {
		tok, start, end := l.next()
		switch tok {
		case tokenEnd:
			return out
		case tokenNumber, tokenString, tokenParam:
			out = append(out, place{tokenName(tok), start, end})
		case tokenBad:
			out = append(out, place{"bad", start, end})
		}
	}
}

// scanned lists the same from PostgreSQL's scanner.
func scanned(r *pg.ScanResult) (out []place) {
	for _, tok := range r.Tokens {
		kind := ""
		switch tok.Token {
		case pg.Token_ICONST, pg.Token_FCONST:
			kind = "number"
		case pg.Token_SCONST, pg.Token_BCONST, pg.Token_XCONST, pg.Token_USCONST:
			kind = "string"
		case pg.Token_PARAM:
			kind = "param"
		default:
			continue
		}
		end := int(tok.End)
		if tok.Token == pg.Token_USCONST {
			end = 0
		}
		out = append(out, place{kind, int(tok.Start), end})
	}
	return out
}
