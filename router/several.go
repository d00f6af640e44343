package router

import "pgshunt/parser"

// several answers for a text of more than one statement, which PostgreSQL runs on one
// server and, but for transaction commands in it, in one transaction.
//
//   - a rule of the config rejects one of them: refused; all match the same rule: where it says
//   - nothing of PostgresML: the primary, or a replica if all are reads that the policy
//     lets go there
//   - PostgresML and otherwise only reads and settings: one replica, provided that
//     the blocks opened in the text are closed in it
//   - PostgresML and writes, locks or functions of the primary: refused
//
// What they use together is added to all, which is empty.
func (p *Policy) several(st *parser.Statement, v *View, f *Fleet, all *usage) Decision {
	known := f.catalog(v)
	open, balanced, sessions, reads := 0, true, true, p.readsReplica && !v.InTransaction
	detail, follows := "", false
	var rules common
	for i := range st.Parts {
		part := &st.Parts[i]
		u := inspect(part, v, known)
		q := &question{part: part, parts: st.Parts[i : i+1], u: &u, v: v, f: f, known: known}
		all.merge(&u)
		switch part.Kind {
		case parser.Begin:
			open++
		case parser.Commit, parser.Rollback, parser.PrepareTransaction:
			open--
			balanced = balanced && open >= 0
		}
		if u.class != Session || u.pgml {
			rules.add(p.rule(q))
		}
		sessions = sessions && u.class == Session
		reads = reads && u.class == Read && p.read(q).Place == Replica
		if d, ok := follow(part, &u, v); ok && d.Place == Replica {
			follows = true
		}
		if why := conflict(q); why != "" && detail == "" {
			detail = why
		}
	}
	switch {
	case rules.reject != nil && !all.pgml && (v.InTransaction || v.pinnedToPrimary()):
		return refuseRule(all.class, rules.reject.name, rules.reject.Reject)
	case !all.pgml && follows:
		return refuseMulti(all.class, "", "A statement of the text belongs to a cursor or prepared statement there.")
	case !all.pgml && v.InTransaction:
		return Decision{Place: Stay, Class: all.class, Rule: RuleTransaction, Reason: reasonTransaction}
	case !all.pgml && v.pinnedToPrimary():
		return Decision{Place: Stay, Class: all.class, Rule: RulePinned, Reason: v.Pinned}
	}
	whole := &question{part: &nothing, parts: st.Parts, u: all, v: v, f: f, known: known}
	if !sessions {
		if d, ok := p.hinted(st, whole); ok {
			return d
		}
	}
	if r := rules.rule(); r != nil {
		if r.Reject != "" || r.To == toPrimary || detail == "" && open == 0 && balanced {
			return p.obey(r, whole)
		}
	}
	switch {
	case rules.primary && all.pgml:
		return refuseMulti(all.class, all.subject, "A rule sends another to the primary.")
	case !all.pgml && reads && !rules.primary:
		if d := p.read(whole); d.Place == Replica {
			d.Rule = RuleMulti
			return d
		}
		return v.home(Read, RuleMulti, reasonMulti, "")
	case !all.pgml:
		return v.home(all.class, RuleMulti, reasonMulti, "")
	case v.pinnedToReplica() && detail == "":
		return Decision{Place: Stay, Class: all.class, Rule: RulePinned, Reason: v.Pinned}
	case detail != "":
		return refuseMulti(all.class, all.subject, detail)
	case open != 0 || !balanced || v.InTransaction && hasTransaction(st):
		return refuseMulti(all.class, all.subject, "The text opens or ends a transaction block of the session, which is on the primary.")
	}
	return p.together(whole)
}

// nothing stands for the part of a question about several.
var nothing parser.Part

// together is a text of several statements that one replica can run.
func (p *Policy) together(q *question) Decision {
	switch q.u.class {
	case Training, Schema:
		if q.v.InTransaction && p.reject {
			return refuseInTransaction(q.u)
		}
		return p.owned(q, RuleMulti, reasonMulti)
	}
	return p.replica(q, q.u.class, RuleMulti, reasonMulti, q.u.subject)
}

// conflict says what in one statement of a text keeps the whole text from a replica.
func conflict(q *question) string {
	p, u := q.part, q.u
	switch {
	case u.otherWrite:
		return "Another writes " + u.written + "."
	case u.class == Schema && !u.pgml:
		return "Another changes the schema of the primary."
	case p.Locks && !u.adminWrite:
		return "Another locks rows."
	case p.Server:
		return "Another uses a file of the server."
	case u.volatile && (!u.clock || q.v.InTransaction) && !u.adminWrite:
		return "Another calls a function of the primary's sequences, transactions or locks."
	case u.class == Write:
		return "What another does cannot be seen, so it may write."
	case u.effects != "":
		return "Another calls " + u.effects + ", which may write."
	case !u.pgml && u.unknown != "":
		return "Another calls " + u.unknown + ", which may write."
	case u.class == Session && !isTransaction(p.Kind) && p.Kind != parser.Show:
		return "Another changes the session."
	case q.v.Snapshot && u.reads:
		return "The transaction's snapshot is the primary's."
	}
	if name, ok := q.stale(); ok {
		return "This transaction may have written " + name + "."
	}
	return ""
}

func hasTransaction(st *parser.Statement) bool {
	for i := range st.Parts {
		if isTransaction(st.Parts[i].Kind) {
			return true
		}
	}
	return false
}

// merge adds what another statement of the same text uses.
func (u *usage) merge(o *usage) {
	if o.subject != "" && (u.subject == "" || o.trains && !u.trains) {
		u.subject = o.subject
	}
	u.class = stronger(u.class, o.class)
	u.pgml = u.pgml || o.pgml
	u.trains = u.trains || o.trains
	u.infers = u.infers || o.infers
	u.adminWrite = u.adminWrite || o.adminWrite
	if o.otherWrite && !u.otherWrite {
		u.otherWrite, u.written = true, o.written
	}
	if u.unknown == "" {
		u.unknown = o.unknown
	}
	u.reads = u.reads || o.reads
	u.lone = u.lone || o.lone
	u.models = u.models || o.models
	u.ready &= o.ready
	u.copied |= o.copied
	u.overloaded &= o.overloaded
	if u.source == "" && u.sourceParam == 0 {
		u.source, u.sourceParam = o.source, o.sourceParam
		u.sourceHidden = u.sourceHidden || o.sourceHidden
	}
	if u.project == "" && u.param == 0 {
		u.project, u.param = o.project, o.param
	}
}
