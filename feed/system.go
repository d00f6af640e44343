package feed

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Follows begins the comment of what a replica has to reach its primary by, a subscription or a
// foreign server. The primary's [Server.System] stands after it.
const Follows = "made by pgshunt to follow primary "

// System is a server's system identifier, which it shares with its physical copies and with no
// other; "" where the role of conn may not know.
func (s *Server) System(ctx context.Context, conn *pgx.Conn) (id string, err error) {
	err = conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&id)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == codeNotAllowed {
		return "", nil
	}
	if err != nil {
		return "", &Error{Server: s.Name, Doing: "read its system identifier", Err: err}
	}
	return id, nil
}
