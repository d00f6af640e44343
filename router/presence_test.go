package router_test

import (
	"slices"
	"strings"
	"testing"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/router"
)

// shop is a fleet whose replicas differ from the primary in every way that counts.
func shop(tb testing.TB) *router.Fleet {
	tb.Helper()
	absent := func(name, why string) router.RelationFacts {
		f := table(name)
		f.Absent = why
		return f
	}
	changed := func(name, columns string) router.RelationFacts {
		f := table(name)
		f.Columns = columns
		return f
	}
	secured := func(name, policy, readers string) router.RelationFacts {
		f := table(name)
		f.Security, f.Readers = policy, readers
		return f
	}
	touching := table("touching")
	touching.Touches = true
	functions := []router.FunctionFacts{
		routine("pure", 'i', "sql", "SELECT 1"), routine("writes", 'v', "plpgsql", "BEGIN DELETE FROM docs; RETURN 1; END"),
		routine("lower", 'v', "plpgsql", "BEGIN DELETE FROM docs; RETURN 1; END"), routine("upper", 'i', "sql", "SELECT 1"),
		routine("counted", 's', "sql", "SELECT count(*)::int FROM only_primary"), routine("hidden", 's', "plpython3u", ""),
	}
	both := []router.RelationFacts{
		table("docs"), touching, view("recent", "SELECT id FROM public.docs"), view("drawn", "SELECT nextval('s')"),
		view("far", "SELECT id FROM public.only_primary"), view("system", "SELECT relname FROM pg_catalog.pg_class"),
	}
	primary := server{relations: slices.Concat(both, tables("only_primary", "copying", "unsubscribed", "wider", "open.thing", "second"),
		[]router.RelationFacts{
			changed("quoted", "\"a b\" integer\nid bigint"), secured("guarded", "tenant = current_user", "app"), secured("granted", "", "app"), secured("alike", "p", "app,boss"),
		}), functions: append(functions, routine("here", 'i', "sql", "SELECT 1"))}
	ml1 := server{
		target: 1,
		relations: slices.Concat(both, tables("open.thing", "second", "lone"), []router.RelationFacts{
			absent("copying", "is still being copied"), absent("unsubscribed", "is not subscribed"),
			changed("wider", "body text"), changed("quoted", "\"a b\" text\nid bigint"), secured("guarded", "", "app"), secured("granted", "", "app,analyst"), secured("alike", "p", "app"),
			view("scored", "SELECT id, pgml.predict('p', ARRAY[1.0]) FROM public.docs"), table("app.docs2"),
		}),
		functions: append(functions, routine("wrap", 'v', "sql", "SELECT pgml.embed('m', body) FROM docs"), routine("pgml.only1", 'i', "c", "")),
	}
	ml2 := server{target: 2, relations: slices.Concat(both, tables("open.thing")), functions: functions}
	f := twoReplicas()
	f.Targets[1].Feed, f.Targets[2].Feed = router.FeedLogical, router.FeedDump
	f.Catalogs = map[string]*router.Catalog{"shop": mustCatalog(tb, primary, ml1, ml2)}
	return f
}

// names are the replicas that a decision leaves the choice of.
func names(f *router.Fleet, d router.Decision) string {
	if d.Target != "" {
		return d.Target
	}
	var out []string
	for i := range f.Targets {
		if d.Candidates>>i&1 != 0 {
			out = append(out, f.Targets[i].Name)
		}
	}
	return strings.Join(out, " ")
}

func TestPresence(t *testing.T) {
	f := shop(t)
	p := mustPolicy(t, router.Config{Reads: "replica"})
	v := &router.View{SearchPath: []string{"app", "public"}, Database: "shop", User: "app"}
	inBlock := *v
	inBlock.InTransaction = true
	for _, c := range []struct{ sql, want string }{
		{"SELECT 1", "ml1 ml2"},
		{"SELECT * FROM docs", "ml1 ml2"},
		{"SELECT * FROM open.thing", "ml1 ml2"},
		{"SELECT * FROM second", "ml1"},
		{"SELECT * FROM docs JOIN second USING (id)", "ml1"},
		{"SELECT * FROM recent", "ml1 ml2"},
		{"SELECT * FROM alike", "ml1"},
		{"SELECT body FROM wider", "ml1"},
		{"SELECT count(*) FROM wider", "ml1"},
		{"SELECT (r).field FROM docs", "ml1 ml2"},
		{"SELECT (r).pure FROM docs", "ml1 ml2"},
		{"SELECT id FROM quoted", "ml1"},
		{"SELECT * FROM lone", "ml1"},
		{"SELECT * FROM scored", "ml1"},
		{"SELECT wrap(1)", "ml1"},
		{"SELECT pure(1) FROM docs", "ml1 ml2"},
		{"SELECT pgml.embed('m', body) FROM docs", "ml1 ml2"},
		{"SELECT pgml.embed('m', body) FROM second", "ml1"},
		{"SELECT pgml.only1(1)", "ml1"},
		{"SELECT * FROM pgml.train('q', 'regression', 'public.docs', 'y')", "ml1"},
		{"SELECT * FROM pgml.train('q', 'regression', 'docs', 'y')", "ml1"},
		{"SELECT * FROM pgml.deploy('q', 'best_score', 'linear')", "ml1"},
		{"INSERT INTO lone VALUES (1)", "ml1"},
		{"SELECT * FROM second; SELECT * FROM docs", "ml1"},

		{"SELECT * FROM only_primary", "primary: only_primary cannot be read"},
		{"SELECT * FROM copying", "primary: copying cannot be read"},
		{"SELECT * FROM far", "primary: public.only_primary cannot be read"},
		{"SELECT * FROM wider", "primary: wider cannot be read"},
		{"SELECT body FROM wider WHERE id = 1", "primary: wider cannot be read"},
		{`SELECT "a b" FROM quoted`, "primary: quoted cannot be read"},
		{"SELECT wider FROM wider", "primary: wider cannot be read"},
		{"SELECT * FROM guarded", "primary: guarded cannot be read"},
		{"SELECT * FROM granted", "primary: granted cannot be read"},
		{"SELECT * FROM drawn", "primary: calls a function that belongs"},
		{"SELECT * FROM system", "primary: system catalogs"},
		{"SELECT writes() FROM docs", "primary: writes is not known to be free"},
		{"SELECT (r).writes FROM docs", "primary: writes is not known to be free"},
		{"SELECT lower(body) FROM docs", "primary: lower is not known to be free"},
		{"SELECT upper(body), pg_catalog.lower(body) FROM docs", "ml1 ml2"},
		{"SELECT hidden() FROM docs", "primary: hidden is not known to be free"},
		{"SELECT counted() FROM docs", "primary: only_primary cannot be read"},
		{"SELECT here() FROM docs", "primary: public.here cannot be read"},
		{"SELECT * FROM only_primary; SELECT * FROM docs", "primary: several statements"},

		{"SELECT pgml.embed('m', body) FROM only_primary", "refused: only_primary"},
		{"SELECT pgml.embed('m', body) FROM far", "refused: public.only_primary"},
		{"SELECT pgml.embed('m', writes()::text)", "refused: writes is not known"},
		{"SELECT pgml.embed('m', x) FROM drawn", "refused: pgml.embed is needed together"},
		{"SELECT * FROM lone JOIN only_primary USING (id)", "refused: only_primary"},
		{"SELECT * FROM pgml.train('q', 'regression', 'public.only_primary', 'y')", "refused: public.only_primary"},
		{"SELECT * FROM pgml.train('q', relation_name => 'copying')", "refused: copying"},
		{"SELECT * FROM pgml.snapshot('unsubscribed', 'y')", "refused: unsubscribed"},
		{"/*+ pgshunt: replica:ml1 */ SELECT * FROM guarded", "refused: guarded"},
		{"/*+ pgshunt: replica:ml1 */ SELECT * FROM unsubscribed", "ml1"},
		{"/*+ pgshunt: replica */ SELECT * FROM second", "ml1"},
		{"/*+ pgshunt: replica */ SELECT * FROM only_primary", "primary: only_primary cannot be read"},
	} {
		d := p.Decide(parser.Parse(c.sql), v, f)
		got := d.Place.String()
		if d.Place == router.Replica {
			got = names(f, d)
		} else {
			got += ": " + d.Text()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, expected %s", c.sql, got, c.want)
		}
	}
}

func TestRefusalNamesTableReplicaAndRemedy(t *testing.T) {
	f := shop(t)
	p := mustPolicy(t, router.Config{})
	v := &router.View{SearchPath: []string{"public"}, Database: "shop"}
	for sql, want := range map[string][]string{
		"SELECT pgml.embed('m', body) FROM unsubscribed": {
			"unsubscribed", "ml1", "On ml1, unsubscribed is not subscribed.", "On ml2, unsubscribed is not there.", "pgshunt feed apply --replica ml1",
		},
		"SELECT pgml.embed('m', body) FROM wider WHERE id = 1":        {"lacks column id there", "pgshunt feed migrate --replica ml1"},
		"SELECT pgml.embed('m', body) FROM guarded":                   {"other row-level security", "policies"},
		"SELECT pgml.embed('m', body) FROM granted":                   {"roles that may not read it on the primary", "privileges"},
		"SELECT * FROM pgml.train('q', 'regression', 'copying', 'y')": {"is still being copied", "Try again"},
	} {
		d := p.Decide(parser.Parse(sql), v, f)
		if d.Place != router.Refused || d.Err.Code != pgerr.NotInPrerequisiteState {
			t.Errorf("%s: not refused for what is missing: %+v", sql, d)
			continue
		}
		text := d.Err.Message + "\n" + d.Err.Detail + "\n" + d.Err.Hint
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %q is not in\n%s", sql, part, text)
			}
		}
	}
	f.Targets[1].Healthy = false
	d := p.Decide(parser.Parse("SELECT pgml.embed('m', body) FROM unsubscribed"), v, f)
	if d.Err == nil || !strings.Contains(d.Err.Hint, "pgshunt feed refresh --replica ml2") {
		t.Errorf("a dump feed is refreshed: %+v", d.Err)
	}
}

func TestAnotherSchemaFirstOnAReplica(t *testing.T) {
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, server{relations: tables("docs")},
		server{target: 1, relations: tables("docs", "app.docs")}, server{target: 2, relations: tables("docs")})}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	for path, want := range map[string]string{"app": "ml2", "": "ml1 ml2"} {
		d := p.Decide(parser.Parse("SELECT * FROM docs"), &router.View{SearchPath: []string{path, "public"}}, f)
		if got := names(f, d); got != want {
			t.Errorf("search_path %q, public: %q, expected %q: %s", path, got, want, d.Text())
		}
	}
}

// What row-level security looks into must be there as well.
func TestPoliciesThatReadOtherTables(t *testing.T) {
	shared := table("shared")
	shared.Security, shared.Policies = "p", &parser.Parse("SELECT 1 WHERE id IN (SELECT m.id FROM public.members m WHERE public.mine(m.id))").Parts[0]
	members := table("members")
	members.Absent = "is not subscribed"
	with := func(target int, members router.RelationFacts) server {
		return server{
			target: target, relations: []router.RelationFacts{shared, members, table("docs"), view("over", "SELECT id FROM public.shared")},
			functions: []router.FunctionFacts{routine("mine", 's', "sql", "SELECT true FROM public.docs")},
		}
	}
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, with(0, table("members")), with(1, members), with(2, table("members")))}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	v := &router.View{SearchPath: []string{"public"}}
	for sql, want := range map[string]string{
		"SELECT * FROM shared": "ml2", "SELECT * FROM public.shared": "ml2", "SELECT * FROM over": "ml2", "SELECT * FROM docs": "ml1 ml2",
		"SELECT pgml.embed('m', body) FROM shared": "ml2",
	} {
		if d := p.Decide(parser.Parse(sql), v, f); names(f, d) != want {
			t.Errorf("%s: %q, expected %q: %s", sql, names(f, d), want, d.Text())
		}
	}
	v.InTransaction = true
	for written, want := range map[string]router.Place{"members": router.Refused, "docs": router.Refused, "other": router.Replica} {
		v.Written = []parser.Relation{{Name: written}}
		if d := p.Decide(parser.Parse("SELECT pgml.embed('m', body) FROM shared"), v, f); d.Place != want {
			t.Errorf("after %s was written: %s, expected %s: %s", written, d.Place, want, d.Text())
		}
	}
	v.Written = []parser.Relation{{Name: "shared"}}
	if d := p.Decide(parser.Parse("SELECT pgml.embed('m', body) FROM docs"), v, f); d.Place != router.Replica {
		t.Errorf("a table with such policies hides no write: %s", d.Text())
	}
}

// A schema that the user may not use is passed over in search_path.
func TestASchemaThatMayNotBeUsedOnAReplica(t *testing.T) {
	read := func(target int, barred bool, more ...router.RelationFacts) server {
		f := table("app.docs")
		f.Barred = barred
		return server{target: target, relations: append(more, f)}
	}
	f := twoReplicas()
	p := mustPolicy(t, router.Config{Reads: "replica"})
	for name, c := range map[string]struct {
		primary, ml1, ml2 server
		sql, want         string
	}{
		"the next schema has it": {read(0, false, table("docs")), read(1, true, table("docs")), read(2, false, table("docs")), "docs", "ml2"},
		"with its schema":        {read(0, false, table("docs")), read(1, true, table("docs")), read(2, false, table("docs")), "app.docs", "ml1 ml2"},
		"only there":             {read(0, false), read(1, true, table("docs")), read(2, false), "docs", "ml2"},
		"no other has it":        {read(0, false), read(1, true), read(2, false), "docs", "ml1 ml2"},
	} {
		f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, c.primary, c.ml1, c.ml2)}
		d := p.Decide(parser.Parse("SELECT * FROM "+c.sql), &router.View{SearchPath: []string{"app", "public"}}, f)
		if got := names(f, d); got != c.want {
			t.Errorf("%s: %q, expected %q: %s", name, got, c.want, d.Text())
		}
	}
}

func TestReplicaOfFewRelations(t *testing.T) {
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"": mustCatalog(t, server{relations: tables("a", "b", "c", "d")},
		server{target: 1, relations: tables("a", "b", "c", "d")}, server{target: 2, few: true, relations: tables("c")})}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	for name, want := range map[string]string{"a": "ml1", "c": "ml1 ml2", "public.d": "ml1", "public.c": "ml1 ml2", "nowhere": "ml1"} {
		d := p.Decide(parser.Parse("SELECT * FROM "+name), &router.View{SearchPath: []string{"public"}}, f)
		if got := names(f, d); got != want {
			t.Errorf("%s: %q, expected %q", name, got, want)
		}
	}
}

func TestUnreadCatalogs(t *testing.T) {
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"known": mustCatalog(t, server{relations: tables("a")}, server{target: 2, relations: tables("a")})}
	p := mustPolicy(t, router.Config{Reads: "replica"})
	in := func(database, sql string) router.Decision {
		return p.Decide(parser.Parse(sql), &router.View{SearchPath: []string{"public"}, Database: database}, f)
	}
	if d := in("known", "SELECT * FROM a"); names(f, d) != "ml2" {
		t.Errorf("a table goes where no catalog was read: %s", names(f, d))
	}
	if d := in("known", "SELECT pgml.embed('m', 'x')"); names(f, d) != "ml1 ml2" {
		t.Errorf("what reads no table needs no catalog: %q", names(f, d))
	}
	if d := in("new", "SELECT * FROM a"); d.Place != router.Primary || !strings.Contains(d.Text(), "not known yet") {
		t.Errorf("a database without a catalog: %s: %s", d.Place, d.Text())
	}
	for _, sql := range []string{"SELECT pgml.embed('m', b) FROM a", "SELECT pgml.train('p', relation_name => 'a')"} {
		if d := in("new", sql); d.Place != router.Refused || d.Err.Code != pgerr.NotInPrerequisiteState || !strings.Contains(d.Err.Detail, "not known yet") {
			t.Errorf("a table of which nothing is known: %s: %s", d.Place, d.Text())
		}
	}
	if d := in("new", "SELECT pgml.embed('m', 'x')"); names(f, d) != "ml1 ml2" {
		t.Errorf("what reads no table: %s: %s", d.Place, d.Text())
	}
}

func TestBeforeTheFirstCatalog(t *testing.T) {
	f := twoReplicas()
	p := mustPolicy(t, router.Config{Reads: "replica"})
	read := func() router.Place { return p.Decide(parser.Parse("SELECT * FROM a"), &router.View{}, f).Place }
	if got := read(); got != router.Replica {
		t.Errorf("nobody looks at servers: %s", got)
	}
	f.Catalogs = map[string]*router.Catalog{}
	if got := read(); got != router.Primary {
		t.Errorf("somebody has not looked yet: %s", got)
	}
}

func TestWrittenThenRead(t *testing.T) {
	f := shop(t)
	p := mustPolicy(t, router.Config{})
	for _, c := range []struct {
		written, sql string
		stale        bool
	}{
		{"public.docs", "SELECT pgml.embed('m', id::text) FROM recent", true},
		{"public.docs", "SELECT * FROM scored", true},
		{"public.docs", "SELECT wrap(1)", true},
		{"public.second", "SELECT pgml.embed('m', id::text) FROM recent", false},
		{"public.second", "SELECT * FROM scored", false},
		{"public.touching", "SELECT * FROM scored", true},
		{"public.recent", "SELECT pgml.embed('m', body) FROM docs", true},
		{"public.docs", "SELECT * FROM lone", false},
		{"public.docs", "SELECT * FROM pgml.train('q', 'regression', 'recent', 'y')", true},
		{"public.second", "SELECT * FROM pgml.train('q', 'regression', 'recent', 'y')", false},
		{"public.second", "SELECT * FROM pgml.train('q', 'regression', 'public.' || 'docs', 'y')", true},
		{"public.second", "SELECT * FROM pgml.train('q')", false},
	} {
		schema, name := cut(c.written)
		v := &router.View{
			SearchPath: []string{"public"}, Database: "shop", InTransaction: true,
			Written: []parser.Relation{{Schema: schema, Name: name}},
		}
		d := p.Decide(parser.Parse(c.sql), v, f)
		if stale := d.Place == router.Refused && d.Rule == router.RuleTransaction; stale != c.stale {
			t.Errorf("after %s was written: %s: %s (%s), expected a refusal: %v", c.written, c.sql, d.Place, d.Text(), c.stale)
		}
	}
}

// What a function may do that is volatile or not known is not among a statement's relations.
func TestDecisionSaysWhatMayWrite(t *testing.T) {
	f := shop(t)
	p := mustPolicy(t, router.Config{})
	v := &router.View{SearchPath: []string{"public"}, Database: "shop", User: "app", InTransaction: true}
	for sql, want := range map[string]bool{
		"SELECT id FROM docs": false, "SELECT pure()": false, "SELECT counted()": false, "SELECT nextval('s')": false,
		"SELECT writes()": true, "SELECT unheard_of()": true, "SELECT hidden()": true, "INSERT INTO docs SELECT writes()": true,
		"SELECT pgml.embed('m', 'x')": false, "SELECT wrap()": true, "SELECT 1; SELECT writes()": true, "SELECT 1; SELECT pure()": false,
	} {
		if got := p.Decide(parser.Parse(sql), v, f).MayWrite; got != want {
			t.Errorf("%s: may write: %t", sql, got)
		}
	}
}

func TestBoundParameters(t *testing.T) {
	f := shop(t)
	f.Targets[2].Training = true
	p := mustPolicy(t, router.Config{})
	v := &router.View{SearchPath: []string{"public"}, Database: "shop"}
	st := parser.Parse("SELECT * FROM pgml.train($1, 'regression', relation_name => $2)")
	d := p.Decide(st, v, f)
	if d.Place != router.Replica || d.ProjectParam != 1 || d.SourceParam != 2 || d.Target != "" {
		t.Fatalf("before Bind: %+v", d)
	}
	bind := func(project, relation string, oid bool) router.Decision {
		return p.DecideBound(st, v, f, func(n int) router.Parameter {
			if n == 1 {
				return router.Parameter{Text: project, Known: true}
			}
			return router.Parameter{Text: relation, Known: !oid, OID: oid}
		})
	}
	for i := range 20 {
		project := "project" + strings.Repeat("x", i)
		if d := bind(project, "docs", false); d.Target != router.HomeOf(project, f) || d.Project != project || d.ProjectParam != 0 {
			t.Errorf("%s: %+v", project, d)
		}
	}
	if d := bind("p", "public.only_primary", false); d.Place != router.Refused || d.Err.Code != pgerr.NotInPrerequisiteState {
		t.Errorf("a relation that is not there: %s, %s", d.Place, d.Text())
	}
	if d := bind("p", "16385", true); d.Place != router.Refused || !strings.Contains(d.Err.Message, "oid") {
		t.Errorf("an oid of the primary's: %s, %s", d.Place, d.Text())
	}
}
