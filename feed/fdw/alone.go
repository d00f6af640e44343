package fdw

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"pgshunt/feed"
)

// alone fills in how the feed is while the primary does not answer, from the replica alone: its
// foreign tables are broken, and its copies as old as they are. Feeds of copies only are not
// broken by it.
func (w *work) alone(ctx context.Context, s *feed.State) error {
	if err := w.lookAtCopies(ctx); err != nil {
		return err
	}
	for name := range w.copied {
		schema, table, _ := strings.Cut(name, ".")
		w.fed = append(w.fed, &feed.Table{Schema: schema, Name: table})
	}
	if err := w.lookAtRelations(ctx); err != nil {
		return err
	}
	if len(w.copied) > 0 {
		s.State = "ready"
	}
	for name, have := range w.have {
		if w.copied[name] == nil {
			w.fed = append(w.fed, &feed.Table{Schema: have.schema, Name: have.name})
		}
	}
	slices.SortFunc(w.fed, func(a, b *feed.Table) int { return cmp.Compare(a.Plain(), b.Plain()) })
	for _, t := range w.fed {
		one := w.tableState(t)
		if !one.Copy && one.State == "ready" {
			one.State, one.Rows, one.Bytes, one.Age = "broken", -1, -1, -1
		}
		s.Tables, s.LagSeconds = append(s.Tables, one), max(s.LagSeconds, one.Age)
		switch {
		case s.State == "broken":
		case one.State == "stale":
			s.State = "stale"
		case one.State != "ready":
			s.State = "broken"
		}
	}
	if s.State == "broken" {
		s.LagSeconds = -1
	}
	return nil
}
