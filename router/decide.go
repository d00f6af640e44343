package router

import "pgshunt/parser"

// Decide says where st goes. It is pure, may be called from any goroutine, and
// allocates only for a refusal. doc.go gives the order of its questions.
func (p *Policy) Decide(st *parser.Statement, v *View, f *Fleet) Decision {
	return p.DecideBound(st, v, f, nil)
}

// DecideBound is Decide where a Bind message has given values to the parameters: a
// project or a relation to train from may be one of them. value may be nil; it is
// called during DecideBound only, with numbers from 1.
func (p *Policy) DecideBound(st *parser.Statement, v *View, f *Fleet, value func(n int) Parameter) Decision {
	switch {
	case v.Failed:
		return Decision{Place: Stay, Class: classOf(st, v, f), Rule: RuleFailed, Reason: reasonFailed}
	case st.Unparsed != "" && v.Follows != "" && v.Snapshot:
		return refuseLeaving(&question{u: &usage{class: Opaque}, v: v}, "", unparsedReason(st.Unparsed))
	case st.Unparsed != "":
		return v.home(Opaque, RuleUnparsed, unparsedReason(st.Unparsed), "")
	case len(st.Parts) == 0:
		return v.home(Session, RuleEmpty, reasonEmpty, "")
	case !f.hasReplicas():
		return v.home(classOf(st, v, f), RuleNoReplicas, reasonNoReplicas, "")
	case len(st.Parts) > 1 && v.Follows != "":
		return p.followingAll(st, v, f)
	case len(st.Parts) > 1:
		all := usage{class: Session, ready: everywhere, overloaded: everywhere}
		d := p.several(st, v, f, &all)
		d.MayWrite = all.unknown != ""
		return d
	}
	known := f.catalog(v)
	u := inspect(&st.Parts[0], v, known)
	if value != nil && u.param+u.sourceParam > 0 {
		if !u.bind(value) {
			return refuseOID(&u)
		}
	}
	q := question{part: &st.Parts[0], parts: st.Parts, u: &u, v: v, f: f, known: known}
	d := p.one(st, &q)
	if d.Place == Replica && v.InTransaction && q.part.Kind == parser.CopyFrom {
		return refuseCopyBeside(&u)
	}
	d.MayWrite = u.unknown != ""
	return d
}

// Parameter is the value of a parameter.
type Parameter struct {
	// Text is the value as PostgreSQL's text format has it; Known is false for NULL, and
	// for what cannot be read.
	Text  string
	Known bool
	// OID is set for a regclass in binary format, which holds a number of the primary's.
	OID bool
}

// bind puts the values of parameters in their places. It is false where one is an oid,
// which means another relation, or none, on another server.
func (u *usage) bind(value func(n int) Parameter) bool {
	if u.param > 0 {
		if a := value(u.param); a.Known {
			u.project, u.param = a.Text, 0
		}
	}
	if u.sourceParam > 0 {
		a := value(u.sourceParam)
		if a.OID {
			return false
		}
		if a.Known {
			u.source, u.sourceParam = a.Text, 0
		}
	}
	return true
}

// one answers for a text of one statement.
func (p *Policy) one(st *parser.Statement, q *question) Decision {
	if q.v.Follows != "" {
		return p.following(st, q)
	}
	if q.v.ReadOnly && q.mayBegin(p) {
		if d, ok := p.begin(st, q); ok {
			return d
		}
	}
	d, ok := settled(q.part, q.u, q.v)
	if !ok {
		return p.free(st, q)
	}
	if (d.Rule == RuleTransaction || d.Rule == RulePinned) && d.Place == Stay && !q.v.pinnedToReplica() {
		return p.within(q, d)
	}
	return d
}

// free answers for a statement that no earlier one binds to a server.
func (p *Policy) free(st *parser.Statement, q *question) Decision {
	if q.u.class != Session || q.u.pgml {
		if d, ok := p.hinted(st, q); ok {
			return d
		}
		if d, ok := p.ruled(q); ok {
			return d
		}
	}
	return p.ordinary(q)
}

// question carries what the answer to one statement is made from. It is about one part
// of the text; in an answer for several statements together, part is an empty one and
// u holds what all of them use.
type question struct {
	part  *parser.Part
	parts []parser.Part // all of the text
	u     *usage
	v     *View
	f     *Fleet
	known *Catalog
	// whole is set where a READ ONLY transaction may run on the replica that is decided for, so
	// that nothing of it is elsewhere.
	whole bool
}

// classOf is the class of a statement whose place is settled whatever it is.
func classOf(st *parser.Statement, v *View, f *Fleet) Class {
	if st.Unparsed != "" {
		return Opaque
	}
	if len(st.Parts) == 0 {
		return Session
	}
	known := f.catalog(v)
	class := inspect(&st.Parts[0], v, known).class
	for i := 1; i < len(st.Parts); i++ {
		class = stronger(class, inspect(&st.Parts[i], v, known).class)
	}
	return class
}

// stronger is the class that describes two statements together.
func stronger(a, b Class) Class {
	rank := [...]int{Session: 0, Read: 1, Describe: 2, Inference: 3, Write: 4, Schema: 5, Training: 6, Opaque: 7}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// home is a decision for the primary: where the session is, if it may not leave.
func (v *View) home(class Class, rule, reason, subject string) Decision {
	d := Decision{Class: class, Rule: rule, Reason: reason, Subject: subject}
	if v.InTransaction || v.pinnedToPrimary() {
		d.Place = Stay
	}
	return d
}

func (v *View) pinnedToPrimary() bool {
	return v.Pinned != "" && (v.PinnedTo == "" || v.PinnedTo == toPrimary)
}

func (v *View) pinnedToReplica() bool {
	return v.Pinned != "" && !v.pinnedToPrimary()
}

// settled answers for statements that follow what the session did before: cursors and
// prepared statements, transaction blocks, pins.
func settled(part *parser.Part, u *usage, v *View) (Decision, bool) {
	if d, ok := follow(part, u, v); ok {
		return d, true
	}
	if v.pinnedToReplica() && u.belongs(part, v) {
		return Decision{Place: Stay, Class: u.class, Rule: RulePinned, Reason: v.Pinned}, true
	}
	if u.pgml || part.Kind == parser.Show && isPgmlSetting(part.Name) {
		return Decision{}, false
	}
	switch {
	case v.InTransaction:
		return Decision{Place: Stay, Class: u.class, Rule: RuleTransaction, Reason: reasonTransaction}, true
	case v.pinnedToPrimary():
		return Decision{Place: Stay, Class: u.class, Rule: RulePinned, Reason: v.Pinned}, true
	}
	return Decision{}, false
}

// belongs reports whether a session pinned to a replica means that replica: with
// anything of PostgresML, and with its temporary relations. All else is not its
// business: a table of that name there would be the wrong one.
func (u *usage) belongs(p *parser.Part, v *View) bool {
	if u.pgml {
		return !u.otherWrite
	}
	if len(v.Temporary) == 0 || len(p.Reads)+len(p.Writes)+len(p.Defines) == 0 {
		return false
	}
	for _, list := range [...][]parser.Relation{p.Reads, p.Writes, p.Defines} {
		for _, r := range list {
			if !anySame(v.Temporary, r) {
				return false
			}
		}
	}
	return true
}

// follow answers for EXECUTE, DEALLOCATE, FETCH, MOVE and CLOSE of something whose
// place was decided when it was made.
func follow(part *parser.Part, u *usage, v *View) (Decision, bool) {
	var find func(string) (Decision, bool)
	kind := part.Kind
	if kind == parser.Explain && part.Body == parser.Execute {
		kind = parser.Execute
	}
	switch kind {
	case parser.Execute, parser.Deallocate:
		find = v.Prepared
	case parser.Fetch, parser.Close:
		find = v.Cursor
	default:
		return Decision{}, false
	}
	if part.Name == "" {
		return Decision{}, false // DEALLOCATE ALL and CLOSE ALL are for every server the session used
	}
	made, ok := Decision{}, false
	if find != nil {
		made, ok = find(part.Name)
	}
	if !ok || made.Place != Replica {
		if u.pgml {
			return refuseOffload(u, "The arguments of EXECUTE call PostgresML, and the statement itself runs on the primary."), true
		}
		if !ok {
			return v.home(Session, RuleFollow, reasonUnknownName, part.Name), true
		}
		return v.home(made.Class, RuleFollow, reasonFollows, part.Name), true
	}
	if kind == parser.Execute && made.ReadsTables && v.InTransaction && (v.WroteUnknown || len(v.Written) > 0) {
		return refuseWritten(made.Class, part.Name), true
	}
	made.Rule, made.Reason, made.Subject = RuleFollow, reasonFollows, part.Name
	return made, true
}
