package parser

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// query walks a SELECT, VALUES or set operation at any level.
func (w *walker) query(s *pg.SelectStmt) {
	if s == nil {
		return
	}
	defer w.reading(len(w.ctes), w.defining)
	w.defining = false
	w.with(s.WithClause)
	w.query(s.Larg)
	w.query(s.Rarg)
	if into := s.IntoClause; into != nil {
		w.create(into.Rel)
		w.nodes(into.Options)
	}
	w.nodes(s.TargetList)
	w.nodes(s.FromClause)
	w.node(s.WhereClause)
	w.nodes(s.DistinctClause)
	w.nodes(s.GroupClause)
	w.node(s.HavingClause)
	w.nodes(s.WindowClause)
	w.nodes(s.ValuesLists)
	w.nodes(s.SortClause)
	w.node(s.LimitOffset)
	w.node(s.LimitCount)
	w.nodes(s.LockingClause)
}

func (w *walker) insert(s *pg.InsertStmt) {
	defer w.reading(len(w.ctes), w.defining)
	w.defining = false
	w.with(s.WithClause)
	w.write(s.Relation)
	w.nodes(s.Cols)
	w.node(s.SelectStmt)
	if c := s.OnConflictClause; c != nil {
		if c.Infer != nil {
			w.nodes(c.Infer.IndexElems)
			w.node(c.Infer.WhereClause)
		}
		w.nodes(c.TargetList)
		w.node(c.WhereClause)
	}
	w.nodes(s.ReturningList)
}

func (w *walker) update(s *pg.UpdateStmt) {
	defer w.reading(len(w.ctes), w.defining)
	w.defining = false
	w.with(s.WithClause)
	w.write(s.Relation)
	w.nodes(s.TargetList)
	w.nodes(s.FromClause)
	w.node(s.WhereClause)
	w.nodes(s.ReturningList)
}

func (w *walker) delete(s *pg.DeleteStmt) {
	defer w.reading(len(w.ctes), w.defining)
	w.defining = false
	w.with(s.WithClause)
	w.write(s.Relation)
	w.nodes(s.UsingClause)
	w.node(s.WhereClause)
	w.nodes(s.ReturningList)
}

func (w *walker) merge(s *pg.MergeStmt) {
	defer w.reading(len(w.ctes), w.defining)
	w.defining = false
	w.with(s.WithClause)
	w.write(s.Relation)
	w.node(s.SourceRelation)
	w.node(s.JoinCondition)
	w.nodes(s.MergeWhenClauses)
}

// reading restores what a query changes for its own subtree. It is deferred with the
// values of before.
func (w *walker) reading(ctes int, defining bool) {
	w.ctes = w.ctes[:ctes]
	w.defining = defining
}

// with walks the WITH queries and brings their names into scope: a name is seen by the
// queries after it and by the statement, and with RECURSIVE by all of them.
func (w *walker) with(c *pg.WithClause) {
	if c == nil {
		return
	}
	if c.Recursive {
		for _, n := range c.Ctes {
			w.ctes = append(w.ctes, n.GetCommonTableExpr().GetCtename())
		}
	}
	for _, n := range c.Ctes {
		w.node(n)
		if !c.Recursive {
			w.ctes = append(w.ctes, n.GetCommonTableExpr().GetCtename())
		}
	}
}

// relation notes a relation met in the tree: read in a query, defined in DDL.
func (w *walker) relation(r *pg.RangeVar) {
	switch {
	case r == nil:
	case w.defining:
		w.add(&w.part.Defines, &w.defines, r)
	case r.Schemaname == "" && slices.Contains(w.ctes, r.Relname):
	default:
		w.add(&w.part.Reads, &w.reads, r)
		w.ranged(r)
	}
}

// write notes a relation that the statement writes.
func (w *walker) write(r *pg.RangeVar) {
	if w.quoted {
		w.add(&w.part.Reads, &w.reads, r)
		return
	}
	w.add(&w.part.Writes, &w.writes, r)
}

// create notes a table made and filled by the statement.
func (w *walker) create(r *pg.RangeVar) {
	if r == nil {
		return
	}
	w.add(&w.part.Defines, &w.defines, r)
	w.write(r)
	w.temporary(r)
}

func (w *walker) lock() {
	if !w.quoted {
		w.part.Locks = true
	}
}

func (w *walker) temporary(r *pg.RangeVar) {
	if r.GetRelpersistence() == "t" {
		w.pin(PinTemporary)
	}
}

// add appends r to list once and keeps its text beside it.
func (w *walker) add(list *[]Relation, texts *[]string, r *pg.RangeVar) {
	if r == nil {
		return
	}
	w.addName(list, texts, Relation{Schema: r.Schemaname, Name: r.Relname})
}

func (w *walker) addName(list *[]Relation, texts *[]string, rel Relation) {
	if rel.Schema == "pg_temp" {
		w.pin(PinTemporary)
	}
	if w.has(list, rel) {
		return
	}
	*list = append(*list, rel)
	*texts = append(*texts, rel.String())
}

// has reports whether list holds rel. A long list is looked up in an index, which has
// it from then on: a text may name thousands of relations.
func (w *walker) has(list *[]Relation, rel Relation) bool {
	const long = 32
	if len(*list) < long {
		return slices.Contains(*list, rel)
	}
	index := w.indexes[list]
	if index == nil {
		index = make(map[Relation]bool)
		for _, r := range *list {
			index[r] = true
		}
		if w.indexes == nil {
			w.indexes = make(map[*[]Relation]map[Relation]bool)
		}
		w.indexes[list] = index
	}
	found := index[rel]
	index[rel] = true
	return found
}

// define notes an object of any kind by the parts of its name.
func (w *walker) define(name []string) {
	switch n := len(name); n {
	case 0:
	case 1:
		w.addName(&w.part.Defines, &w.defines, Relation{Name: name[0]})
	default:
		w.addName(&w.part.Defines, &w.defines, Relation{Schema: name[n-2], Name: name[n-1]})
	}
}

// defineSchema notes a schema or an extension.
func (w *walker) defineSchema(name string) {
	if name != "" {
		w.addName(&w.part.Defines, &w.defines, Relation{Schema: name})
	}
}

// typeName notes the schema of a qualified type.
func (w *walker) typeName(t *pg.TypeName) {
	if t == nil {
		return
	}
	if last := len(t.Names) - 1; last >= 0 {
		name, schema := t.Names[last].GetString_().GetSval(), ""
		if last > 0 {
			schema = t.Names[last-1].GetString_().GetSval()
		}
		if schema != "" && schema != "pg_catalog" && !slices.Contains(w.part.TypeSchemas, schema) {
			w.part.TypeSchemas = append(w.part.TypeSchemas, schema)
		}
		if schema != "pg_catalog" && !isCommonType(name) && !slices.Contains(w.part.Types, name) {
			w.part.Types = append(w.part.Types, name)
		}
	}
	w.nodes(t.Typmods)
}

// isCommonType reports whether a type of pg_catalog is left out of Part.Types. Those with
// names of the grammar, such as integer, are too.
func isCommonType(name string) bool {
	switch name {
	case "text", "json", "jsonb", "uuid", "date", "timestamptz", "bytea", "name", "oid", "regclass", "regtype", "regproc", "inet":
		return true
	}
	return false
}

// pin keeps the first reason.
func (w *walker) pin(reason string) {
	if !w.quoted && w.part.Pin == "" {
		w.part.Pin = reason
	}
}

// finish makes the facts that depend on the whole statement.
func (w *walker) finish() {
	p := w.part
	p.Clock = p.Volatile && w.steady == 0
	p.Star = p.Star || slices.ContainsFunc(w.ranges, func(name string) bool { return slices.Contains(p.Columns, name) })
	p.names = w.reads
	if len(w.writes)+len(w.defines) > 0 {
		p.names = slices.Concat(w.reads, w.writes, w.defines)
	}
}

// names returns the strings of a list of String nodes.
func names(list []*pg.Node) []string {
	out := make([]string, 0, len(list))
	for _, n := range list {
		if s := n.GetString_(); s != nil {
			out = append(out, s.Sval)
		}
	}
	return out
}
