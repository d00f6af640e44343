package configs

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
)

const mask = "***"

// Secret is text that never shows itself: every fmt verb, JSON, YAML and slog
// print "***", or nothing when it is empty. string(s) is the only way to the value,
// so that a search for it finds every place that uses one.
type Secret string

// String returns the mask.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format prints the mask for any verb, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText makes JSON, YAML and map keys print the mask.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue makes slog print the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// URL is a connection string that prints without its password, in every way that
// Secret guards. string(u) is the real one.
type URL string

// Passwords in a connection string: in the userinfo of the URL form, as a query
// parameter (whose name may be percent-encoded), or in the keyword form. Where the
// form is broken more is masked rather than less: everything up to the last @.
var (
	userinfoPassword = regexp.MustCompile(`(?s)(://[^:/?#@]*:)(.*)(@)`)
	keywordPassword  = regexp.MustCompile(`(?i)((?:[^\s&?=]*%[^\s&?=]*|(?:ssl)?password)\s*=\s*)('(?:[^'\\]|\\.)*'|(?:[^\s&\\]|\\.)*)`)
)

// String returns the connection string with its passwords masked.
func (u URL) String() string {
	s := userinfoPassword.ReplaceAllString(string(u), "${1}"+mask+"${3}")
	return keywordPassword.ReplaceAllString(s, "${1}"+mask)
}

// Format prints the masked form for any verb.
func (u URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// MarshalText makes JSON and YAML print the masked form.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue makes slog print the masked form.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }
