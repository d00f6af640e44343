package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgoptions"
)

// Server is one end of a feed: how to reach one database of one PostgreSQL server.
// It is safe for concurrent use.
type Server struct {
	// Name is "primary" or the replica's, for people.
	Name  string
	login *pgconn.Config
	user  string
}

// connectPatience bounds one attempt to connect.
const connectPatience = 15 * time.Second

// settings are those of every connection of a feed. Names are qualified in what the
// server prints, values look the same on both servers, nothing is cut short, and a role
// that row-level security would show only a part of a table gets an error and not the part.
// What ALTER ROLE ... SET says gives way to them.
var settings = map[string]string{
	"application_name":                    "pgshunt feed",
	"search_path":                         "pg_catalog",
	"client_encoding":                     "UTF8",
	"DateStyle":                           "ISO, YMD",
	"IntervalStyle":                       "postgres",
	"lc_monetary":                         "C",
	"TimeZone":                            "UTC",
	"extra_float_digits":                  "3",
	"bytea_output":                        "hex",
	"row_security":                        "off",
	"statement_timeout":                   "0",
	"idle_in_transaction_session_timeout": "0",
	"default_transaction_isolation":       "read committed",
	// Should this machine vanish, a snapshot and locks are not to stay for the hours that the
	// system would wait.
	"tcp_keepalives_idle":     "60",
	"tcp_keepalives_interval": "15",
	"tcp_keepalives_count":    "4",
}

// NewServer makes a Server of a login, of which it keeps a copy.
func NewServer(name string, login *pgconn.Config) *Server {
	login = login.Copy()
	login.ConnectTimeout = connectPatience
	if login.RuntimeParams == nil {
		login.RuntimeParams = make(map[string]string)
	}
	for key, value := range settings {
		login.RuntimeParams[key] = value
	}
	// Options give way to parameters, and earlier ones to later: so the role is one that the
	// connection string names, else the one that logs in, but not one that ALTER ROLE names.
	named := login.RuntimeParams["options"]
	login.RuntimeParams["options"] = strings.TrimSpace("-c role=none " + named)
	return &Server{Name: name, login: login, user: roleOf(login, named)}
}

// roleOf is the role that a login ends up as; which options are no options the server tells.
func roleOf(login *pgconn.Config, options string) string {
	role := "none"
	if settings, err := pgoptions.Parse(options); err == nil {
		for _, set := range settings {
			if strings.EqualFold(set.Name, "role") {
				role = set.Value
			}
		}
	}
	for name, value := range login.RuntimeParams {
		if strings.EqualFold(name, "role") {
			role = value
		}
	}
	if role == "none" {
		return login.User
	}
	return role
}

// Database is the database's name.
func (s *Server) Database() string { return s.login.Database }

// User is the role that works there.
func (s *Server) User() string { return s.user }

// LoginUser is the role that logs in: it is User unless the connection string names another.
func (s *Server) LoginUser() string { return s.login.User }

// Login returns a copy of how to reach the server, with its password.
func (s *Server) Login() *pgconn.Config { return s.login.Copy() }

// Connect opens a connection, which the caller closes. The error names the server and
// says in one line what is wrong, without a secret.
func (s *Server) Connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	config.Config = *s.login.Copy()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, &Error{Server: s.Name, Doing: "connect", Err: err}
	}
	if _, err := conn.Exec(ctx, patientSQL); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx)) // the first error is the one that explains
		return nil, &Error{Server: s.Name, Doing: "connect", Err: err}
	}
	return conn, nil
}

// patientSQL sets limits that not every version has, and an unknown setting ends a login: a
// connection holds a lock or a snapshot for as long as a copy takes.
const patientSQL = `SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout', 'transaction_timeout') AND setting <> '0'`

// Error is what went wrong on one server, in a text for people.
type Error struct {
	// Server is the server's name; Doing is what was tried, as "make the publication".
	Server, Doing string
	Err           error
	// Next says what to do about it, where that is known; a sentence without its full stop.
	Next string
}

// Error says it in one line: server, step, cause and what to do next.
func (e *Error) Error() string {
	text := e.Server + ": " + e.Doing + ": " + Cause(e.Err)
	if e.Next != "" {
		text += "; " + e.Next
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Cause is what went wrong in one line: the server's message with its detail, hint and
// SQLSTATE, or the network's, without the addresses that pgconn repeats for every attempt.
func Cause(err error) string {
	var pg *pgconn.PgError
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &pg):
		text := pg.Message
		if pg.Detail != "" {
			text += " (" + strings.TrimSuffix(pg.Detail, ".") + ")"
		}
		if pg.Hint != "" {
			text += " (" + strings.TrimSuffix(pg.Hint, ".") + ")"
		}
		return oneLine(text) + " [" + pg.Code + "]"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &dns):
		return dns.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return oneLine(err.Error())
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
