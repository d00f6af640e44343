package router_test

import (
	"testing"

	"pgshunt/parser"
	"pgshunt/router"
)

// A replica of an older version has not all functions that PostgreSQL has on the primary.
func TestFunctionsOfANewerPostgreSQL(t *testing.T) {
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, server{relations: tables("docs")},
		server{target: 1, relations: tables("docs"), lacking: []string{"any_value", "array_sort"}}, server{target: 2, relations: tables("docs"), lacking: []string{"array_sort"}})}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	v := &router.View{SearchPath: []string{"public"}}
	for sql, want := range map[string]string{
		"SELECT max(id) FROM docs":                                   "ml1 ml2",
		"SELECT any_value(id) FROM docs":                             "ml2",
		"SELECT pg_catalog.any_value(id) FROM docs":                  "ml2",
		"SELECT array_sort(ARRAY[id]) FROM docs":                     "",
		"SELECT id FROM docs WHERE id IN (SELECT any_value(1))":      "ml2",
		"SELECT pgml.embed('m', any_value(id)::text) FROM docs":      "ml1 ml2", // the server says what it lacks
		"WITH a AS (SELECT array_sort(ARRAY[id]) FROM docs) TABLE a": "",
	} {
		if d := p.Decide(parser.Parse(sql), v, f); names(f, d) != want {
			t.Errorf("%s: %q, expected %q: %s", sql, names(f, d), want, d.Text())
		}
	}
}
