package main

import (
	"pgshunt/parser"
	"pgshunt/router"
)

// routeSession follows one imaginary session through a script, so that what a
// statement leaves behind is there for the next one.
type routeSession struct {
	policy   *router.Policy
	fleet    *router.Fleet
	view     router.View
	path     []string // search_path to go back to
	prepared map[string]router.Decision
	cursors  map[string]router.Decision
}

func newRouteSession(opts routeOptions, policy *router.Policy, fleet *router.Fleet) *routeSession {
	s := &routeSession{
		policy: policy, fleet: fleet, path: opts.searchPath,
		prepared: make(map[string]router.Decision), cursors: make(map[string]router.Decision),
	}
	s.view = router.View{
		User: opts.user, Database: opts.database, SearchPath: opts.searchPath,
		Hint: opts.hint, InTransaction: opts.block,
		Prepared: func(name string) (router.Decision, bool) { d, ok := s.prepared[name]; return d, ok },
		Cursor:   func(name string) (router.Decision, bool) { d, ok := s.cursors[name]; return d, ok },
	}
	return s
}

// route decides about text and notes what it does to the session, as if it succeeded.
func (s *routeSession) route(text string) route {
	st := parser.Parse(text)
	if st.Question != nil {
		return route{text, router.ExplainQuestion()}
	}
	d := s.policy.Decide(st, &s.view, s.fleet)
	r := route{text, d.Explain(&s.view, s.fleet)}
	if d.Err != nil {
		return r
	}
	if st.Unparsed != "" {
		s.view.WroteUnknown = s.view.InTransaction
	}
	for i := range st.Parts {
		s.note(&st.Parts[i], d)
	}
	return r
}

// modes notes what BEGIN or SET TRANSACTION says of the transaction.
func (s *routeSession) modes(p *parser.Part) {
	v := &s.view
	switch p.Isolation {
	case "":
	case "repeatable read", "serializable":
		v.Snapshot, v.Serializable = true, p.Isolation == "serializable"
	default:
		v.Snapshot, v.Serializable = false, false
	}
	v.ReadOnly = v.InTransaction && (v.ReadOnly || p.ReadOnlyTx) && !p.ReadWriteTx
}

func (s *routeSession) note(p *parser.Part, d router.Decision) {
	v := &s.view
	switch p.Kind {
	case parser.Begin:
		v.InTransaction = true
		s.modes(p)
	case parser.Commit, parser.Rollback, parser.PrepareTransaction:
		v.Written, v.WroteUnknown = nil, false
		v.InTransaction = p.Chain
		v.Snapshot, v.Serializable, v.ReadOnly = v.Snapshot && p.Chain, v.Serializable && p.Chain, v.ReadOnly && p.Chain
		v.Begun, v.Follows = false, ""
	case parser.Prepare:
		s.prepared[p.Name] = d
	case parser.Deallocate:
		delete(s.prepared, p.Name)
	case parser.Declare:
		s.cursors[p.Name] = d
	case parser.Close:
		delete(s.cursors, p.Name)
	}
	s.modes(p)
	switch {
	case d.Whole:
		v.Follows, v.FollowsFresh = d.Target, d.Freshness
		if v.Follows == "" {
			v.Follows = router.Candidates(d, s.fleet)[0]
		}
	case v.ReadOnly && d.Place != router.Replica && d.Class != router.Session:
		v.Begun = true
		if !v.Snapshot {
			v.Follows = ""
		}
	}
	if v.InTransaction && d.Place != router.Replica {
		v.Written = append(append(v.Written, p.Writes...), p.Defines...)
		v.WroteUnknown = v.WroteUnknown || p.Opaque || p.Kind == parser.Do || p.Kind == parser.Execute
	}
	if set := p.Setting; set != nil && !set.Unknown {
		switch set.Name {
		case "search_path":
			v.SearchPath = parser.SplitNames(set.Value)
			if set.SQL == "" {
				v.SearchPath = s.path
			}
		case "pgshunt.route":
			v.Hint = set.Value
		case "":
			v.SearchPath, v.Hint = s.path, ""
		}
	}
}
