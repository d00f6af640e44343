package fdw

import (
	"context"
	"fmt"
	"slices"

	"pgshunt/feed"
	"pgshunt/feed/dump"
)

// Drop removes the foreign tables, the mappings and the foreign server, all in one
// transaction. Copies stay, no longer known as such, as do schemas, types and the extension.
func Drop(ctx context.Context, run *feed.Run) error {
	w := &work{run: run}
	defer func() { w.close(ctx) }()
	var err error
	if w.target, err = run.Target.Connect(ctx); err != nil {
		return err
	}
	if err := run.Lock(ctx, w.target); err != nil {
		return err
	}
	// The primary is not needed for it, and may be gone.
	if err := w.lookAtRelations(ctx); err != nil {
		return err
	}
	server, err := w.lookAtServer(ctx)
	if err != nil {
		return err
	}
	what := "drop foreign server " + run.Name + " with its tables and mappings"
	if server == nil {
		run.Done(feed.Step{On: run.Target, What: what})
	} else if err := w.owned(ctx, server, what); err != nil {
		return err
	} else if err := w.in(ctx, what, func() error { return w.dropAll(ctx) }); err != nil {
		return err
	}
	w.close(ctx) // which gives up the lock
	return dump.Drop(ctx, run)
}

// owned fails if the foreign server is not this feed's.
func (w *work) owned(ctx context.Context, server *foreignServer, doing string) (err error) {
	if w.primary == nil {
		w.primary, _ = w.run.Primary.Connect(ctx) // it may be gone, and is judged by its address then
	}
	if err := w.identify(ctx); err != nil {
		return err
	}
	if w.way, err = w.run.Way(ctx, w.target); err != nil {
		return err
	}
	other, err := w.strange(server)
	if err == nil && other != nil {
		err = other.error(w.run.Target, doing)
	}
	return err
}

func (w *work) dropAll(ctx context.Context) error {
	const next = "drop what depends on it yourself, and run the command again"
	var names []string
	for name, have := range w.have {
		if have.ours(w.run.Name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		have := w.have[name]
		err := w.run.Do(ctx, w.target, feed.Step{On: w.run.Target, What: "drop foreign table " + name, SQL: "DROP FOREIGN TABLE " + feed.Quote(have.schema, have.name), Next: next})
		if err != nil {
			return err
		}
	}
	mappings, err := w.mappings(ctx)
	if err != nil {
		return err
	}
	server := feed.Quote("", w.run.Name)
	for _, m := range mappings {
		err := w.run.Do(ctx, w.target, feed.Step{
			On: w.run.Target, What: "drop the mapping of " + quoteUser(m.User), SQL: fmt.Sprintf("DROP USER MAPPING FOR %s SERVER %s", quoteUser(m.User), server),
		})
		if err != nil {
			return err
		}
	}
	return w.run.Do(ctx, w.target, feed.Step{On: w.run.Target, What: "drop foreign server " + w.run.Name, SQL: "DROP SERVER " + server, Next: next})
}
