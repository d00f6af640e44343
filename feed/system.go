package feed

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Follows begins the comment of what a replica has to reach its primary by, a subscription or a
// foreign server, and the source of copies in the journal. The primary's [Server.System] stands after it.
const Follows = "made by pgshunt to follow primary "

// Followed is whom a replica follows, as the comment that begins with [Follows] has it.
type Followed struct {
	System string
	// Timeline is that of the primary which the rows came from last, Own the replica's at that time;
	// 0 where it is not told.
	Timeline, Own int64
}

const ofPrimary, ofReplica = ", timeline ", ", on timeline "

// Comment writes it down.
func (f Followed) Comment() string {
	text := Follows + f.System
	if f.Timeline != 0 {
		text += fmt.Sprint(ofPrimary, f.Timeline)
	}
	if f.Own != 0 {
		text += fmt.Sprint(ofReplica, f.Own)
	}
	return text
}

// ReadFollowed reads a comment; marked tells whether it is such a one.
func ReadFollowed(comment string) (f Followed, marked bool) {
	rest, marked := strings.CutPrefix(comment, Follows)
	rest, own, _ := strings.Cut(rest, ofReplica)
	system, timeline, _ := strings.Cut(rest, ofPrimary)
	f.System = system
	f.Timeline, _ = strconv.ParseInt(timeline, 10, 64)
	f.Own, _ = strconv.ParseInt(own, 10, 64)
	return f, marked
}

// System is a server's system identifier, which it shares with its physical copies and with no
// other; "" where the role of conn may not know. A transaction goes on in either case.
func (s *Server) System(ctx context.Context, conn *pgx.Conn) (id string, err error) {
	var may bool
	err = conn.QueryRow(ctx, "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')").Scan(&may)
	if err == nil && may {
		err = conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&id)
	}
	if err != nil {
		return "", &Error{Server: s.Name, Doing: "read its system identifier", Err: err}
	}
	return id, nil
}
