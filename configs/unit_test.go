package configs

import (
	"testing"
	"time"
)

func TestDurationsHaveUnits(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "500ms": 500 * time.Millisecond, "2s": 2 * time.Second, "5min": 5 * time.Minute,
		"5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "1h30min": 90 * time.Minute, "7d": 7 * 24 * time.Hour,
	} {
		got, err := parseDuration(in)
		if err != nil || time.Duration(got) != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if again, err := parseDuration(got.String()); err != nil || again != got {
			t.Errorf("%q prints as %q, which is read as %v, %v", in, got.String(), again, err)
		}
	}
	for _, in := range []string{"", "30", "1.5", "-2s", "2 s", "s", "1y", "999999999999d", "1d2h"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func TestSizesHaveUnits(t *testing.T) {
	for in, want := range map[string]Size{
		"0": 0, "10B": 10, "64kB": 64 << 10, "64KB": 64 << 10, "64KiB": 64 << 10, "16MB": 16 << 20, "1 GB": 1 << 30, "2TB": 2 << 40,
	} {
		got, err := parseSize(in)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v", in, int64(got), err)
		}
		if again, err := parseSize(got.String()); err != nil || again != got {
			t.Errorf("%q prints as %q, which is read as %v, %v", in, got.String(), again, err)
		}
	}
	for _, in := range []string{"", "16", "1.5GB", "-1MB", "MB", "16Mb/s", "9999999999TB"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		patterns     Patterns
		schema, name string
		want         bool
	}{
		{Patterns{"sales.*"}, "sales", "orders", true},
		{Patterns{"sales.*"}, "salesx", "orders", false},
		{Patterns{"orders"}, "any", "orders", true},
		{Patterns{"*.or*s"}, "any", "orders", true},
		{Patterns{"*.or*x"}, "any", "orders", false},
		{Patterns{"sales.*", "!sales.drafts"}, "sales", "drafts", false},
		{Patterns{"sales.*", "!*.drafts"}, "sales", "orders", true},
		{Patterns{"!sales.drafts"}, "sales", "orders", true},
		{Patterns{"Orders"}, "sales", "orders", false},
		{nil, "sales", "orders", false},
	} {
		if got := c.patterns.MatchQualified(c.schema, c.name); got != c.want {
			t.Errorf("%v on %s.%s: %v", c.patterns, c.schema, c.name, got)
		}
	}
}
