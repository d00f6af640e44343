package logical

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// session is one command at work: the run and its two connections. A connection is nil
// where the server is not needed or, for Drop, not reachable.
type session struct {
	run             *feed.Run
	primary, target *pgx.Conn
	// on is server_version_num of the primary, to that of the replica; 0 without connection.
	on, to int
	// discarded is set once the subscription and the slot are only said to be dropped, since
	// nothing is done but printed.
	discarded bool
	// source is how the replica reaches the primary, with the password; "" for Drop.
	source string
	// system is the primary's system identifier, "" where it is not known; timeline is its own, 0
	// where that is not known or it is a standby; own is the replica's.
	system        string
	timeline, own int64
}

// The versions that matter, as server_version_num.
const (
	v13, v14, v15, v16, v17, v18 = 130000, 140000, 150000, 160000, 170000, 180000
)

// open connects to both servers.
func open(ctx context.Context, run *feed.Run) (*session, error) {
	s := &session{run: run}
	err := errors.Join(s.openPrimary(ctx), s.openTarget(ctx))
	if err == nil {
		s.source, err = conninfo(run, s.to)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) openPrimary(ctx context.Context) (err error) {
	s.primary, s.on, err = connect(ctx, s.run.Primary)
	return err
}

func (s *session) openTarget(ctx context.Context) (err error) {
	s.target, s.to, err = connect(ctx, s.run.Target)
	return err
}

func connect(ctx context.Context, server *feed.Server) (*pgx.Conn, int, error) {
	conn, err := server.Connect(ctx)
	if err != nil {
		return nil, 0, err
	}
	var version int
	if _, err = conn.Exec(ctx, patience); err == nil {
		err = conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version)
	}
	if err == nil && version < v13 {
		err = fmt.Errorf("PostgreSQL %d is too old for a feed; it needs 13 or later", version/10000)
	}
	if err != nil {
		_ = conn.Close(ctx)
		return nil, 0, &feed.Error{Server: server.Name, Doing: "connect", Err: err}
	}
	return conn, version, nil
}

// close hangs up. It takes no context: a command that was cancelled hangs up too.
func (s *session) close() {
	for _, conn := range []*pgx.Conn{s.primary, s.target} {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}
}

// lock keeps other commands away and brings back the limit for locks that it changes.
func (s *session) lock(ctx context.Context) error {
	if err := s.run.Lock(ctx, s.target); err != nil || s.run.Print {
		return err
	}
	_, err := s.target.Exec(ctx, patience)
	return s.failed(s.run.Target, "lock the feed", err)
}

// patience is how long anything waits for a lock on a server in use: others queue up behind it.
const patience = "SET lock_timeout = '5s'"

// busy is what to do when a lock was not to be had.
const busy = "if a lock was waited for: SELECT pid, query FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0 or look for long transactions, then run this again"

// failed is err as an error of a server, nil where it is nil.
func (s *session) failed(server *feed.Server, doing string, err error) error {
	if err == nil {
		return nil
	}
	return &feed.Error{Server: server.Name, Doing: doing, Err: err}
}

// column collects the only column of a query.
func column[T any](ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// one reads the only value of a query.
func one[T any](ctx context.Context, conn *pgx.Conn, sql string, args ...any) (value T, err error) {
	err = conn.QueryRow(ctx, sql, args...).Scan(&value)
	return value, err
}
