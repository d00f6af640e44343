package fdw

import (
	"context"
	"slices"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// grant has those read the foreign tables who may read the primary's, and nobody else of the
// primary's roles. Where the primary has row-level security only the owner may: it does not reach
// through the one role that reads there.
func (w *work) grant(ctx context.Context) error {
	theirs, err := schema.ReadRights(ctx, w.primary, w.live)
	if err != nil {
		return &feed.Error{Server: w.run.Primary.Name, Doing: "read who may read what", Err: err}
	}
	return schema.Align(ctx, w.run, theirs, w.primary, w.target, w.live)
}

// access tells in what the rights on the tables of the feed differ from the primary's.
func (w *work) access(ctx context.Context) ([]schema.Difference, error) {
	ours := slices.DeleteFunc(slices.Clone(w.fed), func(t *feed.Table) bool {
		have := w.have[t.Plain()]
		return have == nil || !have.ours(w.run.Name) && w.copied[t.Plain()] == nil
	})
	return schema.Access(ctx, w.run, w.primary, w.target, ours)
}
