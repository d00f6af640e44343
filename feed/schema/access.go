package schema

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"pgshunt/feed"
)

// right is a privilege of a role of the replica, on the whole table where column is "".
type right struct{ role, privilege, column string }

func (r right) whole() right { r.column = ""; return r }

// words is the privilege as GRANT has it.
func (r right) words() string {
	if r.column == "" {
		return r.privilege
	}
	return r.privilege + " (" + feed.Quote("", r.column) + ")"
}

func grantee(role string) string {
	if role == "" {
		return "PUBLIC"
	}
	return feed.Quote("", role)
}

// accessComparison compares who may do what with the tables of a feed. Roles that the
// primary has are its to decide about; what the replica gives to roles of its own is its own.
type accessComparison struct {
	primary, replica *Rights
	users            map[string]string // of the configuration, which renames roles
	owner            string            // as whom the feed works on the replica
	exempt           bool              // row-level security does not bind it
	keepers          map[string]string // by schema, its owner where the feed's role cannot let others use it
	foreign          bool              // the feed is of foreign tables
	relations        map[string]bool   // of those that policies need, which the replica has
	here             map[string]bool   // the replica's roles
	called           map[string][]string
	candidates       []candidate
	all              []accessDifference
	absent           map[string]bool // roles of the primary that the replica lacks
	notes            []string
}

// candidate is a right that the replica gives and the primary's access lists do not. Whether
// the primary gives it all the same, by a membership, it has to be asked.
type candidate struct {
	table   *feed.Table
	right   right
	roles   []string // of the primary
	certain bool     // there is nothing to ask
	grantor string
	// outsiders are members of the role on the replica who would have the right by it.
	outsiders []string
	wanted    map[right]bool // all that the primary's lists give of the table
}

// accessDifference is a Difference with its place in the order of repairs, in which the replica
// shows at no moment more than it did or will; otherwise is what is done where the repair is
// refused, "" for nothing.
type accessDifference struct {
	Difference
	rank      int
	otherwise string
	policy    bool
	wording   *wording // nil where more than the words may differ
}

const (
	rankRevoke = iota
	rankEnable
	rankRestrict
	rankClose
	rankPolicy
	rankLoosen
	rankDisable
	rankGrant
)

func newAccessComparison(primary, replica *Rights, users map[string]string) *accessComparison {
	c := &accessComparison{primary: primary, replica: replica, users: users, here: make(map[string]bool), called: make(map[string][]string), absent: make(map[string]bool)}
	for _, role := range replica.Roles {
		c.here[role] = true
	}
	for _, role := range primary.Roles {
		if to := c.of(role); to != "" {
			c.called[to] = append(c.called[to], role)
		}
	}
	return c
}

// of is what a role of the primary is called on the replica, "" where it is not there.
func (c *accessComparison) of(role string) string {
	if to, mapped := c.users[role]; mapped {
		role = to
	}
	if !c.here[role] {
		return ""
	}
	return role
}

// table compares one table. p is the primary's, r the replica's.
func (c *accessComparison) table(p, r *feed.Table) {
	theirs, ours := c.primary.Tables[p.Plain()], c.replica.Tables[r.Plain()]
	if theirs == nil || ours == nil {
		return
	}
	foreign := r.Kind == 'f'
	wanted := c.wanted(p, r, foreign)
	c.shut(theirs, wanted)
	have := make(map[right]bool)
	for _, g := range ours.Grants {
		at := right{g.Role, g.Privilege, g.Column}
		if g.Role == c.owner || foreign && g.Privilege != "SELECT" || g.Column != "" && p.Column(g.Column) == nil {
			continue // it is the replica's own, or without effect
		}
		have[at] = true
		_, is := wanted[at]
		_, whole := wanted[at.whole()]
		if (is || whole) && (wanted[at] || wanted[at.whole()] || !g.Grantable) {
			continue
		}
		roles := c.called[g.Role]
		if g.Role == "" {
			roles = []string{""}
		}
		if len(roles) > 0 {
			outside := c.outsiders(theirs, at)
			c.candidates = append(c.candidates, candidate{
				table: p, right: at, roles: roles, grantor: g.Grantor, outsiders: outside,
				certain: is || whole || foreign && theirs.Secured || len(outside) > 0, wanted: wanted,
			})
		}
	}
	c.lacking(p, wanted, have)
	if !foreign {
		c.security(p, theirs, ours)
		c.policies(p, r, theirs, ours)
	}
}

// wanted are the rights that the primary's access lists give, with whether they may be given
// on. A foreign table is only read, and by nobody where row-level security would not reach.
func (c *accessComparison) wanted(p, r *feed.Table, foreign bool) map[right]bool {
	all, a, owner := make(map[right]bool), c.primary.Tables[p.Plain()], c.replica.Tables[r.Plain()].Owner
	if foreign && a.Secured {
		return all
	}
	grants := slices.Concat(a.Grants, []Grant{{Role: a.Owner, Privilege: "SELECT"}})
	for _, g := range grants {
		if foreign && g.Privilege != "SELECT" || g.Column != "" && r.Column(g.Column) == nil {
			continue
		}
		roles := []string{g.Role}
		if g.Closed {
			roles = nil
			if g.Role == "" { // everybody who may use the schema
				roles = slices.DeleteFunc(slices.Clone(c.primary.Users[p.Schema]), func(role string) bool { return role == "" })
			}
		}
		for _, role := range roles {
			to := ""
			if role != "" {
				if to = c.of(role); to == "" {
					c.absent[role] = true
				}
				if to == "" || to == c.owner || to == owner {
					continue
				}
			}
			at := right{to, g.Privilege, g.Column}
			if c.everyone(at, grants) {
				all[at] = all[at] || g.Grantable && !foreign
			}
		}
	}
	return all
}

// everyone tells whether all roles of the primary that are one on the replica have the right.
func (c *accessComparison) everyone(at right, grants []Grant) bool {
	return at.role == "" || len(c.called[at.role]) < 2 || !slices.ContainsFunc(c.called[at.role], func(role string) bool {
		return !slices.ContainsFunc(grants, func(g Grant) bool {
			return (g.Role == role || g.Role == "") && g.Privilege == at.privilege && (g.Column == "" || g.Column == at.column) && !g.Closed
		})
	})
}

// lacking tells of rights that the primary gives and the replica does not.
func (c *accessComparison) lacking(p *feed.Table, wanted, have map[right]bool) {
	byRole := make(map[string][]right)
	for at := range wanted {
		if !have[at] && !have[at.whole()] {
			byRole[at.role] = append(byRole[at.role], at)
		}
	}
	for role, rights := range byRole {
		d := Difference{Schema: p.Schema, Table: p.Name, Kind: KindPrivileges, Role: grantee(role)}
		for _, at := range sortedRights(rights) {
			d.Primary = joined(d.Primary, at.words())
			sql := "GRANT " + at.words() + " ON TABLE " + p.Qualified() + " TO " + grantee(role)
			if wanted[at] {
				sql += " WITH GRANT OPTION"
			}
			d.Repair = append(d.Repair, sql)
		}
		c.all = append(c.all, accessDifference{Difference: d, rank: rankGrant})
	}
}

// wider tells of a right that the replica gives and the primary does not.
func (c *accessComparison) wider(w *candidate) {
	t, at := w.table, w.right
	d := Difference{
		Schema: t.Schema, Table: t.Name, Kind: KindPrivileges, Role: grantee(at.role), Replica: at.words(), Matters: true,
		Note: "the replica gives more than the primary",
	}
	if len(w.outsiders) > 0 {
		d.Note = "it also gives it to " + some(w.outsiders) + ", a member here, and the primary does not"
	}
	revoke := func(what, role string) {
		d.Repair = append(d.Repair, "REVOKE "+what+" ON TABLE "+t.Qualified()+" FROM "+grantee(role)+" CASCADE")
	}
	if w.grantor != "" { // only who gave it can take it back, but it goes with theirs
		revoke(at.words(), w.grantor)
	}
	revoke(at.words(), at.role)
	// What goes with it and is right is given again.
	for _, again := range sortedRights(slices.Collect(maps.Keys(w.wanted))) {
		its := again.role == at.role && (again == at || at.column == "") || w.grantor != "" && again.role == w.grantor
		if !its || again.privilege != at.privilege {
			continue
		}
		sql := "GRANT " + again.words() + " ON TABLE " + t.Qualified() + " TO " + grantee(again.role)
		if w.wanted[again] {
			sql += " WITH GRANT OPTION"
		}
		d.Repair = append(d.Repair, sql)
	}
	if _, is := w.wanted[at]; is {
		d.Primary, d.Replica = at.words(), at.words()+" WITH GRANT OPTION"
	}
	c.all = append(c.all, accessDifference{Difference: d, rank: rankRevoke})
}

// usage has the replica's roles use the schemas that the primary's use. Nothing is taken away: a
// schema may hold tables of the replica's own, and who may not use it on the primary has no
// privilege on a fed table.
func (c *accessComparison) usage(tables []*feed.Table) {
	seen := make(map[string]bool)
	for _, t := range tables {
		if seen[t.Schema] || c.replica.Tables[t.Plain()] == nil {
			continue
		}
		seen[t.Schema] = true
		have := c.replica.Users[t.Schema]
		if slices.Contains(have, "") {
			continue
		}
		for _, role := range c.primary.Users[t.Schema] {
			to := ""
			if role != "" {
				if to = c.of(role); to == "" {
					continue
				}
			}
			if to == c.owner || slices.Contains(have, to) {
				continue
			}
			d := Difference{Schema: t.Schema, Table: t.Name, Kind: KindPrivileges, Role: grantee(to), Primary: "USAGE of the schema"}
			sql := "GRANT USAGE ON SCHEMA " + feed.Quote("", t.Schema) + " TO " + grantee(to)
			if keeper := c.keepers[t.Schema]; keeper != "" { // the server would only warn
				d.Note = keeper + ", who owns the schema, has to do it: " + sql
			} else {
				d.Repair = []string{sql}
			}
			c.all = append(c.all, accessDifference{rank: rankGrant, Difference: d})
		}
	}
}

// sorted are the differences in the order of tables, and of each table in that of repairs.
func (c *accessComparison) sorted(tables []*feed.Table) []accessDifference {
	place := make(map[string]int)
	for i, t := range tables {
		place[t.Plain()] = i
	}
	slices.SortFunc(c.all, func(a, b accessDifference) int {
		return cmp.Or(place[a.Schema+"."+a.Table]-place[b.Schema+"."+b.Table], a.rank-b.rank, strings.Compare(a.Role, b.Role), strings.Compare(a.Primary+a.Replica, b.Primary+b.Replica))
	})
	return c.all
}

func sortedRights(rights []right) []right {
	slices.SortFunc(rights, func(a, b right) int { return strings.Compare(a.words(), b.words()) })
	return rights
}

func joined(list, more string) string {
	if list == "" {
		return more
	}
	return list + ", " + more
}
