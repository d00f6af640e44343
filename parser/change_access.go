package parser

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// The ways in which Privileges, RowSecurity and RowPolicy change who may see what, as Change.To
// has them.
const (
	// Wider shows nobody less than before, Narrower nobody more; Either may do both.
	Wider    = "wider"
	Narrower = "narrower"
	Either   = "either"
)

// granted is GRANT or REVOKE on tables or schemas.
func granted(s *pg.GrantStmt) (list []Change) {
	c := Change{Action: Privileges, To: Wider}
	if !s.IsGrant {
		c.To, c.Roles, c.Privileges = Narrower, roleNames(s.Grantees), privilegesSQL(s)
	}
	if s.Objtype != pg.ObjectType_OBJECT_TABLE && s.Objtype != pg.ObjectType_OBJECT_SCHEMA || s.Targtype == pg.GrantTargetType_ACL_TARGET_DEFAULTS {
		return nil
	}
	if c.To == Narrower && c.Privileges == "" {
		return nil
	}
	for _, n := range s.Objects {
		switch one := c; {
		case n.GetRangeVar() != nil:
			list = append(list, of(n.GetRangeVar(), one))
		default: // a schema, and all tables in it
			one.Schema = n.GetString_().GetSval()
			if s.Objtype == pg.ObjectType_OBJECT_SCHEMA {
				one.Roles = nil // with a schema others may lose what is theirs by name
			}
			list = append(list, one)
		}
	}
	return list
}

// tablePrivileges are those of tables. The grammar takes any identifier for one, quoted ones too.
// maintain is not among them: it shows and changes no row, and only PostgreSQL 17 and later know it.
var tablePrivileges = []string{"select", "insert", "update", "delete", "truncate", "references", "trigger"}

// privilegesSQL are the privileges that a REVOKE names, as it has them. What is not of tables
// is all of them: who may not use a schema has none there. So is a word that is no privilege of
// tables, which must not become part of any SQL. It is "" where they are of no concern.
func privilegesSQL(s *pg.GrantStmt) string {
	if s.Objtype == pg.ObjectType_OBJECT_SCHEMA || len(s.Privileges) == 0 {
		return "ALL"
	}
	var words []string
	for _, n := range s.Privileges {
		p := n.GetAccessPriv()
		word := ""
		switch name := p.GetPrivName(); {
		case name == "":
			word = "ALL"
		case slices.Contains(tablePrivileges, name):
			word = strings.ToUpper(name)
		case name == "maintain":
			continue
		default:
			return "ALL"
		}
		for j, column := range names(p.GetCols()) {
			word += [2]string{" (", ", "}[min(j, 1)] + `"` + strings.ReplaceAll(column, `"`, `""`) + `"`
		}
		if len(p.GetCols()) > 0 {
			word += ")"
		}
		words = append(words, word)
	}
	all := strings.Join(words, ", ")
	if s.GrantOption && all != "" {
		return "GRANT OPTION FOR " + all
	}
	return all
}

// roleNames are the roles that a statement names, "" for PUBLIC; nil where one of them is
// that of the session.
func roleNames(specs []*pg.Node) (list []string) {
	for _, n := range specs {
		switch r := n.GetRoleSpec(); r.GetRoletype() {
		case pg.RoleSpecType_ROLESPEC_CSTRING:
			list = append(list, r.Rolename)
		case pg.RoleSpecType_ROLESPEC_PUBLIC:
			list = append(list, "")
		default:
			return nil
		}
	}
	return list
}

// grantedRole is GRANT or REVOKE of roles. What REVOKE takes but for the membership itself is of no concern,
// and is not told apart.
func grantedRole(s *pg.GrantRoleStmt) Change {
	c := Change{Action: Membership, To: Narrower}
	if s.IsGrant {
		c.To = Wider
	}
	for _, n := range s.GrantedRoles {
		c.Roles = append(c.Roles, n.GetAccessPriv().GetPrivName())
	}
	return c
}

// alteredGroup is ALTER GROUP .. ADD or DROP USER, the older words for these.
func alteredGroup(s *pg.AlterRoleStmt) []Change {
	c := Change{Action: Membership, To: Narrower, Roles: roleNames([]*pg.Node{{Node: &pg.Node_RoleSpec{RoleSpec: s.Role}}})}
	if s.Action > 0 {
		c.To = Wider
	}
	for _, n := range s.Options {
		if n.GetDefElem().GetDefname() == "rolemembers" && c.Roles != nil {
			return []Change{c}
		}
	}
	return nil
}

// accessCommands are those of ALTER TABLE that change who may see what.
var accessCommands = map[pg.AlterTableType]Change{
	pg.AlterTableType_AT_ChangeOwner:        {Action: Privileges, To: Either},
	pg.AlterTableType_AT_EnableRowSecurity:  {Action: RowSecurity, To: Narrower},
	pg.AlterTableType_AT_ForceRowSecurity:   {Action: RowSecurity, To: Wider}, // is of the owner's concern alone
	pg.AlterTableType_AT_DisableRowSecurity: {Action: RowSecurity, To: Wider},
	pg.AlterTableType_AT_NoForceRowSecurity: {Action: RowSecurity, To: Wider},
}

// createdPolicy is CREATE POLICY.
func createdPolicy(s *pg.CreatePolicyStmt) Change {
	c := Change{Action: RowPolicy, To: Narrower}
	if s.Permissive {
		c.To = Wider
	}
	return of(s.Table, c)
}
