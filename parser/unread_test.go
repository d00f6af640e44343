package parser

import (
	"slices"
	"strings"
	"testing"
)

func TestAlterTableThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) VIRTUAL":                  "t",
		"/* x */ alter table if exists only S.\"T\"\"t\" ADD CONSTRAINT c NOT NULL a;": `s.T"t`,
		"SELECT 1; ALTER TABLE public.t ALTER CONSTRAINT k NOT ENFORCED":               "public.t",
		"ALTER TABLE t ADD c int":                "",
		"ALTER VIEW v FROB":                      "",
		"ALTER TABLE":                            "",
		"ALTER":                                  "",
		"ALTER TABLE \"":                         "",
		"SELEKT alter table t":                   "",
		"ALTER TABLE only FROB":                  "frob",
		"ALTER TABLE t. FROB":                    "t.frob",
		"TABLE ALTER t FROB":                     "",
		"ALTER TABLE t FROB; ALTER TABLE u FROB": "t u",
	} {
		var names []string
		texts, list := Unread(text)
		for _, c := range list {
			names = append(names, strings.TrimPrefix(c.Schema+"."+c.Name, "."))
		}
		if got := strings.Join(names, " "); got != want || len(texts) != len(list) || slices.ContainsFunc(list, func(c Change) bool { return c.Action != Unknown }) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
