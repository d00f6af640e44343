package pool

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// server plays the part of a session on a server: what it has after statements.
type server map[string]string

func (s server) run(sql string) {
	switch {
	case sql == "RESET SESSION AUTHORIZATION":
		delete(s, "session_authorization")
		delete(s, "role")
	case strings.HasPrefix(sql, "RESET "):
		delete(s, strings.Trim(strings.TrimPrefix(sql, "RESET "), `"`))
	default:
		name, value, _ := strings.Cut(sql, "=")
		if name == "session_authorization" {
			delete(s, "role")
		}
		s[name] = value
	}
}

// TestReplayLeadsFromAnyToAny checks the one promise of Replay, with a change of
// session_authorization ending the role as it does on a server.
func TestReplayLeadsFromAnyToAny(t *testing.T) {
	names := []string{"a", "b", "c", "role", "session_authorization"}
	rapid.Check(t, func(t *rapid.T) {
		set := func(label string) *Settings {
			var s *Settings
			for _, name := range names {
				if v := rapid.IntRange(0, 2).Draw(t, label+" "+name); v > 0 {
					value := string(rune('0' + v))
					s = s.With(Setting{Name: name, SQL: name + "=" + value, Value: value})
				}
			}
			return s
		}
		from, to := set("from"), set("to")
		have := server{}
		for _, s := range from.All() {
			have[s.Name] = s.Value
		}
		replay := from.Replay(to)
		for _, sql := range replay {
			have.run(sql)
		}
		want := server{}
		for _, s := range to.All() {
			want[s.Name] = s.Value
		}
		if len(have) != len(want) {
			t.Fatalf("%v leads to %v, expected %v", replay, have, want)
		}
		for name, value := range want {
			if have[name] != value {
				t.Fatalf("%v leads to %v, expected %v", replay, have, want)
			}
		}
		if from.Equal(to) && len(replay) > 0 {
			t.Fatalf("equal settings need %v", replay)
		}
		identity := slices.IndexFunc(replay, func(sql string) bool {
			return strings.HasPrefix(sql, "role=") || strings.HasPrefix(sql, "session_authorization=")
		})
		for i, sql := range replay {
			if identity >= 0 && i > identity && !strings.HasPrefix(sql, "role=") && !strings.HasPrefix(sql, "session_authorization=") {
				t.Fatalf("%q runs with the rights of another: %v", sql, replay)
			}
		}
	})
}

func TestSettingsAreImmutable(t *testing.T) {
	var none *Settings
	one := none.With(Setting{Name: "b", SQL: "SET b", Value: "1"})
	two := one.With(Setting{Name: "a", SQL: "SET a", Value: "2"})
	changed := two.With(Setting{Name: "b", SQL: "SET b", Value: "3"})
	if none.All() != nil || len(one.All()) != 1 || two.All()[1].Value != "1" || changed.All()[1].Value != "3" {
		t.Errorf("none %v, one %v, two %v, changed %v", none.All(), one.All(), two.All(), changed.All())
	}
	if two.Without("a").Without("b") != nil || len(two.All()) != 2 {
		t.Errorf("without both: %v of %v", two.Without("a").Without("b"), two.All())
	}
}
