package parser

import (
	"slices"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// position is a place in the tree where something may stand: the message types from
// a statement or expression down to the one that has the field.
type position struct {
	root protoreflect.FieldDescriptor   // of Node
	path []protoreflect.FieldDescriptor // the last is the place itself
}

func (p position) String() string {
	last := p.path[len(p.path)-1]
	return string(last.Parent().Name()) + "." + string(last.Name())
}

// positions lists every field of every message of the grammar that holds one of the
// wanted types, by every way through fields that hold a message by its own type.
func positions(wanted ...protoreflect.Name) (all []position) {
	node := (&pg.Node{}).ProtoReflect().Descriptor()
	for i := range node.Oneofs().Get(0).Fields().Len() {
		root := node.Oneofs().Get(0).Fields().Get(i)
		var descend func(m protoreflect.MessageDescriptor, path []protoreflect.FieldDescriptor)
		descend = func(m protoreflect.MessageDescriptor, path []protoreflect.FieldDescriptor) {
			for i := range m.Fields().Len() {
				f := m.Fields().Get(i)
				if f.Message() == nil {
					continue
				}
				here := append(slices.Clone(path), f)
				if slices.Contains(wanted, f.Message().Name()) {
					all = append(all, position{root, here})
				}
				again := f.Message() == root.Message() || f.Message().Name() == "Node" ||
					slices.ContainsFunc(path, func(p protoreflect.FieldDescriptor) bool { return p.Message() == f.Message() })
				if !again {
					descend(f.Message(), here)
				}
			}
		}
		descend(root.Message(), nil)
	}
	return all
}

// with returns the statement that has value at the position and nothing else.
func (p position) with(value protoreflect.Message) *pg.Node {
	for _, f := range slices.Backward(append([]protoreflect.FieldDescriptor{p.root}, p.path...)) {
		holder := (&pg.Node{}).ProtoReflect()
		if f != p.root {
			holder = emptyMessage(f.ContainingMessage())
		}
		if f.IsList() {
			holder.Mutable(f).List().Append(protoreflect.ValueOfMessage(value))
		} else {
			holder.Set(f, protoreflect.ValueOfMessage(value))
		}
		value = holder
	}
	return value.Interface().(*pg.Node)
}

// emptyMessage makes a message of a type that is somewhere below Node.
func emptyMessage(d protoreflect.MessageDescriptor) protoreflect.Message {
	node := (&pg.Node{}).ProtoReflect()
	var find func(m protoreflect.Message, seen map[protoreflect.Name]bool) protoreflect.Message
	find = func(m protoreflect.Message, seen map[protoreflect.Name]bool) protoreflect.Message {
		if m.Descriptor() == d {
			return m
		}
		if seen[m.Descriptor().Name()] {
			return nil
		}
		seen[m.Descriptor().Name()] = true
		for i := range m.Descriptor().Fields().Len() {
			f := m.Descriptor().Fields().Get(i)
			if f.Message() == nil {
				continue
			}
			below := protoreflect.Message(nil)
			if f.IsList() {
				below = m.NewField(f).List().NewElement().Message()
			} else {
				below = m.NewField(f).Message()
			}
			if found := find(below, seen); found != nil {
				return found
			}
		}
		return nil
	}
	return find(node, map[protoreflect.Name]bool{})
}

// namesOnly holds the fields of nodes where the grammar has names, constants or nothing,
// with the reason why nobody walks them.
var namesOnly = map[string]string{
	"A_Expr.name":                  "the operator's name: TestOperators",
	"Alias.colnames":               "names given to columns",
	"BoolExpr.xpr":                 "empty before analysis",
	"ColumnRef.fields":             "names: TestColumns",
	"CommentStmt.object":           "the name of an object",
	"CopyStmt.attlist":             "names of columns: TestColumns",
	"CreateFunctionStmt.funcname":  "the function's name, which is defined",
	"CreateTrigStmt.funcname":      "the name of the function called",
	"DoStmt.args":                  "the body and its language, which are read as text",
	"DropStmt.objects":             "names of objects",
	"FuncCall.funcname":            "the name of the function called",
	"IntoClause.col_names":         "names given to columns",
	"IntoClause.view_query":        "filled by analysis",
	"JoinExpr.using_clause":        "names of columns: TestColumns",
	"LockingClause.locked_rels":    "names or aliases of relations in FROM, which are walked there",
	"ObjectWithArgs.objname":       "the name of an object",
	"AlterObjectSchemaStmt.object": "the name of an object",
	"AlterOwnerStmt.object":        "the name of an object",
	"RenameStmt.object":            "the name of an object",
	"SQLValueFunction.xpr":         "empty before analysis",
	"SecLabelStmt.object":          "the name of an object",
	"SetToDefault.xpr":             "empty before analysis",
	"TransactionStmt.options":      "constants",
	"TruncateStmt.relations":       "relations only, which are written",
	"TypeName.array_bounds":        "numbers",
	"TypeName.names":               "the type's name",
	"VariableSetStmt.args":         "constants and key words",
	"ViewStmt.aliases":             "names given to columns",
}

// TestEveryPositionIsWalked puts a call, a relation and a type in every place of the
// grammar that can hold a node, as pg_query's own description of it lists them, and
// looks for them in the facts.
func TestEveryPositionIsWalked(t *testing.T) {
	name := func() []*pg.Node {
		s := func() *pg.Node { return &pg.Node{Node: &pg.Node_String_{String_: &pg.String{Sval: "marker"}}} }
		return []*pg.Node{s(), s()}
	}
	call := &pg.Node{Node: &pg.Node_FuncCall{FuncCall: &pg.FuncCall{Funcname: name()}}}
	relation := &pg.RangeVar{Schemaname: "marker", Relname: "marker"}
	relationNode := &pg.Node{Node: &pg.Node_RangeVar{RangeVar: relation}}
	typeName := &pg.TypeName{Names: name()}
	typeNode := &pg.Node{Node: &pg.Node_TypeName{TypeName: typeName}}

	called := func(p *Part) bool {
		return slices.ContainsFunc(p.Calls, func(c Call) bool { return c.Text == "marker.marker" })
	}
	named := func(p *Part) bool {
		return slices.Contains(slices.Concat(p.Reads, p.Writes, p.Defines), Relation{"marker", "marker"})
	}
	typed := func(p *Part) bool { return slices.Contains(p.TypeSchemas, "marker") }

	needed := make(map[string]bool)
	check := func(in position, what string, value proto.Message, found func(*Part) bool) {
		var p Part
		extract(&p, in.with(proto.Clone(value).ProtoReflect()), "")
		switch {
		case found(&p):
		case namesOnly[in.String()] != "" && value.ProtoReflect().Descriptor().Name() == "Node":
			needed[in.String()] = true
		default:
			t.Errorf("%s in %s, below %s, is not found", what, in, in.root.Message().Name())
		}
	}
	nodes := positions("Node")
	for _, in := range nodes {
		check(in, "a call", call, called)
		check(in, "a relation", relationNode, named)
		check(in, "a type", typeNode, func(p *Part) bool { return typed(p) || named(p) })
	}
	for _, in := range positions("RangeVar") {
		check(in, "a relation", relation, named)
	}
	for _, in := range positions("TypeName") {
		check(in, "a type", typeName, typed)
	}
	if len(nodes) < 500 {
		t.Errorf("only %d positions; the grammar has more", len(nodes))
	}
	for field := range namesOnly {
		if !needed[field] {
			t.Errorf("%s is walked, so it needs no exception", field)
		}
	}
}
