package router

// Explanation is a Decision in words, as EXPLAIN (ROUTE), SHOW ROUTE and `pgshunt route`
// show it. Its JSON form is that of the last.
type Explanation struct {
	// Target is a server's name, "any replica" where any of Candidates may be chosen, or
	// "refused".
	Target string `json:"target"`
	Place  string `json:"place"`
	Class  string `json:"class"`
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	// Project is the PostgresML project, where the statement names one.
	Project string `json:"project,omitempty"`
	// Freshness is what the replica must have of the primary's data, "" where it does
	// not matter.
	Freshness string `json:"freshness,omitempty"`
	// Candidates are the replicas that one is chosen from when the statement is sent.
	Candidates []string `json:"candidates,omitempty"`
	Detached   bool     `json:"detached,omitempty"`
	// The error that the client gets, where the statement is refused.
	SQLState string `json:"sqlstate,omitempty"`
	Message  string `json:"message,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

// Explain puts d, which was made for v and f, into words.
func (d Decision) Explain(v *View, f *Fleet) Explanation {
	e := Explanation{
		Target: TargetName(d, v), Place: d.Place.String(), Class: d.Class.String(), Rule: d.Rule, Reason: d.Text(),
		Project: d.Project, Detached: d.Detached,
	}
	if d.Place == Replica {
		e.Candidates = Candidates(d, f)
		if d.ReadsTables {
			e.Freshness = d.Freshness.String()
		}
		if d.Target == "" && len(e.Candidates) == 1 {
			e.Target = e.Candidates[0]
		}
	}
	if d.Err != nil {
		e.SQLState, e.Message, e.Detail, e.Hint = d.Err.Code, d.Err.Message, d.Err.Detail, d.Err.Hint
	}
	return e
}

// ExplainQuestion is about a text that pgshunt answers by itself (parser.Question).
func ExplainQuestion() Explanation {
	return Explanation{Target: "pgshunt", Place: "pgshunt", Class: Session.String(), Rule: "question", Reason: "pgshunt answers by itself"}
}

// TargetName is the name of the server of d as far as d tells: "any replica" where
// Pick is to choose one, "refused" where there is none.
func TargetName(d Decision, v *View) string {
	switch {
	case d.Place == Refused:
		return "refused"
	case d.Place == Stay && v.PinnedTo != "":
		return v.PinnedTo
	case d.Place != Replica:
		return toPrimary
	case d.Target != "":
		return d.Target
	}
	return "any replica"
}

// Candidates returns the replicas that Pick may choose from for d, which sends a
// statement to a replica.
func Candidates(d Decision, f *Fleet) (names []string) {
	if d.Target != "" {
		return []string{d.Target}
	}
	set := f.servers(d.Class)
	if d.Candidates != 0 {
		set &= d.Candidates
	}
	for rest := set; rest != 0; rest &= rest - 1 {
		names = append(names, f.first(rest))
	}
	return names
}
