package proxy_test

import (
	"errors"
	"strings"
	"testing"

	"pgshunt/internal/pgerr"
	"pgshunt/proxy"
)

// FuzzStartupParams: whatever a client sends as its startup packet is either read
// or refused with a SQLSTATE, without a panic.
func FuzzStartupParams(f *testing.F) {
	for _, seed := range []string{
		"user\x00eve\x00database\x00db\x00\x00", "\x00", "", "user\x00\x00\x00", "user\x00eve", "a\x00b\x00\x00junk",
		"options\x00-c a=b --c-d=e -cx=y\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := proxy.StartupParams(body); err != nil {
			if e := (*pgerr.Error)(nil); !errors.As(err, &e) || e.Code != pgerr.ProtocolViolation {
				t.Errorf("%q: %v", body, err)
			}
		}
	})
}

// FuzzOptions: the words of an options string hold no unquoted blank, none is
// lost, and each is a setting or an error that names it.
func FuzzOptions(f *testing.F) {
	for _, seed := range []string{"-c a=b", `-c a=x\ y  --b=c`, "-c", "-x", `\\`, "-c =1", "--a-b=c", "\t\n -ca=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words := proxy.SplitOptions(s)
		if !strings.ContainsAny(s, "\\") && strings.Join(words, " ") != strings.Join(strings.FieldsFunc(s, isBlank), " ") {
			t.Errorf("%q splits into %q", s, words)
		}
		if err := proxy.StartupOptions(s); err != nil {
			if e := (*pgerr.Error)(nil); !errors.As(err, &e) || e.Code != "42601" {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
}

// isBlank is isspace() of the C locale, by which the server splits.
func isBlank(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }
