package glob

import "testing"

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"a", "a", true},
		{"a", "A", false},
		{"a*c", "abbc", true},
		{"a*c", "abbd", false},
		{"*b*", "abc", true},
		{"a**", "a", true},
		{"*ab", "aab", true},
		{"ab*ab", "ab", false},
		{"a.b", "axb", false},
	}
	for _, test := range tests {
		if got := Match(test.pattern, test.s); got != test.want {
			t.Errorf("Match(%q, %q) is %v", test.pattern, test.s, got)
		}
	}
}
