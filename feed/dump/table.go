package dump

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// table is one table of a copy.
type table struct {
	*feed.Table // as the primary has it
	// live is its OID on the replica, 0 where it has none yet. model is the OID of the table
	// that its new one is made like: the live one, or one that has the primary's definition.
	live, model uint32
	// foreign is set where the live one is a foreign table of the feed, which makes way for a copy.
	foreign bool
	// home is the schema of model, staging that of the new table.
	home, staging string
	// chosen are the columns that the configuration names, nil for all. columns are those that
	// are copied, where the rows.
	chosen  []string
	columns []string
	where   string
	// binary is set where both servers have the same binary form of every column.
	binary bool
	// unpadded are the columns of char(n) that go without the blanks at their ends, padding
	// about how many bytes these are.
	unpadded []string
	padding  int64
	// lockable is set where the role of the primary may read it as a whole.
	lockable    bool
	blocks      int64
	rows, bytes atomic.Int64
}

// staged is the new table's name as SQL, while it is beside the live one.
func (t *table) staged() string { return feed.Quote(t.staging, t.Name) }

// data tells whether it holds rows itself.
func (t *table) data() bool { return t.Kind == 'r' }

// columnList is the copied columns as SQL between brackets.
func (t *table) columnList() string {
	quoted := make([]string, len(t.columns))
	for i, name := range t.columns {
		quoted[i] = feed.Quote("", name)
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}

// choose lists the tables of the primary that a run copies: what is selected, and the
// partitions of what is selected. Foreign tables have no rows there.
func choose(ctx context.Context, conn *pgx.Conn, run *feed.Run) ([]*feed.Table, error) {
	every, err := feed.Tables(ctx, conn, func(schema, name string) bool {
		return schema != "pgml" && schema != feed.JournalSchema && !strings.HasPrefix(schema, feed.JournalSchema+"_")
	})
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "look at its tables", Err: err}
	}
	return selected(run, every), nil
}

// selected are those of the tables that are selected, and the partitions of those. It
// reorders what it is given.
func selected(run *feed.Run, every []*feed.Table) []*feed.Table {
	byName := feed.Index(every)
	chosen := func(t *feed.Table) bool {
		for ; t != nil; t = byName[t.ParentSchema+"."+t.ParentName] {
			if run.Selection.Has(t.Schema, t.Name) {
				return true
			}
		}
		return false
	}
	return slices.DeleteFunc(every, func(t *feed.Table) bool { return t.Kind == 'f' || !chosen(t) })
}

// ofSelection calls get with the table, then with the tables that it is a partition of,
// until it returns something: a column list or a condition is that of the whole table.
func ofSelection[T any](t *feed.Table, byName map[string]*feed.Table, get func(schema, name string) (T, bool)) (found T) {
	for ; t != nil; t = byName[t.ParentSchema+"."+t.ParentName] {
		if value, ok := get(t.Schema, t.Name); ok {
			return value
		}
	}
	return found
}

// newTables prepares the tables of a copy.
func newTables(run *feed.Run, all []*feed.Table) []*table {
	byName := feed.Index(all)
	tables := make([]*table, len(all))
	for i, t := range all {
		one := &table{Table: t}
		list := ofSelection(t, byName, func(schema, name string) ([]string, bool) {
			columns := run.Selection.Columns(schema, name)
			return columns, columns != nil
		})
		one.where = ofSelection(t, byName, func(schema, name string) (string, bool) {
			where := run.Selection.Where(schema, name)
			return where, where != ""
		})
		one.chosen = list
		for _, c := range t.Columns {
			if c.Generated == 0 && one.fed(c.Name) {
				one.columns = append(one.columns, c.Name)
			}
		}
		tables[i] = one
	}
	return tables
}

// fed tells whether the replica's table has that column.
func (t *table) fed(column string) bool { return t.chosen == nil || slices.Contains(t.chosen, column) }

// partial tells whether only some of its columns or rows are copied.
func (t *table) partial() bool {
	plain := 0
	for _, c := range t.Columns {
		if c.Generated == 0 {
			plain++
		}
	}
	return t.where != "" || len(t.columns) < plain
}
