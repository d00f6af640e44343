package router_test

import (
	"testing"

	"pgshunt/parser"
	"pgshunt/router"
)

// PostgreSQL looks for a function in all of search_path, and takes the one whose arguments
// fit. So which schema comes first does not tell which one is called.
func TestFunctionsOfSeveralSchemas(t *testing.T) {
	functions := []router.FunctionFacts{
		routine("app.f", 'i', "sql", "SELECT 1"), routine("public.f", 'v', "plpgsql", "BEGIN DELETE FROM docs; RETURN 1; END"),
		routine("app.lower", 'i', "sql", "SELECT 1"), routine("public.lower", 'v', "plpgsql", "BEGIN DELETE FROM docs; RETURN 1; END"),
		routine("app.h", 'i', "sql", "SELECT 1"), routine("public.g", 'i', "sql", "SELECT 1"),
		routine("app.sum2", 'i', "sql", "SELECT 1"), routine("public.sum2", 's', "sql", "SELECT count(*)::int FROM public.docs"),
	}
	with := func(target int, more ...router.FunctionFacts) server {
		return server{target: target, relations: tables("docs"), functions: append(more, functions...)}
	}
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, with(0, routine("public.h", 'i', "sql", "SELECT 1")),
		with(1, routine("app.g", 'i', "sql", "SELECT 2"), routine("app.alone", 'i', "sql", "SELECT 1"), routine("public.alone", 'i', "sql", "SELECT 1")), with(2))}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	v := &router.View{SearchPath: []string{"app", "public"}}
	for sql, want := range map[string]string{
		"SELECT app.f(id) FROM docs":                       "ml1 ml2",
		"SELECT f(id) FROM docs":                           "",
		"SELECT lower(id) FROM docs":                       "",
		"SELECT g(id) FROM docs":                           "ml2",
		"SELECT public.g(id) FROM docs":                    "ml1 ml2",
		"SELECT h(id) FROM docs":                           "",
		"SELECT app.h(id) FROM docs":                       "ml1 ml2",
		"SELECT alone(1)":                                  "ml1",
		"SELECT pgml.embed('m', f(id)::text) FROM docs":    "",
		"SELECT pgml.embed('m', g(id)::text) FROM docs":    "ml2",
		"SELECT pgml.embed('m', sum2(id)::text) FROM docs": "ml1 ml2",
	} {
		if d := p.Decide(parser.Parse(sql), v, f); names(f, d) != want {
			t.Errorf("%s: %q, expected %q: %s", sql, names(f, d), want, d.Text())
		}
	}
	inBlock := *v
	inBlock.InTransaction, inBlock.Written = true, []parser.Relation{{Schema: "public", Name: "docs"}}
	if d := p.Decide(parser.Parse("SELECT pgml.embed('m', sum2(1)::text)"), &inBlock, f); d.Place != router.Refused {
		t.Errorf("what the second schema's function reads has been written: %s: %s", d.Place, d.Text())
	}
	f.Targets[2].Healthy = false
	d := p.Decide(parser.Parse("SELECT pgml.embed('m', g(id)::text) FROM docs"), v, f)
	if want := "PostgresML servers. On ml1, g may mean another function there by search_path."; d.Err == nil || d.Err.Detail != "pgml.embed runs on "+want {
		t.Errorf("got %+v", d.Err)
	}
}

// A function or view of the same name may compute something else on a replica.
func TestDefinitionsThatDiffer(t *testing.T) {
	defined := func(name, arguments, body string) router.FunctionFacts {
		f := routine(name, 'i', "sql", body)
		f.Definition = arguments + body
		return f
	}
	seen := func(definition string) router.RelationFacts {
		f := view("seen", "SELECT id FROM public.docs")
		f.Definition = definition
		return f
	}
	with := func(target int, view router.RelationFacts, functions ...router.FunctionFacts) server {
		return server{target: target, relations: append(tables("docs"), view), functions: append(functions, routine("native", 'i', "c", ""))}
	}
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t,
		with(0, seen("id > 1"), defined("price", "int", "SELECT 2"), defined("two", "int", "SELECT 1"), defined("two", "text", "SELECT 1")),
		with(1, seen("id > 2"), defined("price", "int", "SELECT 1"), defined("two", "int", "SELECT 1")),
		with(2, seen("id > 1"), defined("price", "int", "SELECT 2"), defined("price", "text", "SELECT 3"), defined("two", "text", "SELECT 1"), defined("two", "int", "SELECT 1")))}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	v := &router.View{SearchPath: []string{"public"}}
	for sql, want := range map[string]string{
		"SELECT price(id) FROM docs": "ml2", "SELECT two(id) FROM docs": "ml2", "SELECT native(id) FROM docs": "ml1 ml2", "SELECT * FROM seen": "ml2",
		"SELECT pgml.embed('m', price(id)::text) FROM docs": "ml2",
	} {
		if d := p.Decide(parser.Parse(sql), v, f); names(f, d) != want {
			t.Errorf("%s: %q, expected %q: %s", sql, names(f, d), want, d.Text())
		}
	}
	f.Targets[2].Healthy = false
	d := p.Decide(parser.Parse("SELECT pgml.embed('m', price(id)::text) FROM docs"), v, f)
	if d.Err == nil || d.Err.Detail != "pgml.embed runs on PostgresML servers. On ml1, public.price is another function there." {
		t.Errorf("got %+v", d.Err)
	}
}

// operator is a database's own operator, which calls a function of schema public.
func operator(name, calls string) router.FunctionFacts {
	f := routine(name, 'i', "sql", "")
	f.Body, f.Definition = &parser.Parse("SELECT public." + calls + "(NULL, NULL)").Parts[0], "integer integer public "+calls
	return f
}

// cast is one by a function of schema public.
func cast(name, types string, explicit bool, calls string) router.FunctionFacts {
	f := operator("cast ("+name+")", calls)
	f.Schema, f.Hidden = "", router.Hidden{Types: types, Explicit: explicit}
	return f
}

// Operators and casts of users are what the functions behind them are.
func TestOperatorsAndCastsOfUsers(t *testing.T) {
	writes := routine("writes", 'v', "sql", "DELETE FROM public.docs")
	computes := routine("computes", 'i', "sql", "SELECT true")
	reads := routine("looks", 's', "sql", "SELECT true FROM public.local")
	local := table("local")
	local.Absent = "is not subscribed"
	holds := table("holds")
	holds.Columns = "id integer\nother public.mine"
	const hidden = "primary: cast (mine AS text) is not known to be free of side effects"
	catalog := func(more ...router.FunctionFacts) *router.Catalog {
		with := func(target int, local router.RelationFacts, functions ...router.FunctionFacts) server {
			return server{
				target: target, functions: append([]router.FunctionFacts{writes, computes, reads}, functions...),
				relations: []router.RelationFacts{table("docs"), holds, local, view("plus", "SELECT 1 + id FROM public.docs"), view("made", "SELECT id::public.mine FROM public.docs")},
			}
		}
		there := append([]router.FunctionFacts{operator("=&=", "writes")}, more...)
		return mustCatalog(t, with(0, table("local"), append(there, operator("=|=", "computes"))...), with(1, local, append(there, operator("=|=", "computes"))...), with(2, local, there...))
	}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	ask := func(c *router.Catalog, sql, path string) string {
		f := twoReplicas()
		f.Catalogs = map[string]*router.Catalog{"": c}
		d := p.Decide(parser.Parse(sql), &router.View{SearchPath: []string{path}}, f)
		if d.Place != router.Replica {
			return d.Place.String() + ": " + d.Text()
		}
		return names(f, d)
	}
	for _, test := range []struct {
		more      []router.FunctionFacts
		sql, want string
	}{
		{nil, "SELECT id =|= 2 FROM docs", "ml1"}, // the other has no such operator
		{nil, "SELECT id OPERATOR(public.=|=) 2 FROM docs", "ml1"},
		{nil, "SELECT id =&= 2 FROM docs", "primary: =&= is not known to be free of side effects"},
		{nil, "SELECT id =%= 2 FROM docs", "primary: =%= is not known to be free of side effects"},
		{nil, "SELECT id + 2 FROM docs", "ml1 ml2"},
		{[]router.FunctionFacts{operator("=?=", "looks")}, "SELECT id =?= 2 FROM docs", "primary: public.local cannot be read on a replica"},
		{[]router.FunctionFacts{operator("+", "computes")}, "SELECT id + 2 FROM docs", "ml1 ml2"},
		{[]router.FunctionFacts{operator("+", "writes")}, "SELECT id + 2 FROM docs", "primary: operator public.+ is not known to be free of side effects"},
		{[]router.FunctionFacts{operator("+", "writes")}, "SELECT * FROM plus", "primary: operator public.+ is not known to be free of side effects"},
		{[]router.FunctionFacts{operator("+", "writes")}, "SELECT id - 2 FROM docs", "ml1 ml2"},
		{[]router.FunctionFacts{operator("=", "writes")}, "SELECT id FROM docs WHERE id IN (1, 2)", "primary: operator public.= is not known to be free of side effects"},
		{[]router.FunctionFacts{cast("integer AS mine", "mine", true, "writes")}, "SELECT id FROM docs", "ml1 ml2"},
		{[]router.FunctionFacts{cast("integer AS mine", "mine", true, "computes")}, "SELECT id::mine FROM docs", "ml1 ml2"},
		{[]router.FunctionFacts{cast("integer AS mine", "mine", true, "writes")}, "SELECT id::mine FROM docs", "primary: cast (integer AS mine) is not known to be free of side effects"},
		{[]router.FunctionFacts{cast("integer AS mine", "mine", true, "writes")}, "SELECT * FROM made", "primary: cast (integer AS mine) is not known to be free of side effects"},
		{[]router.FunctionFacts{cast("mine AS text", "mine", false, "writes")}, "SELECT id FROM docs", "ml1 ml2"},
		{[]router.FunctionFacts{cast("mine AS text", "mine", false, "writes")}, "SELECT id::mine FROM docs", hidden},
		{[]router.FunctionFacts{cast("mine AS text", "mine", false, "writes")}, "SELECT computes(id) FROM docs", hidden},
		{[]router.FunctionFacts{cast("mine AS text", "mine", false, "writes")}, "SELECT other FROM holds", hidden},
		{[]router.FunctionFacts{cast("mine AS text", "mine", false, "writes"), operator("+", "computes")}, "SELECT id + 1 FROM docs", hidden},
		{[]router.FunctionFacts{cast("mine AS text", "", false, "writes")}, "SELECT id FROM docs", hidden},
	} {
		if got := ask(catalog(test.more...), test.sql, "public"); got != test.want {
			t.Errorf("%s: %s, expected %s", test.sql, got, test.want)
		}
	}
	if got := ask(catalog(operator("+", "writes")), "SELECT id + 2 FROM public.docs", "other"); got != "ml1 ml2" {
		t.Errorf("an operator that is not in search_path: %s", got)
	}
}

// A name of PostgreSQL's own that the database has too may mean either, so that a plain read goes where both are.
func TestOverloadsArePresent(t *testing.T) {
	with := func(target int, functions ...router.FunctionFacts) server {
		return server{target: target, functions: functions, relations: []router.RelationFacts{table("docs")}}
	}
	mine := routine("lower", 'i', "sql", "SELECT 1")
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, with(0, mine), with(1, mine), with(2))}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	for sql, want := range map[string]string{
		"SELECT lower(body) FROM docs": "ml1", "SELECT upper(body) FROM docs": "ml1 ml2", "SELECT pgml.embed('m', lower(body)) FROM docs": "ml1 ml2",
	} {
		if got := names(f, p.Decide(parser.Parse(sql), &router.View{SearchPath: []string{"public"}}, f)); got != want {
			t.Errorf("%s: %s, expected %s", sql, got, want)
		}
	}
	f.Targets[1].Healthy = false
	if d := p.Decide(parser.Parse("SELECT lower(body) FROM docs"), &router.View{SearchPath: []string{"public"}}, f); d.Place != router.Primary {
		t.Errorf("where the function is not: %s", d.Text())
	}
}

// Training from a relation whose name is computed goes to a replica that has all relations.
func TestTrainingFromAComputedName(t *testing.T) {
	const sql = "SELECT pgml.train('p', 'regression', 'public.' || 'docs', 'y')"
	local := table("local")
	local.Absent = "is not subscribed"
	with := func(target int, local router.RelationFacts) server {
		return server{target: target, relations: []router.RelationFacts{table("docs"), local}}
	}
	p := mustPolicy(t, router.Config{})
	for _, c := range []struct {
		there router.RelationFacts
		want  router.Place
	}{{table("local"), router.Replica}, {local, router.Refused}} {
		f := twoReplicas()
		f.Targets = f.Targets[:2]
		f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, with(0, table("local")), with(1, c.there))}
		if d := p.Decide(parser.Parse(sql), &router.View{SearchPath: []string{"public"}}, f); d.Place != c.want {
			t.Errorf("local %q: %s", c.there.Absent, d.Text())
		}
	}
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{} // nobody has looked
	if d := p.Decide(parser.Parse(sql), &router.View{}, f); d.Place != router.Refused {
		t.Errorf("before a look: %s", d.Text())
	}
}
