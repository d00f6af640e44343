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
	// owner is that of the live one as SQL, "" where the feed's role is it.
	owner string
	// foreign is set where the live one is a foreign table of the feed, which makes way for a copy.
	foreign bool
	// above are the tables of the copy that it inherits from, in order, or is a partition of;
	// below are those of which it is above.
	above, below []*table
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

// choose lists the tables of the primary that a run copies: what is selected, what inherits
// from that, and the partitions of what is selected. Foreign tables have no rows there.
func choose(ctx context.Context, conn *pgx.Conn, run *feed.Run) ([]*feed.Table, error) {
	every, err := every(ctx, conn, run)
	return selected(run, every), err
}

// every lists the tables of the primary.
func every(ctx context.Context, conn *pgx.Conn, run *feed.Run) ([]*feed.Table, error) {
	all, err := feed.Tables(ctx, conn, func(schema, name string) bool {
		return schema != "pgml" && schema != feed.JournalSchema && !strings.HasPrefix(schema, feed.JournalSchema+"_")
	})
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "look at its tables", Err: err}
	}
	return all, nil
}

// selected are those of the tables that are selected, their heirs, and the partitions of what is
// selected. It reorders what it is given.
func selected(run *feed.Run, every []*feed.Table) []*feed.Table {
	byName, heirs := feed.Index(every), feed.Index(run.Selection.WithHeirs(every))
	chosen := func(t *feed.Table) bool {
		for ; t != nil; t = byName[t.ParentSchema+"."+t.ParentName] {
			if heirs[t.Plain()] != nil {
				return true
			}
		}
		return false
	}
	return slices.DeleteFunc(every, func(t *feed.Table) bool { return t.Kind == 'f' || !chosen(t) })
}

// newTables prepares the tables of a copy.
func newTables(run *feed.Run, all []*feed.Table) []*table {
	byName := feed.Index(all)
	tables := make([]*table, len(all))
	made := make(map[string]*table)
	for i, t := range all {
		one := &table{Table: t, chosen: run.Selection.FedColumns(t, byName)}
		for whole := t; whole != nil && one.where == ""; whole = byName[whole.ParentSchema+"."+whole.ParentName] {
			one.where = run.Selection.Where(whole.Schema, whole.Name)
		}
		for _, c := range t.Columns {
			if c.Generated == 0 && one.fed(c.Name) {
				one.columns = append(one.columns, c.Name)
			}
		}
		tables[i], made[t.Plain()] = one, one
	}
	for _, t := range tables {
		names := t.Parents
		if t.Partition() {
			names = []string{t.ParentSchema + "." + t.ParentName}
		}
		for _, name := range names {
			if above := made[name]; above != nil {
				t.above, above.below = append(t.above, above), append(above.below, t)
			}
		}
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
