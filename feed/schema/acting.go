package schema

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// actingQuery lists the roles that somebody can act as: each that logs in, with itself and those
// that it is a member of.
const actingQuery = `SELECT r.rolname::text, l.rolname::text FROM pg_roles l JOIN pg_roles r ON r.oid = l.oid OR pg_has_role(l.oid, r.oid, 'MEMBER') WHERE l.rolcanlogin AND NOT l.rolsuper
	AND (r.oid = l.oid OR r.oid IN (SELECT roleid FROM pg_auth_members)) AND (r.oid = l.oid OR l.oid IN (SELECT member FROM pg_auth_members))`

// acting are, by role of the replica, the logins that act as it.
type acting map[string][]string

func readActing(ctx context.Context, target *pgx.Conn) (acting, error) {
	who := make(acting)
	var role, login string
	return who, each(ctx, target, actingQuery, nil, []any{&role, &login}, func() { who[role] = append(who[role], login) })
}

// idle tells whether a membership that the replica lacks is nobody's loss: no login of the replica
// acts as the member, or the member gets it by the one of another that is told of.
func (c *accessComparison) idle(m membership, lacking map[membership][]*feed.Table, who acting) bool {
	me := c.of(m.member)
	if len(who[me]) == 0 {
		return true
	}
	for other := range lacking {
		through := c.of(other.member)
		if other.group == m.group && through != me && slices.Contains(who[through], me) {
			return true
		}
	}
	return false
}

// bypassQuery lists the roles that no policy binds and that are no superusers.
const bypassQuery = `SELECT rolname::text FROM pg_roles WHERE rolbypassrls AND NOT rolsuper`

// past tells of roles that read a fed table past its row-level security on one server only.
func (c *accessComparison) past(ctx context.Context, run *feed.Run, at, target *pgx.Conn, tables []*feed.Table, who acting) (all []feed.Problem, err error) {
	if c.foreign { // where the primary has row-level security, nobody else reads a foreign table
		return nil, nil
	}
	there, here := make(map[string]bool), make(map[string]bool)
	var role string
	if err := each(ctx, at, bypassQuery, nil, []any{&role}, func() { there[role] = true }); err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "read who bypasses row-level security", Err: err}
	}
	if err := each(ctx, target, bypassQuery, nil, []any{&role}, func() { here[role] = true }); err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "read who bypasses row-level security", Err: err}
	}
	for _, role := range c.primary.Roles {
		to := c.of(role)
		if to == "" || to == c.owner || there[role] == here[to] || slices.Contains(c.primary.Superusers, role) || slices.Contains(c.replica.Superusers, to) || len(who[to]) == 0 {
			continue
		}
		var secured []*feed.Table
		for _, t := range tables {
			theirs, ours := c.primary.Tables[t.Plain()], c.replica.Tables[t.Plain()]
			if theirs == nil || ours == nil || !theirs.Secured || !c.replica.reads(ours, to) || !c.primary.reads(theirs, role) {
				continue
			}
			if owns := theirs.Owner == role || c.primary.isMember(theirs.Owner, role); !owns || theirs.Forced { // whom no policy binds there either
				secured = append(secured, t)
			}
		}
		if len(secured) == 0 {
			continue
		}
		p := feed.Problem{Server: run.Target.Name, Check: "bypassrls", Note: "the attribute is of all databases of a server: no feed changes it"}
		if here[to] {
			p.What, p.Remedy = fmt.Sprintf("%s reads %s past row-level security here, and not on the primary", to, listed(secured)), "ALTER ROLE "+feed.Quote("", to)+" NOBYPASSRLS"
		} else {
			p.What, p.Remedy = fmt.Sprintf("%s reads all rows of %s on the primary, and here those that policies show", to, listed(secured)), "ALTER ROLE "+feed.Quote("", to)+" BYPASSRLS"
		}
		all = append(all, p)
	}
	return all, nil
}
