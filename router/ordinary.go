package router

import "pgshunt/parser"

// ordinary answers by the built-in order.
func (p *Policy) ordinary(q *question) Decision {
	switch q.u.class {
	case Session:
		if q.part.Kind == parser.Show && isPgmlSetting(q.part.Name) {
			return p.replica(q, Describe, RuleCatalog, reasonPgmlSetting, q.part.Name)
		}
		return q.v.home(Session, RuleSession, reasonSession, "")
	case Training:
		return p.trains(q)
	case Inference, Describe:
		return p.besides(q)
	case Schema:
		return p.definition(q)
	case Write:
		if q.u.pgml {
			return q.mixed()
		}
		return q.write()
	}
	return p.read(q)
}

func isPgmlSetting(name string) bool { return len(name) > 5 && name[:5] == "pgml." }

// write is a statement without PostgresML that must run on the primary; the reason
// names the first thing that makes it so.
func (q *question) write() Decision {
	reason, subject := reasonWrite, ""
	switch p := q.part; {
	case q.u.otherWrite:
		reason, subject = reasonWritten, q.u.written
	case p.Server:
		reason = reasonServerFile
	case p.Locks:
		reason = reasonLocks
	case q.u.volatile:
		reason, subject = reasonVolatile, ""
	}
	return q.v.home(Write, RuleWrite, reason, subject)
}

// read is a read that only PostgreSQL's own means answer.
func (p *Policy) read(q *question) Decision {
	reason, subject := "", ""
	var set uint64
	switch {
	case !p.readsReplica:
		reason = reasonReads
	case q.part.Pin != "" || q.part.Kind == parser.Declare && !q.whole:
		reason = reasonSessionRead
	case q.u.unknown != "":
		reason, subject = reasonUnknownFunc, q.u.unknown
	case q.u.system:
		reason = reasonSystem
	case q.v.shadows():
		reason = reasonShadowed
	case q.known == unlooked && q.u.reads:
		reason = reasonUnlooked
	default:
		if set = q.candidates(Read); set != 0 {
			if set = q.f.fresh(set, p.maxLag) | set&q.live(); set == 0 {
				reason = reasonBehind
			}
			break
		}
		if reason = reasonUnhealthy; q.f.serves(Read) {
			reason = reasonAbsent
			subject, _ = q.missing(q.f.servers(Read))
		}
	}
	if reason != "" {
		return q.v.home(Read, RuleRead, reason, subject)
	}
	return Decision{
		Place: Replica, Candidates: set, Class: Read, Rule: RuleRead, Reason: reasonReadReplica,
		ReadsTables: q.u.reads, OrPrimary: true, Block: q.part.Kind == parser.Declare,
	}
}

// definition is DDL and the commands like it.
func (p *Policy) definition(q *question) Decision {
	switch {
	case !q.u.pgml && q.u.kind == parser.Other:
		return q.v.home(Schema, RuleSchema, reasonMaintenance, "")
	case !q.u.pgml:
		return q.v.home(Schema, RuleSchema, reasonDDL, "")
	case q.u.otherWrite && !q.temporary():
		return q.mixed()
	case q.v.InTransaction && (p.reject || q.temporary()):
		return refuseInTransaction(q.u)
	}
	d := p.owned(q, RulePgmlSchema, reasonPgmlDDL)
	d.Class = Schema
	return d
}

// temporary reports whether all that is written is a temporary table made here.
func (q *question) temporary() bool {
	p := q.part
	return p.Pin == parser.PinTemporary && len(p.Writes) == 1 && len(p.Defines) == 1 && p.Writes[0] == p.Defines[0]
}
