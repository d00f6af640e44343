package schema

import (
	"slices"
	"strings"

	"pgshunt/feed"
)

// inheritance compares what two tables inherit from, as far as that is fed.
func (c *comparison) inheritance(p, r *feed.Table) {
	fed := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return c.primary[name] == nil || c.replica[name] == nil })
	}
	want, have := fed(p.Parents), fed(r.Parents)
	if slices.Equal(want, have) {
		return
	}
	d := Difference{
		Schema: p.Schema, Table: p.Name, Kind: KindInheritance, Primary: strings.Join(want, ", "), Replica: strings.Join(have, ", "),
		Matters: !sameNames(want, have), Note: "queries of those have its rows, too",
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			d.Repair = append(d.Repair, "ALTER TABLE "+p.Qualified()+" NO INHERIT "+c.primary[name].Qualified())
		}
	}
	for _, name := range want {
		if !slices.Contains(have, name) {
			d.Repair = append(d.Repair, "ALTER TABLE "+p.Qualified()+" INHERIT "+c.primary[name].Qualified())
		}
	}
	c.add(d)
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// ofParents takes back what was told of columns from that index on, where it is so of a table too
// that both inherit from: what mends that mends this.
func (c *comparison) ofParents(p, r *feed.Table, from int) {
	told := slices.Clone(c.all[:from])
	own := slices.DeleteFunc(slices.Clone(c.all[from:]), func(d Difference) bool {
		return slices.ContainsFunc(told, func(e Difference) bool {
			above := e.Schema + "." + e.Table
			return e.Column != "" && e.Column == d.Column && e.Kind == d.Kind && slices.Contains(p.Parents, above) && slices.Contains(r.Parents, above)
		})
	})
	c.all = append(told, own...)
}
