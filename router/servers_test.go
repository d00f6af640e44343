package router_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/router"
)

func TestModels(t *testing.T) {
	f := twoReplicas()
	f.Targets[2].Training = true
	home, other := router.HomeOf("p", f), "ml1"
	if home == "ml1" {
		other = "ml2"
	}
	at := func(name string) *router.Target {
		return &f.Targets[slices.IndexFunc(f.Targets, func(t router.Target) bool { return t.Name == name })]
	}
	p := mustPolicy(t, router.Config{})
	decide := func(sql string) router.Decision {
		return p.Decide(parser.Parse(sql), &router.View{SearchPath: []string{"public"}}, f)
	}
	const predict = "SELECT pgml.predict('p', ARRAY[1.0])"
	if d := decide(predict); names(f, d) != home {
		t.Errorf("while nothing is known of models: %s, expected the home %s", names(f, d), home)
	}
	at(home).Models, at(other).Models = map[string]bool{"p": true}, map[string]bool{"p": true}
	if d := decide(predict); names(f, d) != "ml1 ml2" {
		t.Errorf("both have it: %s", names(f, d))
	}
	at(home).Models = map[string]bool{}
	if d := decide(predict); names(f, d) != other {
		t.Errorf("only %s has it: %s", other, names(f, d))
	}
	at(other).Healthy = false
	if d := decide(predict); d.Place != router.Refused || d.Err.Code != pgerr.CannotConnectNow || !strings.Contains(d.Err.Detail, other) {
		t.Errorf("the only one with the model is down: %+v", d.Err)
	}
	at(other).Healthy, at(other).Models = true, map[string]bool{}
	if d := decide(predict); names(f, d) != home {
		t.Errorf("nobody has it: %s, expected the home %s to say so", names(f, d), home)
	}
}

func TestReplicaWithoutPostgresML(t *testing.T) {
	f := shop(t)
	f.Targets[1].Trouble = "has no pgml extension"
	p := mustPolicy(t, router.Config{Reads: "replica"})
	for sql, want := range map[string]string{
		"SELECT * FROM docs":                         "ml1 ml2",
		"SELECT pgml.embed('m', body) FROM docs":     "ml2",
		"SELECT pgml.embed('m', 'x'); SELECT 1":      "ml2",
		"/*+ pgshunt: replica */ SELECT * FROM docs": "ml1 ml2",
	} {
		d := p.Decide(parser.Parse(sql), &router.View{SearchPath: []string{"public"}, Database: "shop"}, f)
		if got := names(f, d); got != want {
			t.Errorf("%s: %q, expected %q: %s", sql, got, want, d.Text())
		}
	}
}

func TestPrimaryWithPostgresML(t *testing.T) {
	f := shop(t)
	f.Targets[0].Pgml = "2.10.0"
	v := &router.View{SearchPath: []string{"public"}, Database: "shop"}
	decide := func(orPrimary bool, sql string) router.Decision {
		p := mustPolicy(t, router.Config{Inference: router.Requirement{OrPrimary: orPrimary}})
		return p.Decide(parser.Parse(sql), v, f)
	}
	if d := decide(false, "SELECT pgml.embed('m', body) FROM only_primary"); d.Place != router.Primary {
		t.Errorf("only the primary has the table: %s: %s", d.Place, d.Text())
	}
	if d := decide(false, "SELECT pgml.embed('m', body) FROM docs"); d.Place != router.Replica || d.OrPrimary {
		t.Errorf("a replica has it: %+v", d)
	}
	if d := decide(true, "SELECT pgml.embed('m', body) FROM docs"); d.Place != router.Replica || !d.OrPrimary {
		t.Errorf("the primary may stand in: %+v", d)
	}
	f.Targets[1].Standby, f.Targets[2].Standby = true, true
	if d := decide(false, "SELECT pgml.predict('p', ARRAY[1.0])"); d.Place != router.Primary {
		t.Errorf("standbys cannot load models: %s: %s", d.Place, d.Text())
	}
	if d := decide(false, "SELECT pgml.embed('m', 'x')"); names(f, d) != "ml1 ml2" {
		t.Errorf("embed needs no model: %s: %s", d.Place, d.Text())
	}
	if d := decide(false, "SELECT * FROM pgml.train('p', 'regression', 'docs', 'y')"); d.Place != router.Primary || d.Class != router.Training {
		t.Errorf("standbys cannot train: %s: %s", d.Place, d.Text())
	}
	for sql, why := range map[string]string{
		"/*+ pgshunt: replica:ml1 */ SELECT pgml.predict('p', ARRAY[1.0])":                            "loads a model",
		"/*+ pgshunt: replica:ml1 */ SELECT pgml.predict($1, ARRAY[1.0])":                             "loads a model",
		"/*+ pgshunt: replica:ml1 */ SELECT * FROM pgml.train('p', 'regression', 'public.docs', 'y')": "writes",
		"/*+ pgshunt: replica:ml1 */ DELETE FROM pgml.deployments":                                    "writes",
	} {
		if d := decide(false, sql); d.Place != router.Refused || !strings.Contains(d.Err.Detail, why) {
			t.Errorf("a hint cannot make a standby do it: %s: %s: %s", sql, d.Place, d.Text())
		}
	}
	if d := decide(false, "/*+ pgshunt: replica:ml1 */ SELECT pgml.embed('m', 'x')"); names(f, d) != "ml1" {
		t.Errorf("embed needs no model: %s: %s", d.Place, d.Text())
	}
	f.Targets[1].Healthy, f.Targets[2].Healthy = false, false
	if d := decide(false, "SELECT pgml.embed('m', 'x')"); d.Place != router.Refused || d.Err.Code != pgerr.CannotConnectNow {
		t.Errorf("all are down, and the policy has no primary: %s: %s", d.Place, d.Text())
	}
	if d := decide(true, "SELECT pgml.embed('m', 'x')"); d.Place != router.Primary {
		t.Errorf("all are down: %s: %s", d.Place, d.Text())
	}
	if d := decide(true, "SELECT * FROM scored"); d.Place != router.Refused {
		t.Errorf("what only replicas have: %s: %s", d.Place, d.Text())
	}
}

// Several statements in one text are no way around the rules.
func TestRulesForSeveralStatements(t *testing.T) {
	f := shop(t)
	for i := range f.Targets {
		f.Targets[i].Reads = f.Targets[i].Replica
	}
	match := func(name string) router.Match { return router.Match{Relation: router.Patterns{name}} }
	p := mustPolicy(t, router.Config{Reads: "replica", Rules: []router.Rule{
		{Match: match("secret*"), Reject: "not here"}, {Match: match("docs"), To: "ml2", Timeout: time.Second}, {Match: match("second"), To: "primary"},
	}})
	v := &router.View{SearchPath: []string{"public"}, Database: "shop"}
	inBlock := *v
	inBlock.InTransaction = true
	for _, c := range []struct{ sql, where, rule string }{
		{"SELECT 1; SELECT * FROM secrets", "refused", "rules[0]"},
		{"SELECT * FROM secrets; INSERT INTO docs VALUES (1)", "refused", "rules[0]"},
		{"SELECT pgml.embed('m', 'x'); SELECT * FROM secrets", "refused", "rules[0]"},
		{"SELECT * FROM docs; SELECT count(*) FROM docs", "ml2", "rules[1]"},
		{"SELECT pgml.embed('m', body) FROM docs; SELECT count(*) FROM docs", "ml2", "rules[1]"},
		{"SELECT * FROM docs; INSERT INTO docs VALUES (1)", "primary", "multi"},
		{"BEGIN; SELECT * FROM docs", "primary", "multi"},
		{"SELECT * FROM docs; SELECT 1", "any replica", "multi"},
		{"SELECT * FROM docs; SELECT * FROM second", "primary", "multi"},
		{"SELECT * FROM second; SELECT * FROM second", "primary", "rules[2]"},
		{"SELECT pgml.embed('m', 'x'); SELECT * FROM second", "refused", "multi"},
		{"SELECT 1; SELECT 2", "any replica", "multi"},
	} {
		d := p.Decide(parser.Parse(c.sql), v, f)
		if got := router.TargetName(d, v); got != c.where || d.Rule != c.rule {
			t.Errorf("%s: %s by %s, expected %s by %s: %s", c.sql, got, d.Rule, c.where, c.rule, d.Text())
		}
	}
	if d := p.Decide(parser.Parse("SELECT * FROM secrets; SELECT 1"), &inBlock, f); d.Place != router.Refused {
		t.Errorf("a transaction is no way around a rule that rejects: %s", d.Text())
	}
}

func TestFreshness(t *testing.T) {
	f := shop(t)
	behind := func(target int, lag time.Duration, known bool) {
		f.Targets[target].Lag, f.Targets[target].LagKnown = lag, known
	}
	v := &router.View{SearchPath: []string{"public"}, Database: "shop"}
	reads := mustPolicy(t, router.Config{Reads: "replica", MaxLag: 2 * time.Second})
	read := func() string {
		d := reads.Decide(parser.Parse("SELECT * FROM docs"), v, f)
		if d.Place != router.Replica {
			return d.Text()
		}
		return names(f, d)
	}
	behind(1, time.Second, true)
	if got := read(); got != "ml1" {
		t.Errorf("only ml1's lag is known: %s", got)
	}
	behind(1, 3*time.Second, true)
	if got := read(); got != "no replica is known to be fresh enough" {
		t.Errorf("none is within two seconds: %s", got)
	}
	f.Targets[2].Feed = router.FeedFDW
	if got := read(); got != "ml2" {
		t.Errorf("postgres_fdw reads the primary itself: %s", got)
	}

	infer := mustPolicy(t, router.Config{
		Inference: router.Requirement{Freshness: router.Freshness{Within: 2 * time.Second}, Wait: time.Second},
		Training:  router.Requirement{Freshness: router.Freshness{Session: true}, Wait: time.Minute},
		Rules: []router.Rule{
			{Match: router.Match{Application: router.Patterns{"batch"}}, To: "ml1", Freshness: router.Freshness{Session: true}, Timeout: time.Hour},
		},
	})
	decide := func(sql, application string) router.Decision {
		w := *v
		w.Application = application
		return infer.Decide(parser.Parse(sql), &w, f)
	}
	const embed = "SELECT pgml.embed('m', body) FROM docs"
	if d := decide(embed, ""); names(f, d) != "ml2" {
		t.Errorf("one is fresh, so none has to be waited for: %+v", d)
	}
	f.Targets[2].Feed = router.FeedDump
	if d := decide(embed, ""); names(f, d) != "ml1 ml2" || d.Freshness.Within != 2*time.Second || d.Wait != time.Second {
		t.Errorf("the caller has to wait: %+v", d)
	}
	if d := decide("SELECT pgml.embed('m', 'x')", ""); !d.Freshness.Any() || d.Wait != 0 {
		t.Errorf("without tables it does not matter: %+v", d)
	}
	if d := decide("SELECT * FROM pgml.train('p', 'regression', 'docs', 'y')", ""); !d.Freshness.Session || d.Wait != time.Minute {
		t.Errorf("training: %+v", d)
	}
	if d := decide(embed, "batch"); d.Target != "ml1" || !d.Freshness.Session || d.Timeout != time.Hour || d.Wait != time.Second {
		t.Errorf("a rule's own: %+v", d)
	}
	if d := decide("SELECT * FROM pgml.train('p', 'regression', 'docs', 'y')", "batch"); d.Target != "ml1" || !d.Freshness.Session || d.Wait != time.Minute {
		t.Errorf("a rule's own, of training: %+v", d)
	}
	f.Targets[1].Feed = router.FeedFDW
	if d := decide(embed, "batch"); !d.Freshness.Any() {
		t.Errorf("what reads the primary is never behind: %+v", d)
	}
}

func TestCopiesBesideForeignTables(t *testing.T) {
	copied := table("hot")
	copied.Copied = true
	over := view("over", "SELECT id FROM public.hot")
	primary := server{relations: slices.Concat(tables("docs", "hot"), []router.RelationFacts{over})}
	ml1 := server{target: 1, relations: []router.RelationFacts{table("docs"), copied, over}}
	ml2 := server{target: 2, relations: primary.relations}
	f := twoReplicas()
	f.Catalogs = map[string]*router.Catalog{"shop": mustCatalog(t, primary, ml1, ml2)}
	f.Targets[1].Feed, f.Targets[1].LagKnown, f.Targets[1].Lag = router.FeedFDW, true, time.Hour
	f.Targets[1].Training, f.Targets[2].Training = true, false
	f.Targets[2].Feed, f.Targets[2].LagKnown, f.Targets[2].Lag = router.FeedLogical, true, time.Minute
	v := &router.View{SearchPath: []string{"public"}, Database: "shop"}
	decide := func(fresh router.Freshness, sql string) (string, bool) {
		p := mustPolicy(t, router.Config{
			Reads: "replica", MaxLag: fresh.Within, Inference: router.Requirement{Freshness: fresh, Wait: time.Second}, Training: router.Requirement{Freshness: fresh, Wait: time.Second},
		})
		d := p.Decide(parser.Parse(sql), v, f)
		if d.Place != router.Replica {
			return d.Place.String(), false
		}
		return names(f, d), !d.Freshness.Any()
	}
	second, session := router.Freshness{Within: time.Second}, router.Freshness{Session: true}
	for _, c := range []struct {
		fresh router.Freshness
		sql   string
		want  string
		waits bool
	}{
		{second, "SELECT pgml.embed('m', body) FROM docs", "ml1", false},
		{session, "SELECT pgml.embed('m', body) FROM docs", "ml1", false},
		{router.Freshness{Within: 2 * time.Minute}, "SELECT pgml.embed('m', body) FROM docs", "ml2", true},
		{second, "SELECT pgml.embed('m', body) FROM hot", "ml1 ml2", true},
		{second, "SELECT pgml.embed('m', id::text) FROM over", "ml1 ml2", true},
		{session, "SELECT pgml.embed('m', body) FROM hot", "ml1 ml2", true},
		{router.Freshness{}, "SELECT pgml.embed('m', body) FROM hot", "ml1 ml2", false},
		{router.Freshness{Within: 2 * time.Hour}, "SELECT pgml.embed('m', body) FROM hot", "ml1 ml2", true},
		{second, "SELECT * FROM pgml.train('p', 'regression', 'public.docs', 'y')", "ml1", false},
		{second, "SELECT * FROM pgml.train('p', 'regression', 'public.hot', 'y')", "ml1", true},
		{second, "SELECT * FROM pgml.train('p', 'regression', 'public.over', 'y')", "ml1", true},
		{second, "SELECT * FROM docs", "ml1", false},
		{second, "SELECT * FROM hot", "primary", false},
	} {
		if got, waits := decide(c.fresh, c.sql); got != c.want || waits != c.waits {
			t.Errorf("%s, %s: %s, waits: %v", c.fresh, c.sql, got, waits)
		}
	}
}
