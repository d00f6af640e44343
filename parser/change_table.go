package parser

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// alterTable is ALTER TABLE; of other kinds of relation, and of composite types, only what
// is needed here.
func alterTable(s *pg.AlterTableStmt) (list []Change, alone bool) {
	switch s.Objtype {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_FOREIGN_TABLE:
	case pg.ObjectType_OBJECT_TYPE:
		return []Change{of(s.Relation, Change{Action: AlterType})}, false
	default:
		return nil, false
	}
	for _, n := range s.Cmds {
		cmd := n.GetAlterTableCmd()
		c, alsoAlone := alterCommand(cmd)
		if c.Action == AttachPartition || c.Action == DetachPartition {
			c.ParentSchema, c.ParentName = s.Relation.GetSchemaname(), s.Relation.GetRelname()
		} else {
			c = of(s.Relation, c)
		}
		list, alone = append(list, c), alone || alsoAlone
	}
	return list, alone
}

// localCommands change nothing that a copy of the table needs to know of.
var localCommands = map[pg.AlterTableType]bool{
	pg.AlterTableType_AT_SetStatistics: true, pg.AlterTableType_AT_SetOptions: true, pg.AlterTableType_AT_ResetOptions: true,
	pg.AlterTableType_AT_SetStorage: true, pg.AlterTableType_AT_SetCompression: true,
	pg.AlterTableType_AT_ClusterOn: true, pg.AlterTableType_AT_DropCluster: true, pg.AlterTableType_AT_SetTableSpace: true,
	pg.AlterTableType_AT_SetRelOptions: true, pg.AlterTableType_AT_ResetRelOptions: true,
	pg.AlterTableType_AT_EnableTrig: true, pg.AlterTableType_AT_EnableAlwaysTrig: true, pg.AlterTableType_AT_EnableReplicaTrig: true,
	pg.AlterTableType_AT_DisableTrig: true, pg.AlterTableType_AT_EnableTrigAll: true, pg.AlterTableType_AT_DisableTrigAll: true,
	pg.AlterTableType_AT_EnableTrigUser: true, pg.AlterTableType_AT_DisableTrigUser: true, pg.AlterTableType_AT_EnableRule: true,
	pg.AlterTableType_AT_EnableAlwaysRule: true, pg.AlterTableType_AT_EnableReplicaRule: true, pg.AlterTableType_AT_DisableRule: true,
	pg.AlterTableType_AT_AddIdentity: true, pg.AlterTableType_AT_SetIdentity: true, pg.AlterTableType_AT_DropIdentity: true,
	pg.AlterTableType_AT_AlterConstraint: true,
}

func alterCommand(cmd *pg.AlterTableCmd) (c Change, alone bool) {
	c = Change{Column: cmd.Name, IfExists: cmd.MissingOk, Cascade: cmd.Behavior == pg.DropBehavior_DROP_CASCADE}
	switch cmd.Subtype {
	case pg.AlterTableType_AT_AddColumn:
		addedColumn(&c, cmd.Def.GetColumnDef())
	case pg.AlterTableType_AT_DropColumn:
		c.Action = DropColumn
	case pg.AlterTableType_AT_AlterColumnType:
		def := cmd.Def.GetColumnDef()
		c.Action, c.Type, c.Collation, c.Using = AlterColumnType, typeSQL(def.GetTypeName()), collationSQL(def.GetCollClause()), expressionSQL(def.GetRawDefault())
	case pg.AlterTableType_AT_SetNotNull:
		c.Action = SetNotNull
	case pg.AlterTableType_AT_DropNotNull:
		c.Action = DropNotNull
	case pg.AlterTableType_AT_ColumnDefault:
		c.Action, c.Default, c.Constant = ColumnDefault, expressionSQL(cmd.Def), cmd.Def == nil || timeless(cmd.Def)
	case pg.AlterTableType_AT_AddConstraint:
		con := cmd.Def.GetConstraint()
		c.Action, c.Column = AddConstraint, con.GetConname()
		c.Key = con.GetContype() == pg.ConstrType_CONSTR_PRIMARY
		c.Unique = c.Key || con.GetContype() == pg.ConstrType_CONSTR_UNIQUE || con.GetContype() == pg.ConstrType_CONSTR_EXCLUSION
	case pg.AlterTableType_AT_DropConstraint:
		c.Action = DropConstraint
	case pg.AlterTableType_AT_ValidateConstraint:
		c.Action = ValidateConstraint
	case pg.AlterTableType_AT_ReplicaIdentity:
		c.Action, c.To = Identity, cmd.Def.GetReplicaIdentityStmt().GetIdentityType()
	case pg.AlterTableType_AT_AttachPartition:
		p := cmd.Def.GetPartitionCmd()
		c = of(p.GetName(), Change{Action: AttachPartition, Bound: boundSQL(p.GetBound()), Constant: timelessBound(p.GetBound())})
	case pg.AlterTableType_AT_DetachPartition:
		p := cmd.Def.GetPartitionCmd()
		c = of(p.GetName(), Change{Action: DetachPartition})
		alone = p.GetConcurrent()
	default:
		if who, is := accessCommands[cmd.Subtype]; is {
			return who, false
		}
		c.Action = Unknown
		if localCommands[cmd.Subtype] {
			c.Action = Local
		}
		c.To = strings.TrimPrefix(cmd.Subtype.String(), "AT_")
	}
	return c, alone
}

func addedColumn(c *Change, def *pg.ColumnDef) {
	c.Action, c.Column, c.Type, c.Collation = AddColumn, def.GetColname(), typeSQL(def.GetTypeName()), collationSQL(def.GetCollClause())
	c.Constant = true
	switch strings.ToLower(c.Type) {
	case "serial", "bigserial", "smallserial", "serial2", "serial4", "serial8":
		c.Constant, c.Default, c.NotNull = false, "nextval", true
	}
	for _, n := range def.GetConstraints() {
		con := n.GetConstraint()
		switch con.GetContype() {
		case pg.ConstrType_CONSTR_NOTNULL:
			c.NotNull = true
		case pg.ConstrType_CONSTR_NULL:
		case pg.ConstrType_CONSTR_DEFAULT:
			addedDefault(c, con.RawExpr)
		case pg.ConstrType_CONSTR_IDENTITY, pg.ConstrType_CONSTR_GENERATED:
			c.Generated, c.Default, c.Constant = con.Contype == pg.ConstrType_CONSTR_GENERATED, expressionSQL(con.RawExpr), false
			c.NotNull = c.NotNull || !c.Generated
		case pg.ConstrType_CONSTR_PRIMARY:
			c.Key, c.NotNull = true, true
		default:
			c.Inline = true
		}
	}
}

// addedDefault is the default of a new column, without a cast to the type that it has.
func addedDefault(c *Change, n *pg.Node) {
	for n.GetTypeCast() != nil && typeSQL(n.GetTypeCast().TypeName) == c.Type {
		n = n.GetTypeCast().Arg
	}
	constant := n.GetAConst()
	if constant.GetIsnull() {
		return
	}
	c.Default, c.Constant = expressionSQL(n), timeless(n)
	if c.Constant && constant.GetSval() != nil {
		text := constant.GetSval().GetSval()
		c.Literal = &text
	}
}

// timelessBound tells that of the bounds of a partition.
func timelessBound(b *pg.PartitionBoundSpec) bool {
	for _, list := range [][]*pg.Node{b.Listdatums, b.Lowerdatums, b.Upperdatums} {
		for _, n := range list {
			if n.GetColumnRef() == nil && !timeless(n) { // MINVALUE and MAXVALUE are read as columns
				return false
			}
		}
	}
	return true
}

// timeless tells whether an expression is made of constants alone, none of which is a word
// for a time, such as 'now', that depends on when it is read. Operators, and types of
// other schemas, may be functions of whoever made them.
func timeless(n *pg.Node) bool {
	switch x := n.GetNode().(type) {
	case *pg.Node_AConst:
		text := strings.ToLower(strings.TrimSpace(x.AConst.GetSval().GetSval()))
		switch text {
		case "now", "today", "tomorrow", "yesterday":
			return false
		}
		return !strings.HasPrefix(text, "today ") && !strings.HasPrefix(text, "tomorrow ") && !strings.HasPrefix(text, "yesterday ")
	case *pg.Node_TypeCast:
		name := names(x.TypeCast.GetTypeName().GetNames())
		return (len(name) == 1 || len(name) == 2 && name[0] == "pg_catalog") && timeless(x.TypeCast.Arg)
	case *pg.Node_AArrayExpr:
		for _, e := range x.AArrayExpr.Elements {
			if !timeless(e) {
				return false
			}
		}
		return true
	}
	return false
}

// expressionSQL writes an expression, "" for none.
func expressionSQL(n *pg.Node) string {
	if n == nil {
		return ""
	}
	return selected(n)
}

// selected is what follows SELECT in a statement that selects n alone.
func selected(n *pg.Node) string {
	target := &pg.Node{Node: &pg.Node_ResTarget{ResTarget: &pg.ResTarget{Val: n}}}
	query := &pg.SelectStmt{TargetList: []*pg.Node{target}, LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT, Op: pg.SetOperation_SETOP_NONE}
	return strings.TrimPrefix(written(&pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: query}}), "SELECT ")
}

// written is a statement as SQL, "" for one that cannot be written.
func written(n *pg.Node) string {
	text, err := pg.Deparse(&pg.ParseResult{Stmts: []*pg.RawStmt{{Stmt: n}}})
	if err != nil {
		return ""
	}
	return text
}

func typeSQL(t *pg.TypeName) string {
	if t == nil {
		return ""
	}
	// As the type of a column, so that serial and the like are written as they stand.
	column := &pg.ColumnDef{Colname: "c", TypeName: t, IsLocal: true}
	table := &pg.CreateStmt{
		Relation:  &pg.RangeVar{Relname: "t", Inh: true, Relpersistence: "p"},
		TableElts: []*pg.Node{{Node: &pg.Node_ColumnDef{ColumnDef: column}}},
		Oncommit:  pg.OnCommitAction_ONCOMMIT_NOOP,
	}
	text := written(&pg.Node{Node: &pg.Node_CreateStmt{CreateStmt: table}})
	return strings.TrimSuffix(strings.TrimPrefix(text, "CREATE TABLE t (c "), ")")
}

func collationSQL(c *pg.CollateClause) string {
	if c == nil {
		return ""
	}
	var parts []string
	for _, name := range names(c.Collname) {
		parts = append(parts, `"`+strings.ReplaceAll(name, `"`, `""`)+`"`)
	}
	return strings.Join(parts, ".")
}

// boundSQL is what follows PARTITION OF parent.
func boundSQL(b *pg.PartitionBoundSpec) string {
	if b == nil {
		return ""
	}
	table := &pg.CreateStmt{
		Relation:     &pg.RangeVar{Relname: "t", Inh: true, Relpersistence: "p"},
		InhRelations: []*pg.Node{{Node: &pg.Node_RangeVar{RangeVar: &pg.RangeVar{Relname: "p", Inh: true, Relpersistence: "p"}}}},
		Partbound:    b, Oncommit: pg.OnCommitAction_ONCOMMIT_NOOP,
	}
	return strings.TrimPrefix(written(&pg.Node{Node: &pg.Node_CreateStmt{CreateStmt: table}}), "CREATE TABLE t PARTITION OF p ")
}
