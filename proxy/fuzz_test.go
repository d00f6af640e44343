package proxy_test

import (
	"errors"
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
