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

// labels compares two enums. Labels are never dropped, so where they are as many and one at
// the same place has another name, that was renamed.
func (c *comparison) labels(d Difference, p, r *feed.Type) {
	if slices.Equal(p.Labels, r.Labels) {
		return
	}
	d.Kind, d.Primary, d.Replica = KindEnumLabels, p.Qualified()+" "+labelList(p.Labels), labelList(r.Labels)
	have := slices.Clone(r.Labels)
	lacks := func(label string) bool { return !slices.Contains(have, label) }
	if i, ok := onlyOther(p.Labels, r.Labels); ok {
		d.Matters = true
		d.Repair = []string{"ALTER TYPE " + p.Qualified() + " RENAME VALUE " + feed.Literal(r.Labels[i]) + " TO " + feed.Literal(p.Labels[i])}
		d.Note = "a label was renamed"
		c.add(d)
		return
	}
	for i, label := range p.Labels {
		if !lacks(label) {
			continue
		}
		d.Matters = true
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
	if d.Repair == nil {
		d.Note = "labels cannot be dropped or moved; values sort in the replica's order there"
	}
	c.add(d)
}

// onlyOther returns the one place where two lists of one length differ.
func onlyOther(a, b []string) (at int, ok bool) {
	if len(a) != len(b) {
		return 0, false
	}
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		if ok || slices.Contains(b, a[i]) || slices.Contains(a, b[i]) {
			return 0, false
		}
		at, ok = i, true
	}
	return at, ok
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
