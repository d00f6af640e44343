package migrate

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// What a change of who may see what does, as package parser names it.
const (
	opens   = "wider"
	narrows = "narrower"
	either  = "either"
)

// ofAccess tells whether a change is about who may see what.
func ofAccess(c *Change) bool {
	return c.Action == privileges || c.Action == rowSecurity || c.Action == rowPolicy || c.Action == membership
}

// mayWait tells whether a replica may have a change later, and until then shows less than it could:
// what is part of a larger transaction is not refused for that.
func mayWait(c *Change) bool { return ofAccess(c) && c.To == opens }

// access orders a change of who may see what: the replica may show less for a moment and never
// more. Where the primary comes to show less, those who lose something lose it on the replica first.
// If that cannot be told from the statement all of the primary's roles lose the table until the
// primary has changed, which they are told, and then get what they have there.
func (s *situation) access(o *Order, c *Change) {
	tables := []string{c.table()}
	if c.Name == "" {
		tables = nil
		for name, t := range s.primary {
			if t.Schema == c.Schema {
				tables = append(tables, name)
			}
		}
		slices.Sort(tables)
	}
	for _, name := range tables {
		if !s.fed(name) && (!s.copied[name] || s.primary[name] == nil || s.replica[name] == nil) {
			continue
		}
		t := s.primary[name]
		before := Step{Kind: closed, What: "close " + name + " while it changes", Schema: t.Schema, Name: t.Name, Privileges: "ALL"}
		switch {
		case c.To != narrows && c.To != either:
			before.Kind = ""
		case c.Action == membership && c.To == narrows:
			before.What, before.Groups = "take "+name+" from members of "+strings.Join(c.Roles, ", "), c.Roles
		case c.Action == privileges && c.To == narrows && c.Roles != nil:
			before.What, before.Privileges, before.Roles = "take privileges on "+name, c.Privileges, c.Roles
		case c.Action == rowSecurity && s.replica[name].Kind != 'f':
			before.What, before.SQL = "have row-level security on "+name, "ALTER TABLE "+t.Qualified()+" ENABLE ROW LEVEL SECURITY"
		}
		if before.Kind == closed {
			o.Before = append(o.Before, before)
		}
		after := Step{Kind: aligned, What: "follow the primary in who may see " + name, Schema: t.Schema, Name: t.Name}
		if !slices.ContainsFunc(o.After, func(other Step) bool { return other.Kind == aligned && other.What == after.What }) {
			o.After = append(o.After, after)
		}
	}
}

// moves orders who may see a table that moves to another schema, which may be open to fewer, or not
// be there on the replica yet.
func (s *situation) moves(o *Order, c *Change) {
	if c.Action == setSchema {
		o.Before = append(o.Before, Step{Kind: closed, What: "close " + c.table() + " while it moves", Schema: c.Schema, Name: c.Name, Privileges: "ALL"})
		o.After = append(o.After, Step{Kind: aligned, What: "follow the primary in who may see " + c.To + "." + c.Name, Schema: c.To, Name: c.Name})
	}
}

// closedSQL takes from a table of the replica what a step says, from those of its roles that are
// there and that the primary has too.
func (r *replica) closedSQL(ctx context.Context, s *Step) (string, error) {
	if s.SQL != "" {
		return s.SQL, nil
	}
	one := &feed.Table{Schema: s.Schema, Name: s.Name}
	theirs, err := schema.ReadRights(ctx, r.primary, []*feed.Table{one})
	if err != nil {
		return "", err
	}
	ours, err := schema.ReadRights(ctx, r.conn, []*feed.Table{one})
	if err != nil {
		return "", err
	}
	have := ours.Tables[one.Plain()]
	if have == nil {
		return "", nil
	}
	wanted := s.Roles
	if s.Groups != nil {
		wanted = r.throughGroups(s.Groups, theirs, ours)
	} else if wanted == nil {
		wanted = append(slices.Clone(theirs.Roles), "")
	} else if t := theirs.Tables[one.Plain()]; t != nil {
		wanted = withMembers(withHeirs(wanted, t.Grants), theirs.Members, t.Grants)
	}
	var from []string
	for _, role := range wanted {
		if to, mapped := r.run.Replica.Users[role]; mapped {
			role = to
		}
		has := slices.ContainsFunc(have.Grants, func(g schema.Grant) bool { return g.Role == role })
		if to := "PUBLIC"; has {
			if role != "" {
				to = quoted(role)
			}
			from = append(from, to)
		}
	}
	if len(from) == 0 {
		return "", nil
	}
	return "REVOKE " + s.Privileges + " ON TABLE " + one.Qualified() + " FROM " + strings.Join(from, ", ") + " CASCADE", nil
}

// withHeirs adds to roles those to whom they have given something on, who lose it with them: on the
// replica it is the table's owner who has given all.
func withHeirs(roles []string, grants []schema.Grant) []string {
	roles = slices.Clone(roles)
	for i := 0; i < len(roles); i++ {
		for _, g := range grants {
			if g.Grantor == roles[i] && g.Grantor != "" && !slices.Contains(roles, g.Role) {
				roles = append(roles, g.Role)
			}
		}
	}
	return roles
}

// withMembers adds to roles who is a member of one of them on the primary and has nothing there by
// itself: what such a role has by itself on the replica is left to it for the sake of the group's.
func withMembers(roles []string, members map[string][]string, grants []schema.Grant) []string {
	all := slices.Clone(roles)
	for _, role := range roles {
		for _, m := range members[role] {
			itself := func(g schema.Grant) bool { return g.Role == m }
			if !slices.Contains(all, m) && !slices.ContainsFunc(grants, itself) {
				all = append(all, m)
			}
		}
	}
	return all
}

// align has a table of the replica give what the primary's gives now.
func (r *replica) align(ctx context.Context, s *Step) error {
	tables, err := feed.Tables(ctx, r.primary, func(schema, name string) bool { return schema == s.Schema && name == s.Name })
	if err != nil {
		return err
	}
	theirs, err := schema.ReadRights(ctx, r.primary, tables)
	if err != nil {
		return err
	}
	return patiently(ctx, func() error { return schema.Align(ctx, r.run, theirs, r.primary, r.conn, tables) })
}

// alignAll does that for all tables of the feed.
func (r *replica) alignAll(ctx context.Context) error {
	tables, err := r.run.Tables(ctx, r.primary)
	if err != nil {
		return err
	}
	theirs, err := schema.ReadRights(ctx, r.primary, tables)
	if err != nil {
		return err
	}
	return patiently(ctx, func() error { return schema.Align(ctx, r.run, theirs, r.primary, r.conn, tables) })
}

// mayAll tells whether a user may change all relations of a schema.
func mayAll(ctx context.Context, primary *pgx.Conn, user, schema string) (bool, error) {
	no, err := find1(ctx, primary, `SELECT 'no' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $2 AND c.relkind IN ('r', 'p') AND NOT pg_has_role($1::name, c.relowner, 'MEMBER') LIMIT 1`, user, schema)
	return no == "", err
}
