package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/auth"
)

// authQuery has auth.query look up the role that it runs as.
func (s *serverCheck) authQuery(ctx context.Context) {
	if s.replica != nil || s.cfg.Auth.Query == "" || s.facts == nil {
		return
	}
	q := auth.NewQuery(auth.QueryConfig{
		SQL: s.cfg.Auth.Query, Log: slog.New(slog.DiscardHandler),
		Login: func() (*pgconn.Config, error) { return s.cfg.Login(s.name, "", "") },
	})
	defer q.Close()
	found, err := auth.NewStore(nil, q, nil).Lookup(ctx, s.facts.User)
	if why := errors.Unwrap(err); why != nil { // the rest is for clients
		err = why
	}
	switch {
	case err != nil:
		s.add(levelProblem, "auth.query", "correct the query, or grant the role what it needs; docs/authentication.md has a function for it",
			"auth.query fails as %s: %s", s.facts.User, cause(err))
	case found.Known():
		s.ok("auth.query", "auth.query answers, and knows %s", s.facts.User)
	default:
		s.ok("auth.query", "auth.query answers, and has no password of %s to check, which may be as you want it", s.facts.User)
	}
}
