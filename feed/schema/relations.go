package schema

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgshunt/feed"
)

// writeDown makes the archive of the tables, or opens the one that has been saved.
func (b *bringing) writeDown(ctx context.Context) (r *relations, err error) {
	r = &relations{bringing: b, byOID: make(map[uint32]*feed.Table)}
	for _, t := range b.tables {
		r.byOID[t.OID] = t
	}
	if b.saved != nil {
		if r.archive, err = b.saved.open(ctx, b.programs, b.dir, TablesFile); err != nil {
			return nil, b.saved.damaged(err)
		}
		return r, nil
	}
	if r.archive, err = dump(ctx, b.programs, b.socket, b.dir, TablesFile, append(formatDefinitions, tableArgs(b.tables, b.facts)...)...); err == nil {
		b.facts.Names, err = names(ctx, b.primary, r.archive)
	}
	if err != nil {
		return nil, &feed.Error{Server: b.run.Primary.Name, Doing: "write down its tables by pg_dump", Err: err}
	}
	return r, nil
}

// tableArgs are pg_dump's for the tables and the sequences that they need.
func tableArgs(tables []*feed.Table, f facts) []string {
	args := []string{"--strict-names"}
	for _, t := range tables {
		args = append(args, "--table="+t.Qualified())
	}
	for _, a := range f.Around {
		if a.Relation == "S" {
			args = append(args, "--table="+a.Identity)
		}
	}
	slices.Sort(args[1:])
	return args
}

// relations is the part of a bringing that is about relations.
type relations struct {
	*bringing
	archive *archive
	byOID   map[uint32]*feed.Table
	// entries by id, and what every server calls the objects of those that have one.
	entries  map[int]entry
	identity map[object]string
	// barred are objects that the replica cannot have: they need a column that is not fed, or
	// a table, a role or rows that are not.
	barred map[object]bool
	// strange says of policies why they are barred, for who makes their table.
	strange map[object]string
	// attached are the indexes of partitions that the replica has by attaching the table.
	attached map[object]bool
	chosen   map[int]bool
	// parents has the partitions, by OID, whose partitioned table is on the replica already.
	parents map[uint32]bool
}

func (r *relations) look(ctx context.Context) (err error) {
	r.entries, r.chosen, r.strange = make(map[int]entry), make(map[int]bool), make(map[object]string)
	r.identity = make(map[object]string)
	for _, e := range r.archive.entries {
		r.entries[e.id] = e
	}
	for _, n := range r.facts.Names {
		r.identity[object{n.Class, n.OID}] = n.Text
	}
	if r.barred, err = r.bar(ctx); err == nil {
		err = r.lookForParents(ctx)
	}
	if err != nil {
		return &feed.Error{Server: r.run.Target.Name, Doing: "compare its tables with the primary's", Err: err}
	}
	return nil
}

// missing tells whether the replica lacks the object of an entry, and may have it.
func (r *relations) missing(e entry) bool {
	identity := r.identity[e.object]
	return identity != "" && !r.have.has(e.class, identity) && !r.barred[e.object]
}

// bringTables brings what is of the tables themselves.
func (r *relations) bringTables(ctx context.Context) error {
	var made []*feed.Table
	sql, err := r.archive.sql(ctx, func(e entry) bool {
		r.chosen[e.id] = r.ofTable(e)
		if r.chosen[e.id] && e.kind == "TABLE" {
			made = append(made, r.byOID[e.oid])
		}
		return r.chosen[e.id]
	})
	if err != nil {
		return &feed.Error{Server: r.run.Primary.Name, Doing: "write down its tables by pg_restore", Err: err}
	}
	if sql, err = r.spell(ctx, sql, made); err != nil {
		return err
	}
	drops, err := r.dropColumns(made)
	if err != nil {
		return err
	}
	var names []string
	for _, t := range made {
		names = append(names, t.Qualified())
	}
	revokes, err := feed.Unshared(ctx, r.target, names)
	if err != nil {
		return &feed.Error{Server: r.run.Target.Name, Doing: "look at default privileges", Err: err}
	}
	grants, err := r.grants(ctx, made, nil)
	if err != nil {
		return err
	}
	return r.make(ctx, feed.Step{On: r.run.Target, What: "make the tables"}, sql+drops+revokes+grants)
}

// spell is pg_dump's text of tables in words that the replica knows.
func (r *relations) spell(ctx context.Context, sql string, made []*feed.Table) (string, error) {
	if major(r.target) < namedNotNull {
		sql = spellNotNull(sql)
	}
	if major(r.target) < columnCompression {
		sql = withoutCompression(sql)
	}
	functions, err := r.laterFunctions(ctx)
	if err != nil {
		return "", &feed.Error{Server: r.run.Target.Name, Doing: "look for the functions of defaults", Err: err}
	}
	barred := make(map[string]map[string]string)
	for _, t := range made {
		defaults := unknown(t, functions)
		for _, column := range slices.Sorted(maps.Keys(defaults)) {
			r.run.Note(r.run.Target.Name, "the default of column %s of %s is left out: the server is too old for %s", column, t.Plain(), defaults[column])
		}
		if len(defaults) > 0 {
			barred[t.Plain()] = defaults
		}
	}
	return withoutDefaults(sql, barred), nil
}

func (r *relations) ofTable(e entry) bool {
	first := len(e.needs) > 0 && r.chosen[e.needs[0]]
	switch e.kind {
	case "TABLE":
		return r.byOID[e.oid] != nil && r.missing(e)
	case "SEQUENCE":
		ofTable := slices.ContainsFunc(e.needs, func(id int) bool { return r.entries[id].kind == "TABLE" })
		return r.missing(e) && (!ofTable || first)
	case "TABLE ATTACH":
		return first && r.parentIsThere(r.byOID[r.entries[e.needs[0]].oid])
	case "DEFAULT": // one of an heir that has none, where its parent has one, is in no catalog
		return first && (e.oid == 0 || r.missing(e))
	case "CHECK CONSTRAINT", "POLICY":
		if why := r.strange[e.object]; why != "" && first {
			r.run.Note(r.run.Target.Name, "%s", why)
		}
		return first && r.missing(e)
	case "SEQUENCE OWNED BY", "ROW SECURITY":
		return first
	case "COMMENT":
		return first && !r.barred[r.entries[e.needs[0]].object]
	}
	return false
}

// parentIsThere tells whether the replica has, or gets, the table that t is a partition of.
func (r *relations) parentIsThere(t *feed.Table) bool {
	return t != nil && t.Partition() && (r.byName[t.ParentSchema+"."+t.ParentName] != nil || r.parents[t.OID])
}

// lookForParents finds the partitions whose partitioned table the replica has.
func (r *relations) lookForParents(ctx context.Context) error {
	r.parents = make(map[uint32]bool)
	for _, t := range r.tables {
		if !t.Partition() {
			continue
		}
		var there bool
		err := r.target.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, feed.Quote(t.ParentSchema, t.ParentName)).Scan(&there)
		if err != nil {
			return err
		}
		r.parents[t.OID] = there
	}
	return nil
}

// bringIndexes brings what is made after the data.
func (r *relations) bringIndexes(ctx context.Context) error {
	// Anew, since a partition that was attached has got indexes by that.
	var err error
	if r.have, err = take(ctx, r.target, []uint32{classRelation, classConstraint, classStatistics}); err == nil {
		r.attached, err = r.attachedIndexes(ctx)
	}
	if err != nil {
		return &feed.Error{Server: r.run.Target.Name, Doing: "look at its indexes", Err: err}
	}
	r.keysToPartitionedLast()
	sql, err := r.archive.sql(ctx, func(e entry) bool {
		is := false
		switch e.kind {
		case "CONSTRAINT", "INDEX":
			is = r.missing(e) && !r.attached[e.object]
		case "FK CONSTRAINT":
			is = r.missing(e)
		case "INDEX ATTACH":
			is = r.attaches(e)
		case "COMMENT":
			is = len(e.needs) > 0 && r.chosen[e.needs[0]] && strings.Contains("CONSTRAINT INDEX", r.entries[e.needs[0]].kind)
		}
		if is {
			r.chosen[e.id] = true
		}
		return is
	})
	if err != nil {
		return &feed.Error{Server: r.run.Primary.Name, Doing: "write down its indexes by pg_restore", Err: err}
	}
	return r.make(ctx, feed.Step{On: r.run.Target, What: "make the indexes and constraints"}, sql+r.statistics())
}

// keysToPartitionedLast has foreign keys to partitioned tables made after others. A server
// before 18 gives each a key more for every partition, by a name that is free then, as
// a_fkey1: another key of the table may be called so.
func (r *relations) keysToPartitionedLast() {
	late := make(map[object]int)
	for _, key := range r.facts.ForeignKeys {
		if to := r.byOID[key.To]; to != nil && to.Kind == 'p' {
			late[object{classConstraint, key.OID}] = 1
		}
	}
	slices.SortStableFunc(r.archive.entries, func(a, b entry) int { return late[a.object] - late[b.object] })
}

// attaches tells whether the indexes of an entry that attaches one to another are both ready, and
// one of them is new. From PostgreSQL 18 on the entry needs tables before them.
func (r *relations) attaches(e entry) bool {
	indexes, chosen := 0, false
	for _, id := range e.needs {
		if kind := r.entries[id].kind; kind != "INDEX" && kind != "CONSTRAINT" {
			continue
		}
		if !r.ready(id) {
			return false
		}
		indexes, chosen = indexes+1, chosen || r.chosen[id]
	}
	return indexes > 1 && chosen
}

// ready tells whether the replica has, or gets, the index or constraint of an entry.
func (r *relations) ready(id int) bool {
	e := r.entries[id]
	return r.chosen[id] || r.identity[e.object] != "" && r.have.has(e.class, r.identity[e.object])
}

// statistics writes the extended statistics of the tables.
func (r *relations) statistics() string {
	var sql strings.Builder
	for _, s := range r.facts.Statistics {
		if r.byOID[s.Table] != nil && !r.have.has(classStatistics, s.Identity) && !r.barred[object{classStatistics, s.OID}] {
			sql.WriteString(s.Definition + ";\n")
		}
	}
	return sql.String()
}

// fedColumns is the list of columns of a table that are fed, as its own or an ancestor's
// name has it in the configuration; nil is all.
func (b *bringing) fedColumns(t *feed.Table) []string {
	if t == nil {
		return nil
	}
	return b.run.Selection.FedColumns(t, b.byName)
}

// dropColumns takes the columns that are not fed from tables just made. Indexes and checks
// of theirs go with them. Partitions follow the table that they were attached to, and heirs their
// parents, which pg_dump writes before them.
func (r *relations) dropColumns(made []*feed.Table) (string, error) {
	var sql strings.Builder
	for _, t := range made {
		columns := r.fedColumns(t)
		if columns == nil || t.Partition() && r.parentIsThere(t) {
			continue
		}
		for _, name := range columns {
			if t.Column(name) == nil {
				return "", fmt.Errorf("%s has no column %q; correct replicas[].columns", t.Plain(), name)
			}
		}
		for _, c := range t.Columns {
			if !slices.Contains(columns, c.Name) {
				fmt.Fprintf(&sql, "ALTER TABLE %s DROP COLUMN IF EXISTS %s;\n", t.Qualified(), feed.Quote("", c.Name))
			}
		}
	}
	return sql.String(), nil
}
