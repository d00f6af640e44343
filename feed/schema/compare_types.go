package schema

import (
	"slices"
	"strings"

	"pgshunt/feed"
)

// types compares the types that two columns of one type use. What differs is told once for
// each table.
func (c *comparison) types(p *feed.Table, col, have *feed.Column) {
	for _, t := range col.Types {
		if key := p.Plain() + "\x00" + t.Schema + "." + t.Name; c.told[key] {
			continue
		} else {
			c.told[key] = true
		}
		at := Difference{Schema: p.Schema, Table: p.Name, Column: col.Name}
		i := slices.IndexFunc(have.Types, func(o *feed.Type) bool { return o.Schema == t.Schema && o.Name == t.Name })
		switch {
		case i < 0:
			at.Kind, at.Primary, at.Matters = KindMissingType, t.Qualified(), true
			at.Note = "run pgshunt feed apply"
			c.add(at)
		case t.Kind == 'e':
			c.labels(at, t, have.Types[i])
		case t.Kind == 'd':
			c.domain(at, t, have.Types[i])
		case t.Kind == 'c':
			c.attributes(at, t, have.Types[i])
		}
	}
}

// labels compares two enums. Labels are never dropped, so those that the replica has and the
// primary has not were renamed, where between the same neighbours as many are new. Labels that
// only the replica has harm nothing as long as the others stand in the primary's order.
func (c *comparison) labels(d Difference, p, r *feed.Type) {
	d.Kind, d.Primary, d.Replica = KindEnumLabels, p.Qualified()+" "+labelList(p.Labels), labelList(r.Labels)
	have := slices.Clone(r.Labels)
	for _, one := range renamedLabels(p.Labels, r.Labels) {
		d.Repair = append(d.Repair, "ALTER TYPE "+p.Qualified()+" RENAME VALUE "+feed.Literal(one.from)+" TO "+feed.Literal(one.to))
		d.Note = "a label was renamed"
		have[slices.Index(have, one.from)] = one.to
	}
	for i, label := range p.Labels {
		if slices.Contains(have, label) {
			continue
		}
		sql := "ALTER TYPE " + p.Qualified() + " ADD VALUE IF NOT EXISTS " + feed.Literal(label)
		switch {
		case i > 0:
			sql += " AFTER " + feed.Literal(p.Labels[i-1])
		case len(have) > 0:
			sql += " BEFORE " + feed.Literal(have[0])
		}
		d.Repair = append(d.Repair, sql)
		at := 0
		if i > 0 {
			at = slices.Index(have, p.Labels[i-1]) + 1
		}
		have = slices.Insert(have, at, label)
	}
	common := slices.DeleteFunc(slices.Clone(have), func(label string) bool { return !slices.Contains(p.Labels, label) })
	switch {
	case d.Repair != nil:
		d.Matters = true
	case slices.Equal(common, p.Labels):
		return
	default:
		d.Note = "labels cannot be dropped or moved; values sort in the replica's order there"
	}
	c.add(d)
}

// renamedLabel is a label of an enum by its old and its new name.
type renamedLabel struct{ from, to string }

// renamedLabels compares what stands between labels that both have.
func renamedLabels(primary, replica []string) (all []renamedLabel) {
	for {
		// Up to the next label that both have, or to the end of both.
		n := slices.IndexFunc(primary, func(label string) bool { return slices.Contains(replica, label) })
		m := len(replica)
		if n < 0 {
			n = len(primary)
		} else {
			m = slices.Index(replica, primary[n])
		}
		news, olds := primary[:n], replica[:m]
		if n == m && !slices.ContainsFunc(olds, func(label string) bool { return slices.Contains(primary, label) }) {
			for i := range olds {
				all = append(all, renamedLabel{olds[i], news[i]})
			}
		}
		if n == len(primary) {
			return all
		}
		primary, replica = primary[n+1:], replica[m+1:]
	}
}

func labelList(labels []string) string {
	quoted := make([]string, len(labels))
	for i, label := range labels {
		quoted[i] = feed.Literal(label)
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}

// domain compares two domains. What the replica's forbids beyond the primary's stops a
// feed; what it allows beyond does not, since no such value comes.
func (c *comparison) domain(d Difference, p, r *feed.Type) {
	d.Kind = KindDomain
	alter := "ALTER DOMAIN " + p.Qualified() + " "
	if p.Base != r.Base {
		base := d
		base.Primary, base.Replica, base.Matters = p.Qualified()+" "+p.Base, r.Base, true
		base.Note = "a domain's type cannot be changed: make another and change the column to it"
		c.add(base)
		return
	}
	var primary, replica []string
	if p.NotNull != r.NotNull {
		null := "DROP NOT NULL"
		if p.NotNull {
			primary, null = append(primary, "NOT NULL"), "SET NOT NULL"
		} else {
			replica, d.Matters = append(replica, "NOT NULL"), true
		}
		d.Repair = append(d.Repair, alter+null)
	}
	for _, check := range r.Checks {
		if slices.Contains(p.Checks, check) {
			continue
		}
		replica, d.Matters = append(replica, check.Definition), true
		d.Repair = append(d.Repair, alter+"DROP CONSTRAINT IF EXISTS "+feed.Quote("", check.Name))
	}
	for _, check := range p.Checks {
		if slices.Contains(r.Checks, check) {
			continue
		}
		primary = append(primary, check.Definition)
		name := feed.Quote("", check.Name)
		d.Repair = append(d.Repair, alter+"DROP CONSTRAINT IF EXISTS "+name, alter+"ADD CONSTRAINT "+name+" "+check.Definition)
	}
	if d.Repair == nil {
		return
	}
	d.Primary, d.Replica = strings.TrimSpace(p.Qualified()+" "+strings.Join(primary, " ")), strings.Join(replica, " ")
	// Another feed reads what the primary has checked.
	d.Matters = d.Matters && !c.foreign()
	c.add(d)
}

func (c *comparison) attributes(d Difference, p, r *feed.Type) {
	if slices.Equal(p.Attributes, r.Attributes) {
		return
	}
	d.Kind, d.Primary, d.Replica, d.Matters = KindAttributes, p.Qualified()+" "+attributeList(p), attributeList(r), true
	alter := "ALTER TYPE " + p.Qualified() + " "
	find := func(t *feed.Type, name string) int {
		return slices.IndexFunc(t.Attributes, func(a feed.Attribute) bool { return a.Name == name })
	}
	for _, a := range r.Attributes {
		if find(p, a.Name) < 0 {
			d.Repair, d.Destroys = append(d.Repair, alter+"DROP ATTRIBUTE IF EXISTS "+feed.Quote("", a.Name)), !c.foreign()
		}
	}
	for _, a := range p.Attributes {
		i := find(r, a.Name)
		switch {
		case i < 0:
			d.Repair = append(d.Repair, alter+"ADD ATTRIBUTE "+feed.Quote("", a.Name)+" "+a.Type)
		case r.Attributes[i].Type != a.Type:
			d.Repair = append(d.Repair, alter+"ALTER ATTRIBUTE "+feed.Quote("", a.Name)+" TYPE "+a.Type)
			d.Note = "PostgreSQL refuses that while a table uses the type"
		}
	}
	c.add(d)
}

func attributeList(t *feed.Type) string {
	parts := make([]string, len(t.Attributes))
	for i, a := range t.Attributes {
		parts[i] = feed.Quote("", a.Name) + " " + a.Type
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
