package main

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pghosts"
)

// hosts examines each host of a primary that has several: one must be the primary, and
// the others are what it may fail over to.
func (s *serverCheck) hosts(ctx context.Context) {
	login, err := s.cfg.Login(s.name, "", "")
	if err != nil || s.replica != nil || len(pghosts.Of(login)) < 2 {
		return
	}
	var primaries []string
	for _, host := range pghosts.Of(login) {
		standby, err := inRecovery(ctx, login, host)
		switch {
		case err != nil:
			s.add(levelNote, "host", "it cannot take over like this: see why it does not answer", "%s cannot be asked: %s", host, cause(err))
		case standby:
			s.ok("host", "%s is a standby, which is followed when it is promoted", host)
		default:
			primaries = append(primaries, host)
			s.ok("host", "%s is the primary", host)
		}
	}
	if len(primaries) > 1 {
		s.add(levelProblem, "host", "leave in the url only the servers of one cluster, and stop the old primary",
			"%s take writes, and only one may", strings.Join(primaries, " and "))
	}
}

// inRecovery asks one host of a login.
func inRecovery(ctx context.Context, login *pgconn.Config, host string) (is bool, err error) {
	only := pghosts.At(login, host)
	only.RuntimeParams["application_name"] = "pgshunt check"
	cc, err := pgx.ParseConfig("")
	if err != nil {
		return false, err
	}
	cc.Config = *only
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&is)
	return is, err
}
