package fleet

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pghosts"
)

// connect logs in to one host of a server, to the database that clients call by that
// name. With "" for a host any of them will do.
func (s *server) connect(ctx context.Context, host, database string) (*pgx.Conn, error) {
	login, err := s.Login(database)
	if err != nil {
		return nil, &loginError{err}
	}
	if host != "" {
		login = pghosts.At(login, host)
	}
	// A pgx.ConnConfig must come from its ParseConfig; what it parsed is replaced whole.
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return nil, &loginError{err}
	}
	cfg.Config = *login
	cfg.RuntimeParams["application_name"] = "pgshunt fleet"
	// Nothing is kept on the server, so that a pooler may stand in between.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgx.ConnectConfig(ctx, cfg)
}

// loginError is a login that the configuration does not describe.
type loginError struct{ error }

func (e *loginError) Unwrap() error { return e.error }

// The troubles of a server that cannot be asked.
const (
	troubleUnseen   = "has not been looked at yet"
	troubleRefused  = "does not accept connections"
	troubleTimeout  = "does not answer in time"
	troubleLost     = "loses connections"
	troubleStarting = "is starting up or shutting down"
	troubleFull     = "has no connection left for pgshunt itself"
	troubleLogin    = "refuses the login of pgshunt's own role"
	troubleConfig   = "cannot be logged in to with the configuration given"
)

// trouble is a phrase for an error of connect or of a question. It has no secrets.
func trouble(err error) string {
	var pg *pgconn.PgError
	var login *loginError
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &login):
		return troubleConfig
	case errors.As(err, &pg):
		switch {
		case pg.Code == "57P03" || pg.Code == "57P01" || pg.Code == "57P02":
			return troubleStarting
		case pg.Code == codeFull:
			return troubleFull
		case strings.HasPrefix(pg.Code, "28"):
			return troubleLogin + " (SQLSTATE " + pg.Code + ")"
		}
		return "answers with an error (SQLSTATE " + pg.Code + ")"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return troubleTimeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return troubleRefused
	}
	return troubleLost
}

// codeFull is too_many_connections. A server that says so lives.
const codeFull = "53300"
