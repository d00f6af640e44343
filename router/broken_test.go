package router_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/router"
)

// condition is what may be wrong with a replica.
type condition string

const (
	fine       condition = "fine"
	down       condition = "down"
	behind     condition = "behind"
	unmodelled condition = "without the model"
	tableless  condition = "without the table"
	unread     condition = "with a catalog that cannot be read"
	pgmlless   condition = "without pgml"
)

var conditions = []condition{fine, down, behind, unmodelled, tableless, unread, pgmlless}

// broken is a fleet whose replicas are in those conditions.
func broken(t *testing.T, of [2]condition) *router.Fleet {
	f := twoReplicas()
	servers := []server{{relations: tables("docs")}}
	for i, is := range of {
		r := &f.Targets[i+1]
		r.Feed, r.Training, r.LagKnown, r.Models = router.FeedLogical, true, true, map[string]bool{"p": true}
		has := server{target: i + 1, relations: tables("docs")}
		switch is {
		case down:
			r.Healthy = false
		case behind:
			r.Lag = time.Hour
		case unmodelled:
			r.Models = map[string]bool{}
		case tableless:
			has.relations = nil
		case pgmlless:
			r.Trouble = "has no pgml extension"
		}
		if is != unread {
			servers = append(servers, has)
		}
	}
	f.Catalogs = map[string]*router.Catalog{"shop": mustCatalog(t, servers[0], servers[1:]...)}
	return f
}

// Whatever two replicas are in, a statement goes only to one that can answer it; a plain read
// goes to the primary where there is none, and all else is refused with a word on what to do. It is never refused
// while a replica could answer.
func TestWhenThingsBreak(t *testing.T) {
	p := mustPolicy(t, router.Config{
		Reads: "replica", MaxLag: 2 * time.Second, Inference: router.Requirement{Freshness: router.Freshness{Within: 2 * time.Second}, Wait: time.Second},
		Training: router.Requirement{Freshness: router.Freshness{Within: time.Second}, Wait: time.Minute},
	})
	for _, c := range []struct {
		sql  string
		not  []condition // who of the replicas cannot answer
		home bool        // the project's home alone may
	}{
		{sql: "SELECT * FROM docs", not: []condition{down, behind, tableless, unread}},
		{sql: "SELECT pgml.predict('p', ARRAY[id]) FROM docs", not: []condition{down, unmodelled, tableless, unread, pgmlless}},
		{sql: "SELECT pgml.predict('p', ARRAY[1.0])", not: []condition{down, unmodelled, pgmlless}},
		{sql: "SELECT pgml.embed('m', id::text) FROM docs", not: []condition{down, tableless, unread, pgmlless}},
		{sql: "SELECT pgml.train('p', 'regression', 'docs', 'y')", not: []condition{down, tableless, unread, pgmlless}, home: true},
	} {
		for _, a := range conditions {
			for _, b := range conditions {
				f := broken(t, [2]condition{a, b})
				d := p.Decide(parser.Parse(c.sql), &router.View{SearchPath: []string{"public"}, Database: "shop"}, f)
				home := router.HomeOf("p", f)
				want := ""
				for i, is := range []condition{a, b} {
					name := f.Targets[i+1].Name
					if !slices.Contains(c.not, is) && (!c.home || name == home) {
						want += " " + name
					}
				}
				if want == " ml1 ml2" && strings.Contains(c.sql, "docs") { // one that need not be waited for comes first
					switch {
					case a == behind && b != behind:
						want = " ml2"
					case b == behind && a != behind:
						want = " ml1"
					}
				}
				what := fmt.Sprintf("%s, ml1 is %s, ml2 is %s (the home is %s)", c.sql, a, b, home)
				modelless := a == unmodelled && b == unmodelled || a == unmodelled && b == pgmlless || a == pgmlless && b == unmodelled
				switch {
				case want != "":
					if got := " " + names(f, d); d.Place != router.Replica || got != want {
						t.Errorf("%s: %s%s, expected%s: %s", what, d.Place, got, want, d.Text())
					}
				case c.sql == "SELECT * FROM docs":
					if d.Place != router.Primary {
						t.Errorf("%s: %s, expected the primary: %s", what, d.Place, d.Text())
					}
				case d.Place == router.Replica && d.Target == home && modelless: // the home's own error is the answer
				case d.Place != router.Refused:
					t.Errorf("%s: %s %s, expected a refusal: %s", what, d.Place, names(f, d), d.Text())
				case d.Err.Code != pgerr.CannotConnectNow && d.Err.Code != pgerr.NotInPrerequisiteState, d.Err.Hint == "", d.Err.Detail == "":
					t.Errorf("%s: %+v", what, d.Err)
				case a == b && (a == tableless || a == unread) != (d.Err.Code == pgerr.NotInPrerequisiteState):
					t.Errorf("%s: SQLSTATE %s", what, d.Err.Code)
				}
			}
		}
	}
}
