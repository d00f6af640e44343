package pgoptions

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]struct {
		settings []Setting
		err      string
	}{
		"":                              {},
		"-c a=b -cc=d --e-f=g=h":        {settings: []Setting{{"a", "b"}, {"c", "d"}, {"e_f", "g=h"}}},
		`-c a=x\ y\\ ` + "\t\n --role=": {settings: []Setting{{"a", `x y\`}, {"role", ""}}},
		"-c":                            {err: "-c  requires a value"},
		"-c =1":                         {err: "-c =1 requires a value"},
		"-c a=b nonsense":               {err: "invalid command-line argument for server process: nonsense"},
	} {
		got, err := Parse(text)
		if diff := cmp.Diff(want.settings, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
		if (err == nil) != (want.err == "") || err != nil && err.Error() != want.err {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The words of an options string hold no unquoted blank, none is lost, and each is a setting or an error.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"-c a=b", `-c a=x\ y  --b=c`, "-c", "-x", `\\`, "-c =1", "--a-b=c", "\t\n -ca=b"} {
		f.Add(seed)
	}
	// By isspace() of the C locale the server splits.
	isBlank := func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }
	f.Fuzz(func(t *testing.T, s string) {
		words := Split(s)
		if !strings.ContainsAny(s, "\\") && strings.Join(words, " ") != strings.Join(strings.FieldsFunc(s, isBlank), " ") {
			t.Errorf("%q splits into %q", s, words)
		}
		if set, err := Parse(s); err == nil && len(set) > len(words) {
			t.Errorf("%q has %d settings", s, len(set))
		}
	})
}
