package router

import (
	"math/bits"
	"strings"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
)

// lack is why one target cannot run a statement.
type lack struct {
	subject string // the relation or function
	kind    gapKind
	why     string
}

// missing returns the first thing that a target of set lacks, with the reason.
func (q *question) missing(set uint64) (subject, why string) {
	for rest := set; rest != 0; rest &= rest - 1 {
		if l, ok := q.lacks(bits.TrailingZeros64(rest)); ok {
			return l.subject, l.why
		}
	}
	return "", ""
}

// lacks returns the first thing that the target lacks.
func (q *question) lacks(target int) (lack, bool) {
	for i := range q.parts {
		p := &q.parts[i]
		for n, r := range p.Reads {
			if inPgml(r, q.v) || isSystem(r) {
				continue
			}
			if l, ok := q.known.lacks(r, p.ReadText(n), target, q.v); ok && !q.known.spares(r, p, target, q.v) {
				return l, true
			}
		}
		for n := range p.Calls {
			if l, ok := q.known.lacksFunction(&p.Calls[n], target, q.v); ok {
				return l, true
			}
		}
		for n, r := range p.Writes {
			if l, ok := q.known.lacks(r, p.WriteText(n), target, q.v); ok && q.u.lone {
				return l, true
			}
		}
	}
	if q.u.source != "" && !q.sourceReady(1<<target) {
		l, _ := q.known.lacks(sourceRelation(q.u.source), q.u.source, target, q.v)
		return l, true
	}
	if t := &q.f.Targets[target]; t.Standby && q.u.writesModels() {
		why := "loads a model, which a server in recovery cannot do"
		if q.u.trains || q.u.adminWrite {
			why = "writes, which a server in recovery cannot do"
		}
		return lack{subject: named(q.u.subject), kind: gapStandby, why: why}, true
	}
	if q.u.overloaded>>target&1 == 0 {
		return lack{subject: "a function by a name of pg_catalog's", kind: gapColumns, why: notThere}, true
	}
	return lack{}, false
}

// lacks says why r cannot be read on the target, and what of it, where r is a view.
func (c *Catalog) lacks(r parser.Relation, text string, target int, v *View) (lack, bool) {
	if c == nil {
		return lack{}, false
	}
	f := c.find(r, v)
	if f.ready>>target&1 == 0 {
		l := lack{subject: text, why: notThere}
		switch {
		case c == unlooked:
			l.kind, l.why = gapUnlooked, "is not known yet: the databases have not been compared"
		case c.known>>target&1 == 0:
			l.kind, l.why = gapView, "is not known there, since the server's catalog could not be read"
		case f.relation != nil:
			for _, g := range f.relation.gaps {
				if g.target == target {
					l.kind, l.why = g.kind, g.why
				}
			}
			if f.relation.ready>>target&1 != 0 {
				l.kind, l.why = gapView, "means another relation there by search_path"
			}
		}
		return l, true
	}
	if f.relation != nil && f.relation.uses != nil {
		return c.usesLack(f.relation.uses, target, v)
	}
	return lack{}, false
}

// spares reports whether p does without the columns that the target lacks.
func (c *Catalog) spares(r parser.Relation, p *parser.Part, target int, v *View) bool {
	f := c.find(r, v)
	return f.relation != nil && f.relation.without(p)&^f.other>>target&1 != 0
}

func (c *Catalog) lacksFunction(call *parser.Call, target int, v *View) (lack, bool) {
	if c == nil || call.Builtin {
		return lack{}, false
	}
	if fn, ok := lookup(call, v); ok {
		call = &parser.Call{Schema: pgmlSchema, Name: call.Name, Text: fn.text}
	}
	group := c.routines(call)
	ours := c.ours(group, call, v)
	for i := range group {
		r := &group[i]
		lone := r.has&c.primary == 0
		switch {
		case !r.meets(call, v), lone && !ours && r != c.lone(group, call, v):
		case lone && ours:
			if r.has>>target&1 != 0 {
				return lack{subject: call.Text, kind: gapView, why: "may mean another function there by search_path"}, true
			}
		case r.has>>target&1 == 0:
			return lack{subject: r.text, kind: gapColumns, why: notThere}, true
		case r.other>>target&1 != 0:
			return lack{subject: r.text, kind: gapColumns, why: "is another function there"}, true
		case r.uses != nil:
			if l, ok := c.usesLack(r.uses, target, v); ok {
				return l, true
			}
		}
	}
	return lack{}, false
}

func (c *Catalog) usesLack(uses *closure, target int, v *View) (lack, bool) {
	for _, r := range uses.reads {
		if f := c.find(r, v); f.ready>>target&1 == 0 {
			return c.lacks(r, r.String(), target, v)
		}
	}
	return lack{}, false
}

// sourceRelation is the relation that training means by a name: search_path does not
// count, and a name without a schema is one of schema public.
func sourceRelation(name string) parser.Relation {
	r := relationNamed(name)
	if r.Schema == "" {
		r.Schema = "public"
	}
	return r
}

// sourceReady reports whether the relation that is trained from can be read on all of set.
func (q *question) sourceReady(set uint64) bool {
	if q.u.source == "" || q.known == nil {
		return true
	}
	r := sourceRelation(q.u.source)
	if r.Schema == pgmlSchema {
		return true
	}
	f := q.known.find(r, q.v)
	ready := f.ready
	if f.relation != nil && f.relation.uses != nil {
		for _, base := range f.relation.uses.reads {
			ready &= q.known.find(base, q.v).ready
		}
	}
	return ready&set == set
}

// refuseMissing says what the replicas of set lack and what would give it to them.
func (q *question) refuseMissing(class Class, rule string, set uint64) Decision {
	var detail strings.Builder
	var first lack
	replica := ""
	for rest := set; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		l, ok := q.lacks(i)
		if !ok {
			continue
		}
		if replica == "" {
			first, replica = l, q.f.Targets[i].Name
		} else {
			detail.WriteString(" ")
		}
		detail.WriteString("On " + q.f.Targets[i].Name + ", " + l.subject + " " + l.why + ".")
	}
	if replica == "" {
		return refuseTarget(class, rule, q.u.subject)
	}
	err := pgerr.New(pgerr.NotInPrerequisiteState, "%q cannot be used on PostgresML server %q", first.subject, replica).
		WithDetail("%s runs on PostgresML servers. %s", named(q.u.subject), detail.String()).
		WithHint("%s", first.remedy(replica, q.f.target(replica)))
	return refused(class, rule, reasonAbsent, first.subject, err)
}

// remedy is what to do about l.
func (l lack) remedy(replica string, t *Target) string {
	feed := FeedNone
	if t != nil && t.Feed != "" {
		feed = t.Feed
	}
	switch {
	case l.kind == gapUnlooked:
		return "Try again in a moment; the log of pgshunt says why if it lasts."
	case l.kind == gapSecurity:
		return "Create the same policies and privileges there, or read what is needed in a statement of its own and pass it as a parameter."
	case l.kind == gapStandby:
		return "Install pgml in the primary, which then answers this, or add a replica that is no standby."
	case l.kind == gapView, strings.HasSuffix(l.why, "on the primary"):
		return "Read what is needed in a statement of its own and pass it as a parameter, or make both servers alike."
	case l.kind == gapColumns:
		return "Make its schema the primary's: run \"pgshunt feed migrate --replica " + replica + "\", or make the change there by hand."
	case strings.Contains(l.why, "being copied"):
		return "Try again when the copy is complete."
	case strings.HasSuffix(l.why, "in part"):
		return "Have all its rows, columns and changes published to that replica."
	case feed == FeedDump:
		return "Add it to the tables of that replica and run \"pgshunt feed refresh --replica " + replica + "\", or copy it there by other means."
	case feed == FeedNone:
		return "Set the replica's feed and tables in the configuration and run \"pgshunt feed apply --replica " + replica + "\", or copy it there by other means."
	}
	return "Add it to the tables of that replica and run \"pgshunt feed apply --replica " + replica + "\", or bring it there by hand."
}
