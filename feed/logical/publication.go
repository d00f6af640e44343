package logical

import (
	"context"
	"slices"
	"strings"

	"pgshunt/feed"
)

// change is what makes the publication what is configured.
type change struct {
	add, remove []string // as SQL names them
	// altered are subscribed tables whose columns or condition are others now.
	altered    []string
	conditions map[string]string
}

// publicationChange compares the publication with what is wanted. Without one, all is to be added.
func publicationChange(p *publication, wanted []*table) change {
	var c change
	conditions := make(map[string]string)
	names := make(map[string]bool)
	for _, t := range wanted {
		name := t.Plain()
		names[name] = true
		if t.where != "" {
			conditions[name] = t.where
		}
		if p == nil {
			c.add = append(c.add, t.published())
			continue
		}
		have, there := p.tables[name]
		condition, known := p.mark.conditions[name]
		if !known && have.filtered { // it was published by feed migrate, or renamed
			condition = t.where
		}
		if there && condition == t.where && have.filtered == (t.where != "") && sameColumns(have.columns, t.columns) {
			continue
		}
		if there {
			c.remove = append(c.remove, t.Qualified())
			c.altered = append(c.altered, name)
		}
		c.add = append(c.add, t.published())
	}
	if p != nil {
		for name, t := range p.tables {
			if !names[name] {
				c.remove = append(c.remove, t.sql)
			}
		}
	}
	slices.Sort(c.remove)
	c.conditions = conditions
	return c
}

// sameColumns compares lists whose order means nothing; nil is all columns.
func sameColumns(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// sql is the change in statements; comment is the new mark.
func (c change) sql(name string, exists bool, comment string) string {
	name = feed.Quote("", name)
	var all []string
	switch {
	case !exists && len(c.add) == 0:
		all = append(all, "CREATE PUBLICATION "+name)
	case !exists:
		all = append(all, "CREATE PUBLICATION "+name+" FOR TABLE "+strings.Join(c.add, ", "))
	default:
		if len(c.remove) > 0 {
			all = append(all, "ALTER PUBLICATION "+name+" DROP TABLE ONLY "+strings.Join(c.remove, ", ONLY "))
		}
		if len(c.add) > 0 {
			all = append(all, "ALTER PUBLICATION "+name+" ADD TABLE "+strings.Join(c.add, ", "))
		}
	}
	return strings.Join(append(all, "COMMENT ON PUBLICATION "+name+" IS "+feed.Literal(comment)), "; ")
}

// publish makes the publication what is configured, and marks it as this feed's.
func (s *session) publish(ctx context.Context, st *standing, wanted []*table) error {
	p := st.publication
	c := publicationChange(p, wanted)
	m := mark{owner: st.installation, where: s.where(), conditions: c.conditions}
	step := feed.Step{On: s.run.Primary, What: "make the publication", SQL: c.sql(s.run.Name, p != nil, m.comment()), Next: busy}
	if p != nil {
		step.What = "change the publication"
		if len(c.add)+len(c.remove) == 0 && p.mark.owner == m.owner {
			s.run.Done(feed.Step{On: step.On, What: "make the publication"})
			return nil
		}
	}
	return s.run.Do(ctx, s.primary, step)
}
