package router_test

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"pgshunt/parser"
	"pgshunt/router"
)

// server is what one server has, in the form that tests write.
type server struct {
	target    int
	few       bool
	lacking   []string
	relations []router.RelationFacts
	functions []router.FunctionFacts
}

func (s server) source() router.Source {
	slices.SortFunc(s.relations, func(a, b router.RelationFacts) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Schema, b.Schema))
	})
	slices.SortStableFunc(s.functions, func(a, b router.FunctionFacts) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Schema, b.Schema))
	})
	return router.Source{Target: s.target, Few: s.few, Lacking: s.lacking, Relations: rows(s.relations), Functions: rows(s.functions)}
}

func rows[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, row := range list {
			if !yield(row, nil) {
				return
			}
		}
	}
}

// table and view are facts of relations in schema public, or in the one that is named.
func table(name string) router.RelationFacts {
	schema, name := cut(name)
	return router.RelationFacts{Schema: schema, Name: name, Columns: "body text\nid integer"}
}

func view(name, query string) router.RelationFacts {
	f := table(name)
	f.View = &parser.Parse(query).Parts[0]
	return f
}

func routine(name string, volatility byte, language, body string) router.FunctionFacts {
	schema, name := cut(name)
	f := router.FunctionFacts{Schema: schema, Name: name, Volatility: volatility, Language: language}
	if body != "" {
		f.Body = &parser.Parse("CREATE FUNCTION f() RETURNS int LANGUAGE " + language + " AS $x$" + body + "$x$").Parts[0]
	}
	return f
}

func cut(name string) (string, string) {
	if schema, rest, ok := strings.Cut(name, "."); ok {
		return schema, rest
	}
	return "public", name
}

func mustCatalog(tb testing.TB, primary server, replicas ...server) *router.Catalog {
	tb.Helper()
	var others []router.Source
	for _, r := range replicas {
		others = append(others, r.source())
	}
	c, err := router.NewCatalog(primary.source(), others...)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func tables(names ...string) (out []router.RelationFacts) {
	for _, n := range names {
		out = append(out, table(n))
	}
	return out
}

func TestCatalogKeepsOnlyWhatDiffers(t *testing.T) {
	many := make([]string, 100_000)
	for i := range many {
		many[i] = fmt.Sprintf("t%06d", i)
	}
	other := table("t000500")
	other.Columns = "body text"
	changed := slices.Concat(tables(many[:500]...), []router.RelationFacts{other}, tables(many[501:]...), tables("zz"))
	for name, c := range map[string]struct {
		replica server
		kept    int
	}{
		"equal":              {server{target: 1, relations: tables(many...)}, 0},
		"one other, one new": {server{target: 1, relations: changed}, 2},
		"only ten of them":   {server{target: 1, few: true, relations: tables(many[:10]...)}, 10},
	} {
		got := mustCatalog(t, server{relations: tables(many...)}, c.replica)
		if n, _ := got.Size(); n != c.kept {
			t.Errorf("%s: %d relations are kept, expected %d", name, n, c.kept)
		}
	}
}

// The owner may read on the primary, and is left out where a copy was restored by another.
func TestCatalogDoesNotKeepWhatFewerMayRead(t *testing.T) {
	readBy := func(target int, readers string) server {
		f := table("orders")
		f.Readers = readers
		return server{target: target, relations: []router.RelationFacts{f}}
	}
	for _, c := range []struct {
		ours, theirs string
		kept         int
	}{
		{"app,owner", "app", 0}, {"owner", "", 0}, {"public", "app", 0}, {"app", "app,else", 1}, {"app", "public", 1},
	} {
		if n, _ := mustCatalog(t, readBy(0, c.ours), readBy(1, c.theirs)).Size(); n != c.kept {
			t.Errorf("ours %q, theirs %q: %d kept, want %d", c.ours, c.theirs, n, c.kept)
		}
	}
}

func TestCatalogRefusesWhatItCannotCompare(t *testing.T) {
	lost := errors.New("connection lost")
	good := server{relations: tables("a", "b")}.source()
	for name, replica := range map[string]router.Source{
		"out of order": {Target: 1, Relations: rows([]router.RelationFacts{table("b"), table("a")})},
		"the same one": {Target: 0},
		"no such bit":  {Target: 64},
		"an error": {Target: 1, Relations: func(yield func(router.RelationFacts, error) bool) {
			_ = yield(table("a"), nil) && yield(router.RelationFacts{}, lost)
		}},
	} {
		if c, err := router.NewCatalog(good, replica); err == nil {
			t.Errorf("%s: accepted: %+v", name, c)
		}
	}
}

func TestCatalogEqual(t *testing.T) {
	of := func(names ...string) *router.Catalog {
		return mustCatalog(t, server{relations: tables("a")}, server{target: 1, relations: tables(names...)})
	}
	if !of("a", "b").Equal(of("a", "b")) || of("a", "b").Equal(of("a")) || of("a").Equal(nil) {
		t.Error("Equal is wrong")
	}
}

func TestObjectsOfReplicasAlone(t *testing.T) {
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"shop": mustCatalog(t,
		server{relations: tables("docs", "app.other"), functions: []router.FunctionFacts{routine("plain", 'i', "c", "")}},
		server{
			target:    1,
			relations: append(tables("docs", "app.other"), view("scored", "SELECT pgml.embed('m', body) FROM public.docs")),
			functions: []router.FunctionFacts{routine("plain", 'i', "c", ""), routine("wrap", 'v', "sql", "SELECT pgml.embed('m', 'x')")},
		},
	)}
	p := mustPolicy(t, router.Config{})
	v := &router.View{SearchPath: []string{"app", "public"}, Database: "shop"}
	for sql, want := range map[string]router.Place{
		"SELECT * FROM scored":               router.Replica,
		"SELECT * FROM public.scored":        router.Replica,
		"SELECT * FROM app.scored":           router.Primary,
		"SELECT wrap(body) FROM docs":        router.Replica,
		"SELECT plain(body) FROM docs":       router.Primary,
		"SELECT * FROM docs":                 router.Primary,
		"INSERT INTO scored VALUES (1)":      router.Replica,
		"INSERT INTO docs SELECT wrap(body)": router.Refused,
		"DROP VIEW scored":                   router.Replica,
	} {
		if d := p.Decide(parser.Parse(sql), v, f); d.Place != want {
			t.Errorf("%s: %s, expected %s (%s)", sql, d.Place, want, d.Text())
		}
	}
	if d := p.Decide(parser.Parse("SELECT * FROM scored"), &router.View{SearchPath: v.SearchPath, Database: "else"}, f); d.Place != router.Primary {
		t.Errorf("another database's catalog counts: %s", d.Text())
	}
}
