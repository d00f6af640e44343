package parser

import (
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// Change is one thing that a statement of DDL changes, without how it was written. What is
// not of an action's business is empty.
type Change struct {
	// Action is one of the constants below.
	Action string
	// Schema and Name are the relation, or the type, as written; Schema is "" when unqualified.
	Schema, Name string
	// Column is the column; the constraint for actions on constraints; the label of an enum.
	Column string
	// To is the new name, schema or label; the identity's kind for Identity; the word for Unknown;
	// Wider, Narrower or Either for what changes who may see what.
	To string
	// Roles are those of whom a REVOKE takes Privileges, whose things are dropped or reassigned, or in which
	// others become members; "" for PUBLIC, nil where they are not known. Without Name it is about all tables of the schema.
	Roles      []string
	Privileges string
	// Type, Collation, Default, Using and Bound are SQL, written anew from the tree: the type
	// of a column, its default, the conversion, and what makes a table a partition.
	Type, Collation, Default, Using, Bound string
	// Constant is set where Default, or Bound, is the same whenever it is worked out, and
	// working it out calls nobody's function; it may depend on settings. Literal is Default
	// where that is a string and nothing else.
	Constant bool
	Literal  *string
	// NotNull, Generated, Key and Inline tell of a new column: generated or identity, a primary
	// key, any other constraint.
	NotNull, Generated, Key, Inline bool
	// IfExists is IF EXISTS, or IF NOT EXISTS where something is made. Cascade is CASCADE.
	IfExists, Cascade bool
	// ParentSchema and ParentName are the table that a partition is of or becomes one of.
	ParentSchema, ParentName string
	// Neighbor is the label that a new one of an enum stands beside, before it unless After.
	Neighbor string
	After    bool
	// Unique is set for a unique index and for constraints that hold by one.
	Unique bool
	// AsIndex is set where ALTER INDEX gives something a new name, which may be a table all the same.
	AsIndex bool
}

// The actions.
const (
	AddColumn          = "add column"
	DropColumn         = "drop column"
	RenameColumn       = "rename column" // of a relation of any kind, or of a composite type
	AlterColumnType    = "alter type"
	SetNotNull         = "set not null"
	DropNotNull        = "drop not null"
	ColumnDefault      = "default" // set or dropped
	Identity           = "replica identity"
	RenameTable        = "rename table" // or of another relation: ALTER TABLE and ALTER INDEX take both
	SetSchema          = "set schema"
	CreateTable        = "create table"
	CreatePartition    = "create partition"
	AttachPartition    = "attach partition"
	DetachPartition    = "detach partition"
	DropTable          = "drop table"
	AddConstraint      = "add constraint"
	DropConstraint     = "drop constraint"
	RenameConstraint   = "rename constraint"
	ValidateConstraint = "validate constraint"
	CreateIndex        = "create index"
	DropIndex          = "drop index"
	AddLabel           = "add value"    // of an enum
	RenameLabel        = "rename value" // of an enum
	CreateType         = "create type"  // a domain too
	AlterType          = "change type"  // of a type or domain itself
	DropType           = "drop type"
	// Who may see what: GRANT, REVOKE and the owner; row-level security; its policies.
	Privileges  = "privileges"
	RowSecurity = "row security"
	RowPolicy   = "policy"
	// What Roles own in the database, and what DROP OWNED takes from them besides.
	DropOwned     = "drop owned"
	ReassignOwned = "reassign owned"
	// Membership is GRANT or REVOKE of Roles to others.
	Membership = "membership"
	// Local is a change that no copy of the table needs to know of: comments, triggers,
	// storage.
	Local = "local"
	// Unknown is a change of a table that is none of the above.
	Unknown = "unknown"
)

// Definition is one statement of a script.
type Definition struct {
	// Text is the statement as written, without its semicolon.
	Text string
	Kind Kind
	// Changes are empty for statements that are not DDL, or are about other objects than
	// tables, indexes and types.
	Changes []Change
	// Alone is set where PostgreSQL refuses the statement in a transaction block.
	Alone bool
}

// Definitions reads a script. It is an error where a statement cannot be read, since
// nobody could say then what it changes.
func Definitions(script string) ([]Definition, error) {
	if strings.IndexByte(script, 0) >= 0 {
		return nil, fmt.Errorf("the script has a zero byte")
	}
	var out []Definition
	for _, text := range Split(script) {
		if survey([]byte(text)).deep {
			return nil, fmt.Errorf("statement %d is nested too deeply to be read", len(out)+1)
		}
		tree, err := parseTree(text)
		if err != nil {
			return nil, fmt.Errorf("statement %d cannot be read with the grammar of PostgreSQL %d (%w): %s", len(out)+1, Grammar, err, excerpt(text))
		}
		for _, raw := range tree.Stmts {
			d := Definition{Text: text}
			var part Part
			d.Changes, d.Alone = changes(raw.Stmt)
			extract(&part, raw.Stmt, text) // changes the tree, and so comes last
			d.Kind = part.Kind
			out = append(out, d)
		}
	}
	return out, nil
}

func excerpt(text string) string {
	const most = 60
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "..."
	}
	return text
}

// changes are those that a statement makes; alone tells whether it may not be in a
// transaction block.
func changes(n *pg.Node) (list []Change, alone bool) {
	switch x := n.GetNode().(type) {
	case *pg.Node_AlterTableStmt:
		return alterTable(x.AlterTableStmt)
	case *pg.Node_RenameStmt:
		return rename(x.RenameStmt), false
	case *pg.Node_AlterObjectSchemaStmt:
		s := x.AlterObjectSchemaStmt
		switch s.ObjectType {
		case pg.ObjectType_OBJECT_TABLE:
			return []Change{of(s.Relation, Change{Action: SetSchema, To: s.Newschema, IfExists: s.MissingOk})}, false
		case pg.ObjectType_OBJECT_TYPE, pg.ObjectType_OBJECT_DOMAIN:
			return []Change{named(namesOf(s.Object), Change{Action: AlterType})}, false
		}
	case *pg.Node_CreateStmt:
		return createdTable(x.CreateStmt), false
	case *pg.Node_CreateTableAsStmt:
		rel := x.CreateTableAsStmt.Into.GetRel()
		if x.CreateTableAsStmt.Objtype == pg.ObjectType_OBJECT_TABLE && rel.GetRelpersistence() != "t" {
			return []Change{of(rel, Change{Action: Unknown, To: "CREATE TABLE AS", IfExists: x.CreateTableAsStmt.IfNotExists})}, false
		}
	case *pg.Node_SelectStmt:
		if rel := x.SelectStmt.IntoClause.GetRel(); rel != nil && rel.Relpersistence != "t" {
			return []Change{of(rel, Change{Action: Unknown, To: "SELECT INTO"})}, false
		}
	case *pg.Node_DropStmt:
		return dropped(x.DropStmt)
	case *pg.Node_IndexStmt:
		s := x.IndexStmt
		return []Change{of(s.Relation, Change{Action: CreateIndex, Column: s.Idxname, Unique: s.Unique, IfExists: s.IfNotExists})}, s.Concurrent
	case *pg.Node_DropOwnedStmt:
		s := x.DropOwnedStmt
		return []Change{{Action: DropOwned, Roles: roleNames(s.Roles), Cascade: s.Behavior == pg.DropBehavior_DROP_CASCADE}}, false
	case *pg.Node_ReassignOwnedStmt:
		return []Change{{Action: ReassignOwned, Roles: roleNames(x.ReassignOwnedStmt.Roles)}}, false
	case *pg.Node_GrantStmt:
		return granted(x.GrantStmt), false
	case *pg.Node_GrantRoleStmt:
		return []Change{grantedRole(x.GrantRoleStmt)}, false
	case *pg.Node_AlterRoleStmt:
		return alteredGroup(x.AlterRoleStmt), false
	case *pg.Node_CreatePolicyStmt:
		return []Change{createdPolicy(x.CreatePolicyStmt)}, false
	case *pg.Node_AlterPolicyStmt:
		return []Change{of(x.AlterPolicyStmt.Table, Change{Action: RowPolicy, To: Either})}, false
	case *pg.Node_AlterOwnerStmt:
		if s := x.AlterOwnerStmt; s.ObjectType == pg.ObjectType_OBJECT_SCHEMA {
			return []Change{{Action: Privileges, Schema: s.Object.GetString_().GetSval(), To: Either}}, false
		}
	case *pg.Node_CreateEnumStmt:
		return []Change{named(names(x.CreateEnumStmt.TypeName), Change{Action: CreateType})}, false
	case *pg.Node_CreateDomainStmt:
		return []Change{named(names(x.CreateDomainStmt.Domainname), Change{Action: CreateType})}, false
	case *pg.Node_CompositeTypeStmt:
		return []Change{of(x.CompositeTypeStmt.Typevar, Change{Action: CreateType})}, false
	case *pg.Node_AlterDomainStmt:
		return []Change{named(names(x.AlterDomainStmt.TypeName), Change{Action: AlterType})}, false
	case *pg.Node_AlterTypeStmt:
		return []Change{named(names(x.AlterTypeStmt.TypeName), Change{Action: AlterType})}, false
	case *pg.Node_AlterEnumStmt:
		s := x.AlterEnumStmt
		if s.OldVal != "" {
			return []Change{named(names(s.TypeName), Change{Action: RenameLabel, Column: s.OldVal, To: s.NewVal})}, false
		}
		return []Change{named(names(s.TypeName), Change{
			Action: AddLabel, Column: s.NewVal, Neighbor: s.NewValNeighbor, After: s.NewValIsAfter, IfExists: s.SkipIfNewValExists,
		})}, false
	case *pg.Node_VacuumStmt, *pg.Node_CreatedbStmt, *pg.Node_DropdbStmt, *pg.Node_CreateTableSpaceStmt, *pg.Node_DropTableSpaceStmt, *pg.Node_AlterSystemStmt:
		return nil, true
	}
	return nil, false
}

// of completes a change of a relation.
func of(r *pg.RangeVar, c Change) Change {
	c.Schema, c.Name = r.GetSchemaname(), r.GetRelname()
	return c
}

// named completes a change of an object whose name is a list.
func named(name []string, c Change) Change {
	if len(name) > 0 {
		c.Name = name[len(name)-1]
	}
	if len(name) > 1 {
		c.Schema = name[len(name)-2]
	}
	return c
}

// namesOf is a name in one of the forms that the grammar has for objects.
func namesOf(n *pg.Node) []string {
	switch x := n.GetNode().(type) {
	case *pg.Node_List:
		return names(x.List.Items)
	case *pg.Node_TypeName:
		return names(x.TypeName.Names)
	}
	return nil
}

func rename(s *pg.RenameStmt) []Change {
	c := Change{Column: s.Subname, To: s.Newname, IfExists: s.MissingOk}
	switch s.RenameType {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_FOREIGN_TABLE:
		c.Action, c.Column = RenameTable, ""
	case pg.ObjectType_OBJECT_INDEX:
		c.Action, c.Column, c.AsIndex = RenameTable, "", true
	case pg.ObjectType_OBJECT_COLUMN, pg.ObjectType_OBJECT_ATTRIBUTE: // ALTER VIEW and ALTER TYPE take a table's, too
		c.Action = RenameColumn
	case pg.ObjectType_OBJECT_TABCONSTRAINT:
		c.Action = RenameConstraint
	case pg.ObjectType_OBJECT_POLICY:
		c = Change{Action: RowPolicy, To: Wider, IfExists: s.MissingOk} // nobody sees more or less
	case pg.ObjectType_OBJECT_TRIGGER, pg.ObjectType_OBJECT_RULE:
		c.Action = Local
	case pg.ObjectType_OBJECT_TYPE, pg.ObjectType_OBJECT_DOMAIN:
		c.Action = AlterType
		return []Change{named(namesOf(s.Object), c)}
	case pg.ObjectType_OBJECT_SCHEMA:
		return []Change{{Action: Unknown, Schema: s.Subname, To: "ALTER SCHEMA .. RENAME"}}
	default:
		return nil
	}
	return []Change{of(s.Relation, c)}
}

// createdTable is CREATE TABLE, unless it makes a temporary one.
func createdTable(s *pg.CreateStmt) []Change {
	if s.Relation.GetRelpersistence() == "t" {
		return nil
	}
	c := of(s.Relation, Change{Action: CreateTable, IfExists: s.IfNotExists})
	if s.Partbound != nil && len(s.InhRelations) == 1 {
		parent := s.InhRelations[0].GetRangeVar()
		c.Action, c.ParentSchema, c.ParentName = CreatePartition, parent.GetSchemaname(), parent.GetRelname()
		c.Bound, c.Constant = boundSQL(s.Partbound), timelessBound(s.Partbound)
	}
	return []Change{c}
}

func dropped(s *pg.DropStmt) (list []Change, alone bool) {
	action := ""
	switch s.RemoveType {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_FOREIGN_TABLE:
		action = DropTable
	case pg.ObjectType_OBJECT_INDEX:
		action = DropIndex
	case pg.ObjectType_OBJECT_TYPE, pg.ObjectType_OBJECT_DOMAIN:
		action = DropType
	case pg.ObjectType_OBJECT_TRIGGER, pg.ObjectType_OBJECT_POLICY, pg.ObjectType_OBJECT_RULE:
		c := Change{Action: Local}
		if s.RemoveType == pg.ObjectType_OBJECT_POLICY {
			c = Change{Action: RowPolicy, To: Either} // whether it gives or takes is not written here
		}
		for _, n := range s.Objects {
			if name := namesOf(n); len(name) > 1 {
				list = append(list, named(name[:len(name)-1], c))
			}
		}
		return list, false
	case pg.ObjectType_OBJECT_SCHEMA:
		for _, n := range s.Objects {
			list = append(list, Change{Action: Unknown, Schema: n.GetString_().GetSval(), To: "DROP SCHEMA"})
		}
		return list, false
	default:
		return nil, false
	}
	for _, n := range s.Objects {
		list = append(list, named(namesOf(n), Change{
			Action: action, IfExists: s.MissingOk, Cascade: s.Behavior == pg.DropBehavior_DROP_CASCADE,
		}))
	}
	return list, s.Concurrent
}
