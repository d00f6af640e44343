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
		"ALTER VIEW v FROB":                      "",
		"ALTER TABLE":                            "",
		"ALTER":                                  "",
		"ALTER TABLE \"":                         "",
		"SELEKT alter table t":                   "",
		"ALTER TABLE only FROB":                  "frob",
		"ALTER TABLE t. FROB":                    "t.frob",
		"TABLE ALTER t FROB":                     "",
		"ALTER TABLE t FROB; ALTER TABLE u FROB": "t u",
		"SELECT 1; SELECT FROB FROB FROB":        "",
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

// What can be read of a script that is too long, or has another statement that cannot, is no less a change.
func TestChangesBesideWhatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"ALTER TABLE t ADD c int":                                                                     "add column t",
		"/* x */ ALTER TABLE t ADD c int; MERGE FROB; DROP TABLE u":                                   "add column t, drop table u",
		"ALTER TABLE t DROP c; INSERT INTO t VALUES ('" + strings.Repeat("x", DefaultMaxParse) + "')": "drop column t",
		"ALTER TABLE t FROB; CREATE TABLE u (a int); REVOKE SELECT ON t FROM a":                       "unknown t, create table u, privileges t",
	} {
		var got []string
		_, list := Unread(text)
		for _, c := range list {
			got = append(got, c.Action+" "+c.Name)
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("%.60s: %q, want %q", text, got, want)
		}
	}
}
