package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/parser"
	"pgshunt/router"
	"pgshunt/router/fleet"
)

// seeing has the oracle decide with a catalog of the scratch server, as the live router
// would: the server is compared with itself, as the primary and as the only replica.
type seeing struct {
	with *fleet.Comparison
	// stale: something has run that may have changed what the catalog says.
	stale bool
	// temporary are the names of temporary relations, which are in no catalog: a session
	// that has made one is kept on the primary.
	temporary map[string]bool
	looks     int
}

// see prepares to look at the database that url tells.
func see(ctx context.Context, url, database string) (*seeing, error) {
	login := func(string) (*pgconn.Config, error) { return pgconn.ParseConfig(url) }
	with, err := fleet.NewComparison(ctx, fleet.Config{
		Servers: []fleet.Server{
			{Name: "primary", Login: login},
			{Name: "ml1", Login: login, Replica: true, Feed: router.FeedNone, Training: true, Inference: true, Reads: true},
		},
		Interval: time.Hour, CatalogInterval: time.Hour, Log: slog.New(slog.DiscardHandler),
		Publish: func(*router.Fleet) {}, Primary: func(*pgconn.Config) {},
	}, database)
	if err != nil {
		return nil, err
	}
	return &seeing{with: with, stale: true}, nil
}

// close ends the looking; s may be nil.
func (s *seeing) close() {
	if s != nil {
		s.with.Close()
	}
}

// look makes the oracle's fleet what the server has now, if st could be a read and that may have
// changed. It reports false where st cannot be judged: it names what is temporary.
func (o *oracle) look(ctx context.Context, st *parser.Statement) (bool, error) {
	if o.sees == nil {
		return true, nil
	}
	for i := range st.Parts {
		for _, r := range st.Parts[i].Reads {
			if o.sees.temporary[r.Name] || r.Schema == "pg_temp" {
				return false, nil
			}
		}
	}
	if !o.sees.stale || !mayRead(st) {
		return true, nil
	}
	f, err := o.sees.with.Fleet(ctx)
	if err != nil {
		return false, err
	}
	o.sees.looks++
	o.sees.stale = false
	for i := range f.Targets { // the server has no PostgresML, which does not matter here
		f.Targets[i].Healthy, f.Targets[i].Trouble = true, ""
	}
	o.fleet = f
	return true, nil
}

// mayRead tells whether every statement of a text is of a kind that reads.
func mayRead(st *parser.Statement) bool {
	for i := range st.Parts {
		switch p := &st.Parts[i]; p.Kind {
		case parser.Select, parser.Values, parser.Explain, parser.CopyTo:
			if len(p.Writes)+len(p.Defines) > 0 || p.Locks {
				return false
			}
		default:
			return false
		}
	}
	return len(st.Parts) > 0
}

// ran notes what a statement that has run without an error may have changed.
func (s *seeing) ran(st *parser.Statement) {
	if s != nil && !leavesCatalog(st) {
		s.stale = true
	}
}

// leavesCatalog tells whether a text changes rows, or the session, or nothing, and calls no
// functions of users, which may do more.
func leavesCatalog(st *parser.Statement) bool {
	for i := range st.Parts {
		p := &st.Parts[i]
		switch p.Kind {
		case parser.Select, parser.Values, parser.Insert, parser.Update, parser.Delete, parser.Merge, parser.CopyFrom, parser.CopyTo,
			parser.Set, parser.Reset, parser.Show, parser.Begin, parser.Commit, parser.Rollback, parser.RollbackTo, parser.Savepoint,
			parser.Release, parser.Prepare, parser.Deallocate, parser.Declare, parser.Fetch, parser.Close, parser.Truncate, parser.LockTable:
		case parser.Explain:
			if p.Analyze && p.Body == parser.Execute {
				return false
			}
		default:
			return false
		}
		if len(p.Defines) > 0 || slices.ContainsFunc(p.Calls, func(c parser.Call) bool { return !c.Builtin }) {
			return false
		}
	}
	return len(st.Parts) > 0
}
