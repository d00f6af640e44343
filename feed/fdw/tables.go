package fdw

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// batch is how many tables are imported in one transaction: each takes a few locks until its end.
const batch = 200

// tables makes the foreign tables that are missing, mends those that differ from the
// primary's, and drops those of the feed that are not wanted any more.
func (w *work) tables(ctx context.Context) error {
	if err := w.dropUnwanted(ctx); err != nil {
		return err
	}
	if err := w.mend(ctx); err != nil {
		return err
	}
	missing := w.missing()
	if len(missing) == 0 {
		w.run.Done(feed.Step{On: w.run.Target, What: "make the foreign tables"})
		return nil
	}
	for done := 0; len(missing) > 0; {
		// Of one schema, since an import is.
		n := 1
		for n < min(len(missing), batch) && missing[n].Schema == missing[0].Schema {
			n++
		}
		some := missing[:n]
		missing = missing[n:]
		err := w.in(ctx, "make foreign tables", func() error { return w.make(ctx, some) })
		if err != nil {
			return err
		}
		done += n
		w.run.Tell(feed.Event{
			Status: feed.StatusProgress, Server: w.run.Target.Name, Step: "make foreign tables",
			TablesDone: len(w.live) - len(missing), TablesTotal: len(w.live),
		})
	}
	if w.run.Print {
		return nil
	}
	return w.lookAtRelations(ctx)
}

// missing are the live tables that the replica lacks.
func (w *work) missing() (all []*feed.Table) {
	for _, t := range w.live {
		if have := w.have[t.Plain()]; have == nil || !have.ours(w.run.Name) {
			all = append(all, t)
		}
	}
	return all
}

func counted(tables int) string {
	if tables == 1 {
		return "1 table"
	}
	return fmt.Sprint(tables, " tables")
}

// make makes foreign tables of one schema, in place of copies where there are such.
func (w *work) make(ctx context.Context, tables []*feed.Table) error {
	var imported []string
	var made []*feed.Table
	if err := w.retire(ctx, tables); err != nil {
		return err
	}
	for _, t := range tables {
		if w.importable(t) {
			imported = append(imported, feed.Quote("", t.Name))
		} else {
			made = append(made, t)
		}
	}
	namespace, server := feed.Quote("", tables[0].Schema), feed.Quote("", w.run.Name)
	if len(imported) > 0 {
		// Defaults and generation are of no use to a table that is only read, and would
		// need the functions that they call.
		options := "import_default 'false', import_not_null 'true', import_collate 'true'"
		if w.version >= version14 {
			options += ", import_generated 'false'"
		}
		err := w.run.Do(ctx, w.target, feed.Step{
			On: w.run.Target, What: "import " + counted(len(imported)) + " of schema " + tables[0].Schema,
			SQL: fmt.Sprintf("IMPORT FOREIGN SCHEMA %s LIMIT TO (%s) FROM SERVER %s INTO %[1]s OPTIONS (%[4]s)", namespace, strings.Join(imported, ", "), server, options),
		})
		if err != nil {
			return err
		}
	}
	for _, t := range made {
		err := w.run.Do(ctx, w.target, feed.Step{On: w.run.Target, What: "make foreign table " + t.Plain(), SQL: create(t, w.run.Name)})
		if err != nil {
			return err
		}
	}
	var names []string
	for _, t := range tables {
		names = append(names, t.Qualified())
	}
	revokes, err := feed.Unshared(ctx, w.target, names)
	if err != nil || revokes == "" {
		return err
	}
	return w.run.Do(ctx, w.target, feed.Step{On: w.run.Target, What: "let nobody read them by default privileges", SQL: revokes})
}

// importable tells whether an import brings the table as it is wanted: it brings all columns,
// and before PostgreSQL 14 no partitions.
func (w *work) importable(t *feed.Table) bool {
	return w.run.Selection.Columns(t.Schema, t.Name) == nil && (w.version >= version14 || !t.Partition())
}

// create writes the definition of a foreign table.
func create(t *feed.Table, server string) string {
	var columns []string
	for i := range t.Columns {
		c := &t.Columns[i]
		text := feed.Quote("", c.Name) + " " + c.Type
		if c.Collation != "" {
			text += " COLLATE " + c.Collation
		}
		if c.NotNull {
			text += " NOT NULL"
		}
		columns = append(columns, text)
	}
	return fmt.Sprintf("CREATE FOREIGN TABLE %s (%s) SERVER %s OPTIONS (schema_name %s, table_name %s)",
		t.Qualified(), strings.Join(columns, ", "), feed.Quote("", server), feed.Literal(t.Schema), feed.Literal(t.Name))
}

// dropUnwanted drops the feed's foreign tables that the primary has no more, or that the
// configuration no longer names.
func (w *work) dropUnwanted(ctx context.Context) error {
	live := feed.Index(w.live)
	var names []string
	for name, have := range w.have {
		// Of a table that is copied now the foreign one stays until the copy takes its place.
		if live[name] == nil && have.ours(w.run.Name) && !w.isHot(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		have := w.have[name]
		step := feed.Step{
			On: w.run.Target, What: "drop foreign table " + name + ", which is not fed any more", SQL: "DROP FOREIGN TABLE " + feed.Quote(have.schema, have.name),
			Next: "drop what depends on it, or feed the table",
		}
		err := w.in(ctx, step.What, func() error { return w.run.Do(ctx, w.target, step) })
		if err != nil {
			return err
		}
		if !w.run.Print {
			delete(w.have, name)
		}
	}
	return nil
}

func (w *work) isHot(name string) bool {
	return slices.ContainsFunc(w.hot, func(t *feed.Table) bool { return t.Plain() == name })
}

// differences are those of the foreign tables that there are from the primary's tables.
func (w *work) differences(ctx context.Context) ([]schema.Difference, error) {
	replica, err := feed.Tables(ctx, w.target, func(schema, name string) bool {
		have := w.have[schema+"."+name]
		return have != nil && have.ours(w.run.Name)
	})
	if err != nil {
		return nil, w.failed("read the foreign tables", err)
	}
	there := feed.Index(replica)
	primary := slices.DeleteFunc(slices.Clone(w.live), func(t *feed.Table) bool { return there[t.Plain()] == nil })
	live := feed.Index(primary)
	replica = slices.DeleteFunc(replica, func(t *feed.Table) bool { return live[t.Plain()] == nil })
	return slices.DeleteFunc(schema.Compare(primary, replica, w.run.Replica.Feed), func(d schema.Difference) bool {
		return d.Kind == schema.KindOrder // an import of a list of columns may have another
	}), nil
}

// rounds bounds how often mending is repeated: a column that was added may still lack NOT NULL.
const rounds = 3

// mend changes foreign tables that are not the primary's any more. Views over them stay.
func (w *work) mend(ctx context.Context) error {
	for range rounds {
		found, err := w.differences(ctx)
		if err != nil {
			return err
		}
		for len(found) > 0 {
			n := 1
			for n < len(found) && found[n].Schema == found[0].Schema && found[n].Table == found[0].Table {
				n++
			}
			if err := w.mendTable(ctx, slices.Clone(found[:n])); err != nil {
				return err
			}
			found = found[n:]
		}
		if err := w.rename(ctx); err != nil {
			return err
		}
		if w.run.Print {
			break
		}
	}
	return nil
}

// mendTable mends one table in one transaction, but for labels of enums, which cannot be used
// in the transaction that adds them and harm nobody.
func (w *work) mendTable(ctx context.Context, found []schema.Difference) error {
	name := found[0].Schema + "." + found[0].Table
	var alone, together []string
	for _, d := range found {
		switch {
		case d.Destroys: // of a type, which tables of the replica's own may use
			w.run.Note(w.run.Target.Name, "%s: %s; it is not mended, since values would be lost by %s", name, d, strings.Join(d.Repair, "; "))
		case d.Repair == nil:
			w.run.Note(w.run.Target.Name, "%s: %s", name, d)
		}
	}
	found = slices.DeleteFunc(found, func(d schema.Difference) bool { return d.Destroys })
	for _, sql := range schema.Repairs(found) {
		if strings.HasPrefix(sql, "ALTER TYPE") && strings.Contains(sql, "ADD VALUE") {
			alone = append(alone, sql)
		} else {
			together = append(together, sql)
		}
	}
	for _, sql := range alone {
		if err := w.run.Do(ctx, w.target, feed.Step{On: w.run.Target, What: "add a label for " + name, SQL: sql}); err != nil {
			return err
		}
	}
	if len(together) == 0 {
		return nil
	}
	step := feed.Step{
		On: w.run.Target, What: "change foreign table " + name, SQL: strings.Join(together, "; "),
		Next: "if a view is in the way, drop it, run the command again and make it anew",
	}
	return w.in(ctx, step.What, func() error { return w.run.Do(ctx, w.target, step) })
}

const unnamedQuery = `SELECT n.nspname, c.relname, a.attname FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
	JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE s.srvname = $1 AND EXISTS (SELECT FROM pg_options_to_table(a.attfdwoptions) WHERE option_name = 'column_name' AND option_value <> a.attname) ORDER BY 1, 2, a.attnum`

// unnamed are the columns, by the table's schema and name, that are asked for by another name
// on the primary, as one is that was renamed here: an import writes down what it is called there.
func (w *work) unnamed(ctx context.Context) (map[string][]string, error) {
	rows, err := w.target.Query(ctx, unnamedQuery, w.run.Name)
	if err != nil {
		return nil, w.failed("look for renamed columns", err)
	}
	all := make(map[string][]string)
	var namespace, name, column string
	_, err = pgx.ForEachRow(rows, []any{&namespace, &name, &column}, func() error {
		if have := w.have[namespace+"."+name]; have != nil && have.ours(w.run.Name) {
			all[have.plain()] = append(all[have.plain()], column)
		}
		return nil
	})
	if err != nil {
		return nil, w.failed("look for renamed columns", err)
	}
	return all, nil
}

// rename makes columns asked for by their own names.
func (w *work) rename(ctx context.Context) error {
	renamed, err := w.unnamed(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(renamed)) {
		have := w.have[name]
		var actions []string
		for _, column := range renamed[name] {
			actions = append(actions, fmt.Sprintf("ALTER COLUMN %s OPTIONS (SET column_name %s)", feed.Quote("", column), feed.Literal(column)))
		}
		step := feed.Step{
			On: w.run.Target, What: "name columns of " + name + " as the primary does",
			SQL: "ALTER FOREIGN TABLE " + feed.Quote(have.schema, have.name) + " " + strings.Join(actions, ", "),
		}
		if err := w.in(ctx, step.What, func() error { return w.run.Do(ctx, w.target, step) }); err != nil {
			return err
		}
	}
	return nil
}
