package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
)

// Target is a server that backends connect to.
type Target struct {
	// Name is "primary" or the replica's name.
	Name string
	// Login says how to log in for a session's user and database: as that user,
	// never as somebody else, unless the configuration maps users on this server.
	// The pool owns the result.
	Login func(user, database string) (*pgconn.Config, error)
	// Awaited tells whether sessions wait for a server that is away, see again.go; else they
	// are told at once, as they are where it is nil. It must not wait.
	Awaited func() bool

	moves atomic.Uint64 // counts Evict
}

func (t *Target) awaited() bool { return t.Awaited != nil && t.Awaited() }

// backendTypes are the messages of a server that must be seen whole: errors,
// notices, parameters, command tags.
var backendTypes = wire.TypesOf("ENSACZ")

// maxBackendMessage is PostgreSQL's own limit on a message (MaxAllocSize).
const maxBackendMessage = 1 << 30

// login connects and logs in. The error is ready to be shown to a client: what
// the server answered, or 08001.
func (t *Target) login(ctx context.Context, key Key) (*pgconn.HijackedConn, error) {
	cfg, err := t.Login(key.User, key.Database)
	if err != nil {
		return nil, loginError(t.Name, err)
	}
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, loginError(t.Name, err)
	}
	if err = pc.SyncConn(ctx); err == nil {
		var hc *pgconn.HijackedConn
		if hc, err = takeOver(pc); err == nil {
			return hc, nil
		}
	}
	_ = pc.Conn().Close() // neither error has to have closed it, and no goodbye is owed
	return nil, loginError(t.Name, err)
}

// takeOver parts a connection from pgconn, which has left a deadline on it.
func takeOver(pc *pgconn.PgConn) (*pgconn.HijackedConn, error) {
	hc, err := pc.Hijack()
	if err != nil {
		return nil, err
	}
	if w, ok := hc.Conn.(interface{ Unwrap() net.Conn }); ok { // it took part in the login, and now only stands in the way
		hc.Conn = w.Unwrap()
	}
	if err := hc.Conn.SetDeadline(time.Time{}); err != nil {
		_ = hc.Conn.Close()
		return nil, err
	}
	return hc, nil
}

// loginError keeps the server's own answer and words everything else as a
// connection failure. Addresses stay out of the client's sight.
func loginError(target string, err error) error {
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
		e := &pgerr.Error{
			Severity: "FATAL", Code: pe.Code, Message: pe.Message, Detail: pe.Detail, Hint: pe.Hint,
			Routine: "login", Err: err,
		}
		if strings.HasPrefix(pe.Code, "28") { // else it reads as if the client had not proven itself to us
			e.Hint = strings.TrimSpace(fmt.Sprintf("This was pgshunt's login to server %q as the session's user. %s", target, pe.Hint))
		}
		return e
	}
	e := pgerr.Fatal(pgerr.CannotConnect, "could not connect to server %q", target).In("login").Because(err)
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return e.WithDetail("The server did not answer in time.")
	}
	return e.WithHint("See the log of pgshunt, and run \"pgshunt check\".")
}
