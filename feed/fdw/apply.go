package fdw

import (
	"context"
	"slices"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// Apply makes the foreign server, the mapping and the foreign tables, or what of them is
// missing or differs. Before it leaves anything it has the replica log in to the primary.
func Apply(ctx context.Context, run *feed.Run) error { return apply(ctx, run, false) }

// Refresh is Apply that takes statistics anew, and fills the copies anew. What is a foreign
// table has the primary's rows at any time.
func Refresh(ctx context.Context, run *feed.Run) error { return apply(ctx, run, true) }

func apply(ctx context.Context, run *feed.Run, anew bool) error {
	w, err := open(ctx, run)
	defer w.close(ctx)
	if err != nil {
		return err
	}
	if err := run.Lock(ctx, w.target); err != nil {
		return err
	}
	problems, err := w.check(ctx)
	if err != nil {
		return err
	}
	if err := run.Block(problems); err != nil {
		return err
	}
	for _, p := range problems {
		run.Note(p.Server, "%s; %s", p.What, p.Note)
	}
	for _, step := range []func(context.Context) error{w.connect, w.types, w.tables, w.grant, w.forgotten} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	w.analyze(ctx, anew)
	if err := run.Applied(ctx, w.target); err != nil {
		return err
	}
	w.close(ctx) // which gives up the lock, that the copying takes
	return copies(ctx, w, anew)
}

// connect makes, in one transaction, whatever the replica needs to reach the primary, and
// tries it.
func (w *work) connect(ctx context.Context) error {
	if _, err := w.run.Target.Hush(ctx, w.target); err != nil {
		return err
	}
	err := w.in(ctx, "set up the connection to the primary", func() error {
		for _, step := range []func(context.Context) error{
			func(ctx context.Context) error { return w.run.Journal(ctx, w.target) }, w.server, w.mapUsers, w.probe,
		} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.run.Target.Speak(ctx, w.target)
}

// types brings what the columns of foreign tables are of, where the replica lacks any of it.
func (w *work) types(ctx context.Context) error {
	lacking, err := w.lacking(ctx)
	if err != nil {
		return err
	}
	if !lacking {
		w.run.Done(feed.Step{On: w.run.Target, What: "make the schemas and types that the tables need"})
		return nil
	}
	return schema.Bring(ctx, w.run, w.live, schema.Types)
}

// lacking tells whether the replica lacks a schema, type or collation of the live tables.
func (w *work) lacking(ctx context.Context) (bool, error) {
	var schemas, types, collations []string
	for _, t := range w.live {
		schemas = append(schemas, t.Schema)
		for _, c := range t.Columns {
			types = append(types, c.Type)
			if c.Collation != "" {
				collations = append(collations, c.Collation)
			}
		}
	}
	for _, all := range []*[]string{&schemas, &types, &collations} {
		slices.Sort(*all)
		*all = slices.Compact(*all)
	}
	var lacking bool
	err := w.target.QueryRow(ctx, `SELECT EXISTS (SELECT FROM unnest($1::text[]) s WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = s))
		OR EXISTS (SELECT FROM unnest($2::text[]) t WHERE to_regtype(t) IS NULL)
		OR EXISTS (SELECT FROM unnest($3::text[]) c WHERE NOT EXISTS (SELECT FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace
			WHERE quote_ident(n.nspname) || '.' || quote_ident(o.collname) = c AND o.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))))`,
		schemas, types, collations).Scan(&lacking)
	if err != nil {
		return false, w.failed("look for types", err)
	}
	return lacking, nil
}

// largest is how large a table may be on the primary for PostgreSQL before 16 to read the
// whole of it for statistics.
const largest = 256 << 20

// analyze has the replica take statistics of foreign tables that have none; anew, of all. It
// only costs better plans if it fails.
func (w *work) analyze(ctx context.Context, anew bool) {
	if w.run.Replica.FDW.UseRemoteEstimate {
		return // the primary is asked
	}
	sizes, fed := make(map[string]int64), feed.Index(w.fed)
	for _, t := range w.fed {
		for whole := t; whole != nil; whole = fed[whole.ParentSchema+"."+whole.ParentName] {
			sizes[whole.Plain()] += t.Heap
		}
	}
	var large []string
	for _, t := range w.live {
		have := w.have[t.Plain()]
		switch {
		case have != nil && have.analyzed && !anew:
			continue
		case w.version < version16 && sizes[t.Plain()] > largest:
			large = append(large, t.Plain())
			continue
		}
		step := feed.Step{On: w.run.Target, What: "take statistics of " + t.Plain(), SQL: "ANALYZE " + t.Qualified()}
		if err := w.run.Do(ctx, w.target, step); err != nil {
			w.run.Note(w.run.Target.Name, "no statistics were taken: %v", err)
		}
	}
	if len(large) > 0 {
		w.run.Note(w.run.Target.Name, "statistics of %s are not taken, since PostgreSQL before 16 reads the whole table for them; run ANALYZE in a quiet hour, or set fdw.use_remote_estimate", some(large))
	}
}
