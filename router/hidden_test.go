package router_test

import (
	"testing"

	"pgshunt/parser"
	"pgshunt/router"
)

// concealed is what PostgreSQL calls where h tells, by a function of schema public.
func concealed(name string, h router.Hidden, calls string) router.FunctionFacts {
	f := operator(name, calls)
	f.Schema, f.Hidden = "", h
	return f
}

// ofRow is a function of a row.
func ofRow(name string, volatility byte, body string) router.FunctionFacts {
	f := routine(name, volatility, "sql", body)
	f.OfRow = true
	return f
}

// What PostgreSQL calls by itself is met by types, by relations, and by columns.
func TestWhatIsHidden(t *testing.T) {
	writes, computes := routine("writes", 'v', "sql", "DELETE FROM public.docs"), routine("computes", 'i', "sql", "SELECT true")
	holds, quoted := table("holds"), table("quoted")
	holds.Columns, quoted.Columns = "id integer\nother public.mine[]", "id integer\nother public.\"Mine, \"\"too\"\"\""
	family := router.Hidden{Types: "mine", Family: true}
	plans := router.Hidden{Relations: "docs\nother", Family: true}
	const unsafe = " is not known to be free of side effects"
	for _, test := range []struct {
		more      router.FunctionFacts
		sql, want string
	}{
		{concealed("family", family, "writes"), "SELECT id FROM docs ORDER BY id", "ml1 ml2"},
		{concealed("family", family, "writes"), "SELECT other FROM holds ORDER BY other", "primary: family" + unsafe},
		{concealed("family", family, "writes"), "SELECT id::mine FROM docs ORDER BY 1", "primary: family" + unsafe},
		{concealed("family", family, "writes"), "SELECT computes(id, 1) FROM docs", "primary: family" + unsafe},
		{concealed("family", family, "writes"), "SELECT * FROM sorted", "primary: family" + unsafe},
		{concealed("family", family, "computes"), "SELECT other FROM holds ORDER BY other", "ml1 ml2"},
		{concealed("domain", router.Hidden{Types: `Mine "too"`}, "writes"), "SELECT id FROM docs", "ml1 ml2"},
		{concealed("domain", router.Hidden{Types: `Mine "too"`}, "writes"), "SELECT id FROM quoted", "ml1 ml2"},
		{concealed("domain", router.Hidden{Types: `Too "too"`}, "writes"), "SELECT id FROM too", "primary: domain" + unsafe},
		{concealed("plans", plans, "writes"), "SELECT id FROM docs", "primary: plans" + unsafe},
		{concealed("plans", plans, "writes"), "SELECT id FROM holds", "ml1 ml2"},
		{concealed("plans", plans, "writes"), "SELECT 1", "ml1 ml2"},
		{concealed("plans", plans, "computes"), "SELECT id FROM docs", "ml1 ml2"},
		{ofRow("peek", 'v', ""), "SELECT d.peek FROM docs d", "primary: public.peek" + unsafe},
		{ofRow("peek", 'v', ""), "SELECT d.id FROM docs d", "ml1 ml2"},
		{ofRow("peek", 's', "SELECT 1"), "SELECT d.peek FROM docs d", "ml1 ml2"},
		{ofRow("peek", 's', "SELECT nextval('s')"), "SELECT d.peek FROM docs d", "primary: public.peek" + unsafe},
		{routine("peek", 'v', "sql", ""), "SELECT d.peek FROM docs d", "ml1 ml2"}, // takes no row
		{ofRow("peek", 'v', ""), "SELECT through(id) FROM docs", "primary: public.peek" + unsafe},
		{routine("draws", 's', "sql", "SELECT nextval('s')"), "SELECT draws(id) FROM docs", "primary: draws" + unsafe},
		{routine("clocks", 's', "sql", "SELECT now()"), "SELECT clocks(id) FROM docs", "ml1 ml2"},
	} {
		too := table("too")
		too.Columns = "v public.\"Too \"\"too\"\"\""
		with := func(target int) server {
			return server{
				target: target, functions: []router.FunctionFacts{writes, computes, routine("through", 's', "sql", "SELECT d.peek FROM public.docs d"), test.more},
				relations: []router.RelationFacts{table("docs"), holds, quoted, view("sorted", "SELECT id FROM public.holds ORDER BY other"), too},
			}
		}
		f := twoReplicas()
		f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, with(0), with(1), with(2))}
		d := mustPolicy(t, router.Config{Reads: "replica"}).Decide(parser.Parse(test.sql), &router.View{SearchPath: []string{"public"}}, f)
		got := names(f, d)
		if d.Place != router.Replica {
			got = d.Place.String() + ": " + d.Text()
		}
		if got != test.want {
			t.Errorf("%s, %s: %s, expected %s", test.more.Name, test.sql, got, test.want)
		}
	}
}
