package parser

import (
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                nil,
		" ; -- x\n;/* y; */":              nil,
		"SELECT 1":                        {"SELECT 1"},
		"SELECT 1; SELECT 2;":             {"SELECT 1", "SELECT 2"},
		"SELECT ';'; SELECT $$;$$, \";\"": {"SELECT ';'", "SELECT $$;$$, \";\""},
		"SELEC; SELECT '":                 {"SELEC", "SELECT '"},
		"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); END": {"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", "END"},
		"CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END; SELECT 3": {
			"CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END", "SELECT 3",
		},
		"/* a */ SELECT 1": {"/* a */ SELECT 1"},
	} {
		if got := Split(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, expected %q", text, got, want)
		}
	}
}
