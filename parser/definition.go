package parser

import (
	"reflect"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// definition handles DDL and every command that has no kind of its own.
func (w *walker) definition(n *pg.Node) {
	w.part.Kind = DDL
	w.defining = true
	switch x := n.GetNode().(type) {
	case *pg.Node_CreateStmt:
		w.createTable(x.CreateStmt)
	case *pg.Node_CreateForeignTableStmt:
		w.createTable(x.CreateForeignTableStmt.BaseStmt)
		w.nodes(x.CreateForeignTableStmt.Options)
	case *pg.Node_CreateTableAsStmt:
		w.createTableAs(x.CreateTableAsStmt)
	case *pg.Node_ViewStmt:
		w.temporary(x.ViewStmt.View)
		w.relation(x.ViewStmt.View)
		w.quoting(func() {
			w.node(x.ViewStmt.Query)
			w.nodes(x.ViewStmt.Options)
		})
	case *pg.Node_CreateSeqStmt:
		w.temporary(x.CreateSeqStmt.Sequence)
		w.children(reflect.ValueOf(x.CreateSeqStmt))
	case *pg.Node_RuleStmt:
		w.relation(x.RuleStmt.Relation)
		w.quoting(func() {
			w.node(x.RuleStmt.WhereClause)
			w.nodes(x.RuleStmt.Actions)
		})
	case *pg.Node_CreateFunctionStmt:
		w.createFunction(x.CreateFunctionStmt)
	case *pg.Node_CreateTrigStmt:
		w.call(&pg.FuncCall{Funcname: x.CreateTrigStmt.Funcname})
		x.CreateTrigStmt.Funcname = nil
		w.quoting(func() { w.children(reflect.ValueOf(x.CreateTrigStmt)) })
	case *pg.Node_DropStmt:
		w.drop(x.DropStmt)
	case *pg.Node_CommentStmt:
		w.object(x.CommentStmt.Objtype, x.CommentStmt.Object)
	case *pg.Node_SecLabelStmt:
		w.object(x.SecLabelStmt.Objtype, x.SecLabelStmt.Object)
	case *pg.Node_RenameStmt:
		w.relation(x.RenameStmt.Relation)
		w.object(x.RenameStmt.RenameType, x.RenameStmt.Object)
	case *pg.Node_AlterOwnerStmt:
		w.relation(x.AlterOwnerStmt.Relation)
		w.object(x.AlterOwnerStmt.ObjectType, x.AlterOwnerStmt.Object)
	case *pg.Node_AlterObjectSchemaStmt:
		w.relation(x.AlterObjectSchemaStmt.Relation)
		w.object(x.AlterObjectSchemaStmt.ObjectType, x.AlterObjectSchemaStmt.Object)
		w.defineSchema(x.AlterObjectSchemaStmt.Newschema)
	default:
		w.named(n)
		w.maintenance(n)
	}
}

// named notes the object of DDL that spells its name as a list of strings.
func (w *walker) named(n *pg.Node) {
	switch x := n.GetNode().(type) {
	case *pg.Node_CreateSchemaStmt:
		w.defineSchema(x.CreateSchemaStmt.Schemaname)
	case *pg.Node_CreateExtensionStmt:
		w.defineSchema(x.CreateExtensionStmt.Extname)
	case *pg.Node_AlterExtensionStmt:
		w.defineSchema(x.AlterExtensionStmt.Extname)
	case *pg.Node_AlterExtensionContentsStmt:
		w.defineSchema(x.AlterExtensionContentsStmt.Extname)
	case *pg.Node_ImportForeignSchemaStmt:
		w.defineSchema(x.ImportForeignSchemaStmt.LocalSchema)
	case *pg.Node_DefineStmt:
		w.define(names(x.DefineStmt.Defnames))
	case *pg.Node_CreateEnumStmt:
		w.define(names(x.CreateEnumStmt.TypeName))
	case *pg.Node_AlterEnumStmt:
		w.define(names(x.AlterEnumStmt.TypeName))
	case *pg.Node_CreateRangeStmt:
		w.define(names(x.CreateRangeStmt.TypeName))
	case *pg.Node_CreateDomainStmt:
		w.define(names(x.CreateDomainStmt.Domainname))
	case *pg.Node_AlterDomainStmt:
		w.define(names(x.AlterDomainStmt.TypeName))
	case *pg.Node_AlterTypeStmt:
		w.define(names(x.AlterTypeStmt.TypeName))
	case *pg.Node_CreateStatsStmt:
		w.define(names(x.CreateStatsStmt.Defnames))
	}
}

// callable notes a function or operator named with the types of its arguments.
func (w *walker) callable(o *pg.ObjectWithArgs) {
	w.define(names(o.Objname))
	w.nodes(o.Objargs)
	w.nodes(o.Objfuncargs)
}

// maintenance walks what is left: commands that are not DDL in the sense of Kind, and
// DDL whose relations the generic walk finds.
func (w *walker) maintenance(n *pg.Node) {
	switch x := n.GetNode().(type) {
	case *pg.Node_RefreshMatViewStmt:
		w.part.Kind = Other
		w.add(&w.part.Defines, &w.defines, x.RefreshMatViewStmt.Relation)
		w.write(x.RefreshMatViewStmt.Relation)
		return
	case *pg.Node_GrantStmt:
		w.part.Kind, w.part.Grants = Other, len(granted(x.GrantStmt)) > 0
	case *pg.Node_GrantRoleStmt:
		w.part.Kind, w.part.Grants = Other, true
	case *pg.Node_VacuumStmt, *pg.Node_ClusterStmt, *pg.Node_ReindexStmt, *pg.Node_CheckPointStmt,
		*pg.Node_AlterSystemStmt, *pg.Node_ConstraintsSetStmt,
		*pg.Node_AlterDefaultPrivilegesStmt:
		w.part.Kind = Other
	case *pg.Node_ReassignOwnedStmt, *pg.Node_DropOwnedStmt:
		w.part.Kind, w.part.Grants = Other, true
	}
	w.quoting(func() { w.node(n) })
}

// quoting runs walk over an expression or body that the statement stores and does not
// run now.
func (w *walker) quoting(walk func()) {
	before := w.quoted
	w.quoted = true
	walk()
	w.quoted = before
}

func (w *walker) createTable(s *pg.CreateStmt) {
	if s == nil {
		return
	}
	w.temporary(s.Relation)
	w.part.Drops = s.Oncommit == pg.OnCommitAction_ONCOMMIT_DROP
	w.relation(s.Relation)
	w.defining = false // what is left are parents and templates, which are read
	s.Relation = nil
	w.quoting(func() { w.children(reflect.ValueOf(s)) })
	w.defining = true
}

// createTableAs handles CREATE TABLE AS and CREATE MATERIALIZED VIEW, whose query runs now.
func (w *walker) createTableAs(s *pg.CreateTableAsStmt) {
	w.part.Drops = s.Into.GetOnCommit() == pg.OnCommitAction_ONCOMMIT_DROP
	if r := s.Into.GetRel(); r != nil {
		if s.Objtype == pg.ObjectType_OBJECT_MATVIEW {
			w.relation(r)
		} else {
			w.create(r)
		}
	}
	if e := s.Query.GetExecuteStmt(); e != nil {
		w.part.Body = Execute
		w.part.Name = e.Name
		w.part.Opaque = true
		w.nodes(e.Params)
		return
	}
	w.part.Body = Select
	w.node(s.Query)
	w.nodes(s.Into.GetOptions())
}

func (w *walker) drop(s *pg.DropStmt) {
	w.part.Drops = true
	for _, n := range s.Objects {
		w.object(s.RemoveType, n)
	}
}

// object notes an object named in one of the forms the grammar uses for its type.
func (w *walker) object(t pg.ObjectType, n *pg.Node) {
	if n == nil {
		return
	}
	var name []string
	switch x := n.Node.(type) {
	case *pg.Node_List:
		name = names(x.List.Items)
		for _, item := range x.List.Items {
			w.typeName(item.GetTypeName())
		}
	case *pg.Node_TypeName:
		name = names(x.TypeName.Names)
	case *pg.Node_ObjectWithArgs:
		w.nodes(x.ObjectWithArgs.Objargs)
		name = names(x.ObjectWithArgs.Objname)
	case *pg.Node_String_:
		name = []string{x.String_.Sval}
	}
	switch t {
	case pg.ObjectType_OBJECT_SCHEMA, pg.ObjectType_OBJECT_EXTENSION:
		if len(name) == 1 {
			w.defineSchema(name[0])
		}
		return
	case pg.ObjectType_OBJECT_COLUMN, pg.ObjectType_OBJECT_TRIGGER, pg.ObjectType_OBJECT_RULE,
		pg.ObjectType_OBJECT_POLICY, pg.ObjectType_OBJECT_TABCONSTRAINT:
		if len(name) > 1 {
			name = name[:len(name)-1] // the last part belongs to the table before it
		}
	}
	w.define(name)
}
