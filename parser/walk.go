package parser

import (
	"reflect"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// walker collects the facts of one statement. Nodes that mean something here have a
// case in node or message; every other node is walked through its children, found by
// reflection, so that no expression position can be forgotten and a new node type
// in a later grammar is walked without a change.
type walker struct {
	part *Part
	text string   // the statement's own text
	ctes []string // names of the WITH queries in scope, innermost last
	// defining is set in DDL, where a relation is an object defined and not one read.
	defining bool
	// quoted is set inside the body of CREATE FUNCTION and the like: what it calls and
	// reads is a fact about the statement, what it would write or lock is not.
	quoted bool
	// level is how many bodies are around the statement being walked.
	level int
	// varying counts the parameters, columns and subqueries met.
	varying int
	// steady counts reasons for Volatile that are more than a clock.
	steady int
	// top is the SELECT whose target list may hold set_config calls that surely run once.
	top *pg.SelectStmt

	reads, writes, defines []string // texts of the relations
	// indexes hold the relations of lists that have grown long.
	indexes map[*[]Relation]map[Relation]bool
	// ranges are the names that a whole row may be called by.
	ranges []string
	few    [4]string // room for them
}

func (w *walker) nodes(list []*pg.Node) {
	for _, n := range list {
		w.node(n)
	}
}

// node walks n and everything below it.
func (w *walker) node(n *pg.Node) {
	if n == nil {
		return
	}
	switch x := n.Node.(type) {
	case *pg.Node_ColumnRef:
		w.column(x.ColumnRef)
	case nil, *pg.Node_AConst, *pg.Node_String_, *pg.Node_Integer, *pg.Node_AStar, *pg.Node_SetToDefault:
	case *pg.Node_ParamRef:
		w.part.Parameters = max(w.part.Parameters, int(x.ParamRef.Number))
		w.varying++
	case *pg.Node_FuncCall:
		w.call(x.FuncCall)
	case *pg.Node_ResTarget:
		w.node(x.ResTarget.Val)
		w.nodes(x.ResTarget.Indirection)
	case *pg.Node_AExpr:
		w.expression(x.AExpr)
	case *pg.Node_AIndirection:
		w.indirection(x.AIndirection)
	case *pg.Node_BoolExpr:
		w.nodes(x.BoolExpr.Args)
	case *pg.Node_TypeCast:
		w.node(x.TypeCast.Arg)
		w.typeName(x.TypeCast.TypeName)
	case *pg.Node_TypeName:
		w.typeName(x.TypeName)
	case *pg.Node_List:
		w.nodes(x.List.Items)
	case *pg.Node_RangeVar:
		w.relation(x.RangeVar)
	case *pg.Node_JoinExpr:
		w.join(x.JoinExpr)
	case *pg.Node_SelectStmt:
		w.varying++
		w.query(x.SelectStmt)
	case *pg.Node_InsertStmt:
		w.insert(x.InsertStmt)
	case *pg.Node_UpdateStmt:
		w.update(x.UpdateStmt)
	case *pg.Node_DeleteStmt:
		w.delete(x.DeleteStmt)
	case *pg.Node_MergeStmt:
		w.merge(x.MergeStmt)
	case *pg.Node_SubLink:
		w.operator(x.SubLink.OperName, func() { w.children(reflect.ValueOf(x.SubLink)) })
	case *pg.Node_SortBy:
		w.operator(x.SortBy.UseOp, func() { w.children(reflect.ValueOf(x.SortBy)) })
	case *pg.Node_LockingClause:
		w.lock()
	case *pg.Node_SqlvalueFunction:
		w.valueFunction(x.SqlvalueFunction)
	case *pg.Node_ObjectWithArgs:
		w.callable(x.ObjectWithArgs)
	case *pg.Node_Constraint:
		if x.Constraint.Pktable != nil {
			w.add(&w.part.Reads, &w.reads, x.Constraint.Pktable)
			x.Constraint.Pktable = nil // this tree is ours alone; not walked again below
		}
		w.children(reflect.ValueOf(x.Constraint))
	case *pg.Node_RangeTableSample:
		w.sample(x.RangeTableSample)
	case *pg.Node_TableLikeClause:
		w.add(&w.part.Reads, &w.reads, x.TableLikeClause.Relation)
	default:
		w.children(reflect.ValueOf(n.Node).Elem().Field(0))
	}
}

// message walks a child that its parent holds by its own type and not as a Node.
func (w *walker) message(m reflect.Value) {
	switch x := m.Interface().(type) {
	case *pg.Node:
		w.node(x)
	case *pg.RangeVar:
		w.relation(x)
	case *pg.TypeName:
		w.typeName(x)
	case *pg.SelectStmt:
		w.query(x)
	case *pg.FuncCall:
		w.call(x)
	case *pg.ObjectWithArgs:
		w.callable(x)
	default:
		w.children(m)
	}
}

// children walks the fields of the message that m points to.
func (w *walker) children(m reflect.Value) {
	if m.IsNil() {
		return
	}
	m = m.Elem()
	for _, f := range fieldsOf(m.Type()) {
		v := m.Field(f.index)
		if !f.list {
			if !v.IsNil() {
				w.message(v)
			}
			continue
		}
		for i := range v.Len() {
			if e := v.Index(i); !e.IsNil() {
				w.message(e)
			}
		}
	}
}

// field is a struct field that holds one message or a list of them.
type field struct {
	index int
	list  bool
}

var fields = messageFields()

func fieldsOf(t reflect.Type) []field { return fields[t] }

// messageFields lists, for every node type of the grammar, the fields that can hold
// nodes. It is made once; a walk then looks at no other field.
func messageFields() map[reflect.Type][]field {
	m := make(map[reflect.Type][]field)
	node := (&pg.Node{}).ProtoReflect()
	oneof := node.Descriptor().Oneofs().Get(0).Fields()
	for i := range oneof.Len() {
		value := node.NewField(oneof.Get(i)).Message().Interface()
		addFields(m, reflect.TypeOf(value).Elem())
	}
	return m
}

func addFields(m map[reflect.Type][]field, t reflect.Type) {
	if _, ok := m[t]; ok || t == reflect.TypeFor[pg.Node]() {
		return
	}
	m[t] = nil
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		ft := f.Type
		repeated := ft.Kind() == reflect.Slice
		if repeated {
			ft = ft.Elem()
		}
		if ft.Kind() != reflect.Pointer || ft.Elem().Kind() != reflect.Struct {
			continue
		}
		list = append(list, field{index: i, list: repeated})
		addFields(m, ft.Elem())
	}
	m[t] = list
}
