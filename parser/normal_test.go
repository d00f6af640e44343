package parser

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// tokenNormal is appendNormal token by token, without plain runs.
func tokenNormal(text []byte) (b []byte, ok bool) {
	l := lexer{src: text}
	for {
		t, start, end := l.next()
		switch t {
		case tokenEnd:
			return b, !l.backslash
		case tokenBad:
			return b, false
		case tokenComment, tokenSpace:
			if t == tokenComment && end-start > 2 && text[start+2] == '+' {
				return b, false
			}
			if len(b) > 0 && b[len(b)-1] != ' ' {
				b = append(b, ' ')
			}
		case tokenNumber:
			b = append(b, normalNumber)
		case tokenString:
			b = append(b, normalString)
		default:
			if text[start] < ' ' {
				return b, false
			}
			b = append(b, text[start:end]...)
		}
	}
}

// FuzzNormal checks that plain runs change nothing.
func FuzzNormal(f *testing.F) {
	for _, text := range []string{
		"", " ", "  a", "a  b", "a\t b", "a -- c\n b", "a/* c */b", "a 'x' e'y' b'1' x'f' u&'z' n'q' U&\"i\"", `a "b" c"d"`,
		"1 a1 a$1 $1 a.1 a.b a..b 1..2 .5 a .5", "f(a,b)::int[]", "a- 1 a -1", "a%b", "é1 aé'x' é'x'", "a'b'", "a&'b'", "$$x$$ a$$b",
		"/*+ pgshunt: replica */ SELECT 1", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;", "a\x01b", "a  ", "a e", "a.", "a$",
	} {
		f.Add([]byte(text))
	}
	files, _ := filepath.Glob("../testdata/routes/*.json")
	for _, name := range files {
		if raw, err := os.ReadFile(name); err == nil {
			for _, line := range bytes.Split(raw, []byte("\n")) {
				f.Add(line)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, wantOK := tokenNormal(text)
		got, ok := appendNormal(nil, text)
		if ok != wantOK || ok && !bytes.Equal(got, want) {
			t.Errorf("%q: %q %v, token by token %q %v", text, got, ok, want, wantOK)
		}
	})
}
