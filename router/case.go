package router

import (
	"cmp"
	"fmt"
	"strings"

	"pgshunt/parser"
)

// Case is one test of a policy: a statement, the session that sends it, and where it
// must go. testdata/routes holds the project's own; `pgshunt route --test` runs an
// operator's. What is empty is not compared.
type Case struct {
	Comment string      `json:"comment,omitempty"`
	SQL     string      `json:"sql"`
	Session CaseSession `json:"session,omitzero"`
	// Fleet is what is known of the servers, on top of what the caller of Decide says.
	Fleet *CaseFleet `json:"fleet,omitempty"`
	// Wire marks a case that can be sent to servers prepared with schema.sql and
	// replica.sql: Before first, then SQL, then After, in one session.
	Wire   bool     `json:"wire,omitempty"`
	Before []string `json:"before,omitempty"`
	After  []string `json:"after,omitempty"`

	Place    string `json:"place,omitempty"`
	Target   string `json:"target,omitempty"`
	Class    string `json:"class,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Reason   string `json:"reason,omitempty"` // a part of Decision.Text
	SQLState string `json:"sqlstate,omitempty"`
	Project  string `json:"project,omitempty"`
	// Freshness is "session", a bound such as "2s" or "any"; Candidates are the replicas
	// that one may be chosen from, in the order of the configuration.
	Freshness  string   `json:"freshness,omitempty"`
	Candidates []string `json:"candidates,omitempty"`
	Detached   bool     `json:"detached,omitempty"`
	Block      bool     `json:"block,omitempty"`
	Whole      bool     `json:"whole,omitempty"`
}

// CaseSession is the session of a Case. Relations are written as schema.name.
type CaseSession struct {
	SearchPath    []string `json:"search_path,omitempty"` // public if empty
	User          string   `json:"user,omitempty"`
	Database      string   `json:"database,omitempty"`
	Application   string   `json:"application,omitempty"`
	Hint          string   `json:"hint,omitempty"`
	InTransaction bool     `json:"in_transaction,omitempty"`
	Failed        bool     `json:"failed,omitempty"`
	Snapshot      bool     `json:"snapshot,omitempty"`
	Serializable  bool     `json:"serializable,omitempty"`
	ReadOnly      bool     `json:"read_only,omitempty"`
	Begun         bool     `json:"begun,omitempty"`
	Follows       string   `json:"follows,omitempty"`
	Written       []string `json:"written,omitempty"`
	WroteUnknown  bool     `json:"wrote_unknown,omitempty"`
	Locked        bool     `json:"locked,omitempty"`
	Pinned        string   `json:"pinned,omitempty"`
	PinnedTo      string   `json:"pinned_to,omitempty"`
	Temporary     []string `json:"temporary,omitempty"`
	// Prepared and Cursors are statements that made them, by name.
	Prepared map[string]string `json:"prepared,omitempty"`
	Cursors  map[string]string `json:"cursors,omitempty"`
	// Down names targets that are not healthy.
	Down []string `json:"down,omitempty"`
}

// Decide runs c against p and f.
func (c *Case) Decide(p *Policy, f *Fleet) Decision {
	f = c.Knows(f)
	return p.Decide(parser.Parse(c.SQL), c.Session.view(p, f), f)
}

// Knows returns f with what c takes for known.
func (c *Case) Knows(f *Fleet) *Fleet {
	f = f.without(c.Session.Down)
	if c.Fleet != nil {
		f = c.Fleet.apply(f, c.Session.Database)
	}
	return f
}

// Check compares d, which Decide has made for the same f, with what c expects, and returns a line for each difference.
func (c *Case) Check(d Decision, f *Fleet) (differences []string) {
	x := d.Explain(&View{PinnedTo: c.Session.PinnedTo}, c.Knows(f))
	state := ""
	if d.Err != nil {
		state = d.Err.Code
	}
	compare := func(what, got, want string) {
		if want != "" && got != want {
			differences = append(differences, fmt.Sprintf("%s is %q, expected %q", what, got, want))
		}
	}
	compare("place", d.Place.String(), c.Place)
	compare("target", x.Target, c.Target)
	compare("class", d.Class.String(), c.Class)
	compare("rule", d.Rule, c.Rule)
	compare("sqlstate", state, c.SQLState)
	compare("project", d.Project, c.Project)
	compare("freshness", cmp.Or(x.Freshness, "any"), c.Freshness)
	compare("candidates", strings.Join(x.Candidates, ", "), strings.Join(c.Candidates, ", "))
	if !strings.Contains(d.Text(), c.Reason) {
		differences = append(differences, fmt.Sprintf("reason is %q, expected to contain %q", d.Text(), c.Reason))
	}
	if c.Place != "" && (c.Detached != d.Detached || c.Block != d.Block || c.Whole != d.Whole) {
		differences = append(differences, fmt.Sprintf("detached, block, whole are %v, %v, %v, expected %v, %v, %v",
			d.Detached, d.Block, d.Whole, c.Detached, c.Block, c.Whole))
	}
	return differences
}

// Expect makes d what c expects.
func (c *Case) Expect(d Decision) {
	c.Place, c.Target, c.Class, c.Rule = d.Place.String(), d.Target, d.Class.String(), d.Rule
	c.Reason, c.Project, c.Detached, c.Block = d.Text(), d.Project, d.Detached, d.Block
	c.Whole = d.Whole
	c.SQLState = ""
	if d.Err != nil {
		c.SQLState = d.Err.Code
	}
}

func (s *CaseSession) view(p *Policy, f *Fleet) *View {
	v := &View{
		User: s.User, Database: s.Database, Application: s.Application, Hint: s.Hint,
		SearchPath: s.SearchPath, InTransaction: s.InTransaction || s.Failed, Failed: s.Failed,
		Snapshot: s.Snapshot || s.Serializable, Serializable: s.Serializable, ReadOnly: s.ReadOnly,
		Begun: s.Begun, Follows: s.Follows, Written: relationsNamed(s.Written), WroteUnknown: s.WroteUnknown, Locked: s.Locked,
		Pinned: s.Pinned, PinnedTo: s.PinnedTo, Temporary: relationsNamed(s.Temporary),
	}
	if len(v.SearchPath) == 0 {
		v.SearchPath = []string{"public"}
	}
	made := func(by map[string]string) func(string) (Decision, bool) {
		return func(name string) (Decision, bool) {
			sql, ok := by[name]
			if !ok {
				return Decision{}, false
			}
			return p.Decide(parser.Parse(sql), &View{SearchPath: v.SearchPath}, f), true
		}
	}
	v.Prepared, v.Cursor = made(s.Prepared), made(s.Cursors)
	return v
}

func relationsNamed(texts []string) (out []parser.Relation) {
	for _, text := range texts {
		out = append(out, relationNamed(text))
	}
	return out
}

// without returns f with the named targets marked as not healthy.
func (f *Fleet) without(names []string) *Fleet {
	if len(names) == 0 {
		return f
	}
	out := &Fleet{Targets: append([]Target(nil), f.Targets...), Catalogs: f.Catalogs}
	for _, name := range names {
		if t := out.target(name); t != nil {
			t.Healthy = false
		}
	}
	return out
}
