package fdw

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/dump"
	"pgshunt/feed/schema"
)

// copied is a table that the journal has as copied by this way.
type copied struct {
	Age         float64 // in seconds
	Rows, Bytes int64
}

// lookAtCopies reads the journal, if this replica is fed by this way.
func (w *work) lookAtCopies(ctx context.Context) (err error) {
	w.copied = make(map[string]*copied)
	if w.way, err = w.run.Way(ctx, w.target); err != nil || w.way != configs.FeedFDW {
		return err
	}
	rows, err := w.target.Query(ctx, `SELECT relation, extract(epoch FROM clock_timestamp() - copied_at)::float8, copied_rows, copied_bytes FROM pgshunt.copies`)
	if err != nil {
		return w.failed("read the journal", err)
	}
	var name string
	var c copied
	_, err = pgx.ForEachRow(rows, []any{&name, &c.Age, &c.Rows, &c.Bytes}, func() error {
		one := c
		w.copied[name] = &one
		return nil
	})
	if err != nil {
		return w.failed("read the journal", err)
	}
	return nil
}

// copyDifferences are those of the copies from the primary's tables, which the next copy mends.
func (w *work) copyDifferences(ctx context.Context) ([]schema.Difference, error) {
	var there []*feed.Table
	for _, t := range w.hot {
		if have := w.have[t.Plain()]; have != nil && !have.ours(w.run.Name) && w.copied[t.Plain()] != nil {
			there = append(there, t)
		}
	}
	if len(there) == 0 {
		return nil, nil
	}
	hot := feed.Index(there)
	replica, err := feed.Tables(ctx, w.target, func(schema, name string) bool { return hot[schema+"."+name] != nil })
	if err != nil {
		return nil, w.failed("read the copies", err)
	}
	all := schema.Compare(there, replica, configs.FeedDump)
	for i := range all {
		all[i].Note = "pgshunt feed refresh --replica " + w.run.Replica.Name + " brings it"
	}
	return all, nil
}

// hotRun is the part of the feed that is copied, as package dump takes it.
func (w *work) hotRun() *feed.Run {
	hot := feed.Index(w.hot)
	run := *w.run
	run.Selection = run.Selection.Only(func(schema, name string) bool { return hot[schema+"."+name] != nil })
	return &run
}

// copyProblems are those of the tables that are copied.
func (w *work) copyProblems(ctx context.Context) ([]feed.Problem, error) {
	if len(w.hot) == 0 {
		return nil, nil
	}
	var all []feed.Problem
	fed := feed.Index(w.fed)
	hot := feed.Index(w.hot)
	for _, t := range w.hot {
		if have := w.have[t.Plain()]; have != nil && (have.kind == 'r' || have.kind == 'p') && w.copied[t.Plain()] == nil {
			all = append(all, feed.Problem{
				Server: w.run.Target.Name, Check: "relation", Blocks: true, What: t.Plain() + " is a table there that this feed has not made, and would have to make way for a copy",
				Remedy: "DROP TABLE " + t.Qualified() + ";", Note: "or leave it out of tables",
			})
		}
		if whole := fed[t.ParentSchema+"."+t.ParentName]; whole != nil && hot[whole.Plain()] == nil {
			all = append(all, feed.Problem{
				Server: w.run.Replica.Name, Check: "materialize", Blocks: true, What: fmt.Sprintf("%s is a partition of %s, which would stay a foreign table", t.Plain(), whole.Plain()),
				Note: "name " + whole.Plain() + " in fdw.materialize, and its partitions are copied with it",
			})
		}
	}
	found, err := dump.Check(ctx, w.hotRun())
	if len(all) > 0 { // what has to go altogether need not be emptied
		found = slices.DeleteFunc(found, func(p feed.Problem) bool { return p.Check == "rows" })
	}
	return append(all, found...), err
}

// copies makes the copies that are missing, and the others anew if that is wanted. It ends the
// work, since the copying locks the feed itself.
func copies(ctx context.Context, w *work, anew bool) error {
	if len(w.hot) == 0 {
		return nil
	}
	if anew {
		return dump.Refresh(ctx, w.hotRun())
	}
	return dump.Apply(ctx, w.hotRun())
}

// retire drops the copies of tables that are to be foreign tables. With a partitioned table
// go its partitions, which may be among them or come later.
func (w *work) retire(ctx context.Context, tables []*feed.Table) error {
	var names, plain, lines []string
	for _, t := range tables {
		if w.have[t.Plain()] != nil {
			names, plain, lines = append(names, t.Qualified()), append(plain, t.Plain()), append(lines, feed.Literal(t.Plain()))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return w.run.Do(ctx, w.target, feed.Step{
		On: w.run.Target, What: "drop the copies of " + strings.Join(plain, ", ") + ", which fdw.materialize no longer names",
		SQL:  "DROP TABLE IF EXISTS " + strings.Join(names, ", ") + "; DELETE FROM pgshunt.copies WHERE relation IN (" + strings.Join(lines, ", ") + ")",
		Next: "drop what depends on it, or name it in fdw.materialize",
	})
}

// forgotten drops lines of the journal about copies of tables that are not there any more.
func (w *work) forgotten(ctx context.Context) error {
	var gone []string
	for name := range w.copied {
		if !w.isHot(name) && w.have[name] == nil {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 || w.run.Print {
		return nil
	}
	slices.Sort(gone)
	if _, err := w.target.Exec(ctx, "DELETE FROM pgshunt.copies WHERE relation = ANY ($1)", gone); err != nil {
		return w.failed("write the journal", err)
	}
	return nil
}
