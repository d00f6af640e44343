package parser

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuestionsToPgshunt(t *testing.T) {
	for text, want := range map[string]*Question{
		"EXPLAIN (ROUTE) SELECT 1":                                  {Text: " SELECT 1"},
		"explain ( route on , format json ) BEGIN; ":                {Text: " BEGIN; ", JSON: true},
		"/*+ pgshunt: primary */ EXPLAIN (ROUTE, FORMAT text) x":    {Text: "/*+ pgshunt: primary */  x"},
		"EXPLAIN -- why\n (/* what */ ROUTE) SELECT $1":             {Text: " SELECT $1"},
		"EXPLAIN (ROUTE, FORMAT 'JSON') SELECT 1":                   {Text: " SELECT 1", JSON: true},
		"EXPLAIN (ROUTE, FORMAT xml) SELECT 1":                      {Text: " SELECT 1", Wrong: "EXPLAIN (ROUTE) has the formats text and json"},
		"EXPLAIN (ANALYZE, ROUTE) SELECT 1":                         {Text: " SELECT 1", Wrong: "EXPLAIN option ROUTE cannot be combined with ANALYZE"},
		"SHOW ROUTE FOR 'SELECT ''a'''":                             {Text: "SELECT 'a'", Show: true},
		"show route for $$SELECT 1; SELECT 2$$ ; -- done":           {Text: "SELECT 1; SELECT 2", Show: true},
		"SHOW ROUTE FOR $q$SELECT $$x$$$q$":                         {Text: "SELECT $$x$$", Show: true},
		"SHOW ROUTE FOR E'SELECT \\'x\\''":                          {Text: "SELECT 'x'", Show: true},
		"SHOW ROUTE FOR U&'SELECT \\0031'":                          {Text: "SELECT 1", Show: true},
		"SHOW ROUTE FOR ''":                                         {Show: true},
		"SHOW ROUTE FOR SELECT 1":                                   {Show: true, Wrong: "SHOW ROUTE FOR needs a text in quotes"},
		"SHOW ROUTE FOR B'1'":                                       {Show: true, Wrong: "SHOW ROUTE FOR needs a text in quotes"},
		"SHOW ROUTE FOR 'SELECT 1'; SELECT 2":                       {Show: true, Text: "SELECT 1", Wrong: "nothing may follow SHOW ROUTE FOR in its text"},
		"SHOW pgshunt.routes;":                                      {Show: true, Counts: true},
		"EXPLAIN SELECT 1":                                          nil,
		"EXPLAIN (ROUTE off) SELECT 1":                              nil,
		"EXPLAIN (ANALYZE) SELECT 1":                                nil,
		"EXPLAIN (SELECT 1)":                                        nil,
		"SHOW route":                                                nil,
		"SHOW pgshunt.pin":                                          nil,
		"SHOW pgshunt.routes; DROP TABLE t":                         nil,
		"SELECT 'SHOW ROUTE FOR', $$EXPLAIN (ROUTE)$$ -- EXPLAIN (": nil,
		"INSERT INTO t VALUES ('EXPLAIN (ROUTE) SELECT 1')":         nil,
		"PREPARE x AS SELECT 1; EXPLAIN (ROUTE) SELECT 1":           nil,
	} {
		st := New(Options{}).Statement([]byte(text))
		if diff := cmp.Diff(want, st.Question); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if st.Question != nil && (len(st.Parts) > 0 || st.Unparsed != "") {
			t.Errorf("%s has facts of its own: %d statements, unparsed %q", text, len(st.Parts), st.Unparsed)
		}
	}
}
