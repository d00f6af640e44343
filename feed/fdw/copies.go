package fdw

import (
	"context"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// copied is a table that the journal has as copied by this way.
type copied struct {
	Age         float64 // in seconds
	Rows, Bytes int64
}

// lookAtCopies reads the journal, if this replica is fed by this way.
func (w *work) lookAtCopies(ctx context.Context) error {
	w.copied = make(map[string]*copied)
	way, err := w.run.Way(ctx, w.target)
	if err != nil || way != configs.FeedFDW {
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

// retire drops a copy of a table that is to be a foreign table.
func (w *work) retire(ctx context.Context, t *feed.Table, have *relation) error {
	step := feed.Step{
		On: w.run.Target, What: "drop the copy of " + t.Plain() + ", which fdw.materialize no longer names",
		SQL:  "DROP TABLE " + feed.Quote(have.schema, have.name) + "; DELETE FROM pgshunt.copies WHERE relation = " + feed.Literal(t.Plain()),
		Next: "drop what depends on it, or name it in fdw.materialize",
	}
	return w.run.Do(ctx, w.target, step)
}
