package schema

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Predefined roles that may read or write every table, of PostgreSQL 14 and later.
const (
	allReaders = "pg_read_all_data"
	allWriters = "pg_write_all_data"
)

// membersQuery lists who may act as some roles: by inheriting from them or by SET ROLE, which
// PostgreSQL 16 tells apart; who may only give a membership on may not.
func membersQuery(version int) string {
	has := "pg_has_role(m.oid, g.oid, 'MEMBER')"
	if version >= 160000 {
		has = "(pg_has_role(m.oid, g.oid, 'USAGE') OR pg_has_role(m.oid, g.oid, 'SET'))"
	}
	// Only roles with a membership are asked about: many servers have a role for each of thousands of users.
	return `SELECT g.rolname::text, m.rolname::text FROM pg_roles g JOIN pg_roles m ON m.oid <> g.oid AND NOT m.rolsuper AND ` + has + ` WHERE g.rolname = ANY($1)
		AND (g.rolname = 'pg_database_owner' OR g.oid IN (SELECT roleid FROM pg_auth_members))
		AND (m.oid = (SELECT datdba FROM pg_database WHERE datname = current_database()) OR m.oid IN (SELECT member FROM pg_auth_members)) ORDER BY 1, 2`
}

// holders are the roles by which somebody may have a right on the tables.
func (r *Rights) holders() map[string]bool {
	all := map[string]bool{allReaders: true, allWriters: true}
	for _, t := range r.Tables {
		all[t.Owner] = true
		for _, g := range t.Grants {
			all[g.Role] = true
		}
		for _, p := range t.Policies {
			for _, role := range p.Roles {
				all[role] = true
			}
		}
	}
	return all
}

func (r *Rights) readMembers(ctx context.Context, conn *pgx.Conn, holders map[string]bool) error {
	r.Members, r.acts = make(map[string][]string), nil
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return err
	}
	var holder, member string
	return each(ctx, conn, membersQuery(version), []any{slices.Collect(maps.Keys(holders))}, []any{&holder, &member}, func() {
		r.Members[holder] = append(r.Members[holder], member)
	})
}

// readMembers reads those of the replica's roles that have a privilege there, or have one on the primary.
func (c *accessComparison) readMembers(ctx context.Context, target *pgx.Conn) error {
	holders := c.replica.holders()
	for role := range c.primary.holders() {
		holders[c.of(role)] = true
	}
	return c.replica.readMembers(ctx, target, holders)
}

// gives tells whether a role of this server has a right on a table: by its own name, as
// everybody, or as a member of another role.
func (r *Rights) gives(t *TableRights, role string, at right) bool {
	is := func(holder string) bool { return holder == role || r.isMember(holder, role) }
	switch {
	case slices.Contains(r.Superusers, role), is(t.Owner):
		return true
	case at.privilege == "SELECT" && is(allReaders):
		return true
	case slices.Contains([]string{"INSERT", "UPDATE", "DELETE"}, at.privilege) && is(allWriters):
		return true
	}
	return slices.ContainsFunc(t.Grants, func(g Grant) bool {
		return g.Privilege == at.privilege && (g.Column == "" || g.Column == at.column) && !g.Closed && (g.Role == "" || is(g.Role))
	})
}

// isMember tells whether a role may act as another.
func (r *Rights) isMember(holder, role string) bool {
	if r.acts == nil {
		r.acts = make(map[membership]bool)
		for holder, members := range r.Members {
			for _, m := range members {
				r.acts[membership{m, holder}] = true
			}
		}
	}
	return r.acts[membership{role, holder}]
}

// outsiders are the members of a role of the replica that would have a right by it and do not have it
// on the primary. Memberships are the replica's own, and what they give of a fed table is not.
func (c *accessComparison) outsiders(theirs *TableRights, at right) (all []string) {
	if c.primary.Members == nil { // a directory of before they were saved
		return nil
	}
	for _, m := range c.replica.Members[at.role] {
		lacks := func(role string) bool { return !c.primary.gives(theirs, role, at) }
		if m != c.owner && slices.ContainsFunc(c.called[m], lacks) {
			all = append(all, m)
		}
	}
	return all
}

// shut takes the rights from wanted that a membership on the replica would spread, and has the
// group's members on the primary have them by themselves.
func (c *accessComparison) shut(theirs *TableRights, wanted map[right]bool) {
	for _, at := range sortedRights(slices.Collect(maps.Keys(wanted))) {
		if len(c.outsiders(theirs, at)) == 0 {
			continue
		}
		delete(wanted, at)
		for _, role := range c.called[at.role] {
			for _, m := range c.primary.Members[role] {
				own := right{c.of(m), at.privilege, at.column}
				lacks := func(role string) bool { return !c.primary.gives(theirs, role, at) }
				if own.role == "" || own.role == c.owner || slices.ContainsFunc(c.called[own.role], lacks) || len(c.outsiders(theirs, own)) > 0 {
					continue
				}
				if _, is := wanted[own]; !is { // without the right to give it on
					wanted[own] = false
				}
			}
		}
	}
}

// insiders are the roles of the primary whom a policy is for: with the members of those that others
// are members of here too, and without these.
func (c *accessComparison) insiders(of RowPolicy) (roles []string) {
	in := slices.Concat(of.Roles, of.Members, c.primary.Superusers)
	outside := func(to string) bool {
		return c.primary.Members != nil && slices.ContainsFunc(c.replica.Members[to], func(m string) bool {
			return m != c.owner && slices.ContainsFunc(c.called[m], func(role string) bool { return !slices.Contains(in, role) })
		})
	}
	spread := false
	for _, role := range of.Roles {
		if to := c.of(role); to != "" && outside(to) {
			spread = true
		} else {
			roles = append(roles, role)
		}
	}
	if spread {
		for _, m := range of.Members {
			if to := c.of(m); to != "" && !outside(to) && !slices.Contains(roles, m) {
				roles = append(roles, m)
			}
		}
	}
	return roles
}

// Memberships tells of roles that may read fed tables on the primary as members of others, and not
// on the replica, of memberships that only the replica has, and of roles that row-level security
// binds on one of the two only. They belong to all databases of a server, so no feed changes them.
// Nothing is changed.
func Memberships(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
	at, err := run.Primary.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer at.Close(ctx)
	target, err := run.Target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer target.Close(ctx)
	tables, err := run.Tables(ctx, at)
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "read the tables", Err: err}
	}
	theirs, err := ReadRights(ctx, at, tables)
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "read who may do what", Err: err}
	}
	ours, err := ReadRights(ctx, target, tables)
	if err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "read who may do what", Err: err}
	}
	c := newAccessComparison(theirs, ours, run.Replica.Users)
	c.owner, c.foreign = run.Target.User(), run.Replica.Feed == configs.FeedFDW
	if err := c.readMembers(ctx, target); err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "read who may do what", Err: err}
	}
	who, err := readActing(ctx, target)
	if err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "read who logs in", Err: err}
	}
	past, err := c.past(ctx, run, at, target, tables, who)
	return slices.Concat(c.fewer(run.Target.Name, tables, who), c.more(run.Target.Name, tables), past), err
}

// membership is of a role of the primary in another.
type membership struct{ member, group string }

// fewer tells of members that read less on the replica, where somebody acts as them.
func (c *accessComparison) fewer(server string, tables []*feed.Table, who acting) (all []feed.Problem) {
	lacking := make(map[membership][]*feed.Table)
	for _, t := range tables {
		theirs := c.primary.Tables[t.Plain()]
		if theirs == nil || c.foreign && theirs.Secured { // which only the owner may read here
			continue
		}
		groups := []string{theirs.Owner, allReaders}
		for _, g := range theirs.Grants {
			if g.Privilege == "SELECT" && g.Role != "" && !slices.Contains(groups, g.Role) {
				groups = append(groups, g.Role)
			}
		}
		for _, group := range groups {
			for _, m := range c.primary.Members[group] {
				if !slices.Contains(c.replica.Members[c.of(group)], c.of(m)) && c.lacks(t, theirs, m) {
					lacking[membership{m, group}] = append(lacking[membership{m, group}], t)
				}
			}
		}
	}
	for _, m := range sortedMemberships(lacking) {
		if c.idle(m, lacking, who) {
			continue
		}
		group, member := c.of(m.group), feed.Quote("", c.of(m.member))
		var written []string
		for _, t := range lacking[m] {
			written = append(written, t.Qualified())
		}
		p := feed.Problem{
			Server: server, Check: "membership", Note: "memberships are of all databases of a server: no feed changes them",
			What: fmt.Sprintf("%s may read %s on the primary as a member of %s, and not here", c.of(m.member), listed(lacking[m]), m.group),
		}
		switch {
		case m.group == allReaders:
			p.Remedy, p.Note = "GRANT SELECT ON "+strings.Join(written, ", ")+" TO "+member, "there it may read whatever the database has"
		case group == "":
			called := feed.Quote("", m.group)
			p.Remedy, p.Note = "CREATE ROLE "+called+"; GRANT "+called+" TO "+member, "there is no such role here; pgshunt feed apply then gives it what it has on the primary"
		default:
			p.Remedy = "GRANT " + feed.Quote("", group) + " TO " + member
		}
		all = append(all, p)
	}
	return all
}

// lacks tells whether a role of the primary is there and may read a table by nothing but memberships
// on the primary, and not at all on the replica.
func (c *accessComparison) lacks(t *feed.Table, theirs *TableRights, role string) bool {
	to := c.of(role)
	if to == "" || to == c.owner || slices.Contains(c.replica.Superusers, to) {
		return false
	}
	itself := func(g Grant) bool { return g.Privilege == "SELECT" && (g.Role == role || g.Role == "") }
	if slices.ContainsFunc(theirs.Grants, itself) { // which the replica has or gets
		return false
	}
	ours := c.replica.Tables[t.Plain()]
	if ours == nil {
		ours = &TableRights{Owner: c.owner}
		for _, g := range theirs.Grants {
			if g.Role = c.of(g.Role); g.Role != "" {
				ours.Grants = append(ours.Grants, g)
			}
		}
	}
	return !c.replica.reads(ours, to)
}

// reads tells whether a role of this server may read a table, or some columns of it.
func (r *Rights) reads(t *TableRights, role string) bool {
	some := slices.Clone(t.Grants)
	for i := range some {
		some[i].Column = ""
	}
	return r.gives(&TableRights{Owner: t.Owner, Grants: some}, role, right{role, "SELECT", ""})
}

// more tells of memberships of the replica's own that would have others read more.
func (c *accessComparison) more(server string, tables []*feed.Table) (all []feed.Problem) {
	found := make(map[membership][]*feed.Table)
	for _, t := range tables {
		theirs := c.primary.Tables[t.Plain()]
		if theirs == nil {
			continue
		}
		for _, g := range slices.Concat(theirs.Grants, []Grant{{Role: theirs.Owner, Privilege: "SELECT"}}) {
			at := right{c.of(g.Role), g.Privilege, g.Column}
			if at.role == "" || at.role == c.owner {
				continue
			}
			for _, m := range c.outsiders(theirs, at) {
				if pair := (membership{m, at.role}); !slices.Contains(found[pair], t) {
					found[pair] = append(found[pair], t)
				}
			}
		}
		for _, m := range c.outsiders(theirs, right{allReaders, "SELECT", ""}) {
			found[membership{m, allReaders}] = append(found[membership{m, allReaders}], t)
		}
	}
	for _, m := range sortedMemberships(found) {
		p := feed.Problem{Server: server, Check: "membership", Remedy: "REVOKE " + feed.Quote("", m.group) + " FROM " + feed.Quote("", m.member)}
		if p.What = fmt.Sprintf("%s is a member of %s here, and may not read %s on the primary", m.member, m.group, listed(found[m])); m.group != allReaders {
			p.Note = "therefore " + m.group + " itself has no privilege on that here; its members on the primary have it by their own names"
		}
		all = append(all, p)
	}
	return all
}

func listed(tables []*feed.Table) string {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.Plain()
	}
	return some(names)
}

func sortedMemberships(of map[membership][]*feed.Table) []membership {
	return slices.SortedFunc(maps.Keys(of), func(a, b membership) int {
		return strings.Compare(a.member+"\x00"+a.group, b.member+"\x00"+b.group)
	})
}
