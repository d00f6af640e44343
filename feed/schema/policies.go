package schema

import (
	"slices"
	"strings"

	"pgshunt/feed"
)

// security compares whether row-level security is on. FORCE is about the owner alone, who is
// the feed's role on the replica: it follows where that is not bound by it.
func (c *accessComparison) security(p *feed.Table, theirs, ours *TableRights) {
	at := Difference{Schema: p.Schema, Table: p.Name, Kind: KindRowSecurity}
	alter := func(rank int, matters bool, primary, replica, sql string) {
		d := at
		d.Primary, d.Replica, d.Matters, d.Repair = primary, replica, matters, []string{"ALTER TABLE " + p.Qualified() + " " + sql + " ROW LEVEL SECURITY"}
		c.all = append(c.all, accessDifference{Difference: d, rank: rank})
	}
	switch {
	case theirs.Secured && !ours.Secured:
		alter(rankEnable, true, "on", "off", "ENABLE")
	case ours.Secured && !theirs.Secured && !slices.ContainsFunc(ours.Policies, c.own):
		alter(rankDisable, false, "off", "on", "DISABLE")
	}
	switch {
	case !c.exempt || theirs.Forced == ours.Forced:
	case theirs.Forced:
		alter(rankEnable, false, "forced", "not forced", "FORCE")
	default:
		alter(rankDisable, false, "not forced", "forced", "NO FORCE")
	}
}

// own tells whether a policy of the replica concerns only roles that the primary does not have.
func (c *accessComparison) own(p RowPolicy) bool {
	return !slices.ContainsFunc(p.Roles, func(role string) bool { return role == "" || len(c.called[role]) > 0 })
}

// policies compares those of a table.
func (c *accessComparison) policies(p, r *feed.Table, theirs, ours *TableRights) {
	have := make(map[string]RowPolicy)
	for _, o := range ours.Policies {
		have[o.Name] = o
	}
	at := Difference{Schema: p.Schema, Table: p.Name, Kind: KindPolicy, Matters: theirs.Secured}
	for _, full := range theirs.Policies {
		want, ok := c.policy(p, r, full)
		o, there := have[full.Name]
		delete(have, full.Name)
		if there && !ok {
			have[full.Name] = o // what is not to be there is dropped below
		}
		if !ok || there && o.is(want) {
			continue
		}
		d := accessDifference{Difference: at, rank: rankPolicy, policy: true}
		d.Primary = want.short()
		if there {
			d.Replica = o.short()
			if d.Replica == d.Primary {
				d.Note = "their expressions differ"
			}
			d.Repair = append(d.Repair, drop(p, o))
		}
		d.Repair = append(d.Repair, want.create(p))
		if !want.Permissive {
			d.rank = rankRestrict
			d.otherwise = want.closed().create(p)
		}
		if there {
			d.otherwise = strings.TrimPrefix(drop(p, o)+"; "+d.otherwise, "; ")
			same := o
			if same.Using, same.Check = want.Using, want.Check; same.is(want) {
				d.wording = &wording{table: p, want: want, have: o}
			}
		}
		c.all = append(c.all, d)
	}
	for _, o := range ours.Policies {
		if _, left := have[o.Name]; !left || c.own(o) {
			continue
		}
		d := accessDifference{Difference: at, rank: rankLoosen}
		if d.Replica = o.short(); o.Permissive {
			d.rank = rankClose
		} else {
			d.Matters = false
		}
		d.Repair = []string{drop(p, o)}
		c.all = append(c.all, d)
	}
}

// policy is one of the primary as the replica has it; ok is false where it concerns nobody
// there, or needs what the replica lacks: without a permissive policy a table shows less. One that
// restricts shows nothing at all then.
func (c *accessComparison) policy(p, r *feed.Table, of RowPolicy) (want RowPolicy, ok bool) {
	want = of
	if want.Roles = c.policyRoles(of); len(want.Roles) == 0 {
		c.notes = append(c.notes, "policy "+feed.Quote("", of.Name)+" of "+p.Plain()+" is left out: none of its roles is there")
		return want, false
	}
	possible := !slices.ContainsFunc(of.Columns, func(name string) bool { return r.Column(name) == nil }) &&
		!slices.ContainsFunc(of.Relations, func(name string) bool { return !c.relations[name] })
	switch {
	case possible:
	case of.Permissive:
		c.notes = append(c.notes, "policy "+feed.Quote("", of.Name)+" of "+p.Plain()+" is left out, so that less is shown: it needs columns or tables that are not fed")
		return want, false
	default:
		c.notes = append(c.notes, "policy "+feed.Quote("", of.Name)+" of "+p.Plain()+" hides all rows: it needs columns or tables that are not fed")
		want = want.closed()
	}
	return want, true
}

// policyRoles are whom a policy is for on the replica. Where several roles of the primary are one
// there, it is for all of them if it gives, for any if it takes; and one that takes is also
// for the members of its roles, who need not be members on the replica.
func (c *accessComparison) policyRoles(of RowPolicy) (roles []string) {
	if slices.Contains(of.Roles, "") {
		return []string{""}
	}
	from := slices.Concat(of.Roles, of.Members)
	if of.Permissive {
		from = c.insiders(of)
	}
	gives := func(role string) bool { return slices.Contains(of.Roles, role) || slices.Contains(from, role) }
	for _, role := range from {
		to := c.of(role)
		if to == "" || slices.Contains(roles, to) {
			continue
		}
		if !of.Permissive || !slices.ContainsFunc(c.called[to], func(other string) bool { return !gives(other) }) {
			roles = append(roles, to)
		}
	}
	slices.Sort(roles)
	return roles
}

// is tells whether two policies are the same.
func (p RowPolicy) is(other RowPolicy) bool {
	return p.Permissive == other.Permissive && p.Command == other.Command && slices.Equal(p.Roles, other.Roles) && p.Using == other.Using && p.Check == other.Check
}

// closed lets nothing through.
func (p RowPolicy) closed() RowPolicy {
	if p.Command != "INSERT" {
		p.Using = "false"
	}
	if p.Command == "INSERT" || p.Check != "" {
		p.Check = "false"
	}
	return p
}

// short is a policy without its expressions, which may be long.
func (p RowPolicy) short() string {
	kind := ""
	if !p.Permissive {
		kind = "restrictive "
	}
	return kind + feed.Quote("", p.Name) + " for " + p.Command + " to " + p.to()
}

func (p RowPolicy) to() string {
	names := make([]string, len(p.Roles))
	for i, role := range p.Roles {
		names[i] = grantee(role)
	}
	return strings.Join(names, ", ")
}

func (p RowPolicy) create(t *feed.Table) string {
	as := "PERMISSIVE"
	if !p.Permissive {
		as = "RESTRICTIVE"
	}
	sql := "CREATE POLICY " + feed.Quote("", p.Name) + " ON " + t.Qualified() + " AS " + as + " FOR " + p.Command + " TO " + p.to()
	if p.Using != "" {
		sql += " USING (" + p.Using + ")"
	}
	if p.Check != "" {
		sql += " WITH CHECK (" + p.Check + ")"
	}
	return sql
}

func drop(t *feed.Table, p RowPolicy) string {
	return "DROP POLICY " + feed.Quote("", p.Name) + " ON " + t.Qualified()
}
