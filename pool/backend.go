package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/wire"
)

// Owner is whoever the output of a backend belongs to: a session, or its pool.
type Owner interface {
	// Receive consumes what has arrived in b.Reader, up to the point where the next
	// message needs more bytes. An error ends the backend. It runs on the backend's
	// goroutine, one call at a time.
	Receive(b *Backend) error
	// Lost is called once, last, when the connection has ended.
	Lost(b *Backend, err error)
}

// Key names a pool: which server, and as whom.
type Key struct{ Target, User, Database string }

// Backend is one connection to a server, logged in. Make one by Pools.Acquire.
type Backend struct {
	Key Key
	// PID is the server process, or 0 where the server gave none.
	PID uint32
	// Reader is for the Owner within Receive; Writer for whoever has attached the backend.
	Reader *wire.Reader
	Writer wire.Writer

	// The labels: what the server process has. Only for whoever has attached it.
	Settings *Settings
	Unnamed  *Prepared // the unnamed statement
	// Stale is set when the labels are not true: the server refused a setting.
	Stale   bool
	held    *held
	maxHeld int

	conn     *wire.Conn
	hijacked *pgconn.HijackedConn
	pool     *Pool
	born     time.Time
	idleAt   time.Time // guarded by the pool's mutex

	mu     sync.Mutex
	owner  Owner             // guarded by mu
	lost   bool              // guarded by mu; no owner may attach any more
	params map[string]string // guarded by mu; the ParameterStatus values last reported
	resets int               // guarded by mu; what is left of a reset: ReadyForQuery messages, and writing it
	failed bool              // guarded by mu; the reset met an error
	ended  sync.Once
}

// ErrNotOwner is returned by an Owner that let go of the backend between the
// arrival of bytes and the call of Receive; whoever owns it now is asked again.
var ErrNotOwner = errors.New("not the owner of this backend")

// Attach makes o the owner. It reports false if the backend has been lost; then
// o has nothing to do with it and should acquire another.
func (b *Backend) Attach(o Owner) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost {
		return false
	}
	b.owner = o
	return true
}

func (b *Backend) currentOwner() Owner {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.owner
}

// run reads the connection until it ends.
func (b *Backend) run() {
	err := b.read()
	b.mu.Lock()
	b.lost = true
	owner := b.owner
	b.mu.Unlock()
	b.Close()
	b.Reader.Release()
	owner.Lost(b, err)
	b.pool.gone(b)
}

func (b *Backend) read() error {
	for {
		if err := b.Reader.Fill(); err != nil {
			return fmt.Errorf("read from %s: %w", b.Key.Target, err)
		}
		for {
			err := b.currentOwner().Receive(b)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrNotOwner) {
				return err
			}
		}
	}
}

// Close ends the connection without ceremony. Lost follows on the backend's goroutine.
func (b *Backend) Close() { b.ended.Do(func() { _ = b.conn.Close() }) }

// StopWriting ends a write that waits for the server to read, and fails all that
// follow; what the server still says is read as before.
func (b *Backend) StopWriting() { _ = b.conn.SetWriteDeadline(time.Unix(1, 0)) }

// Param returns a ParameterStatus value as last reported.
func (b *Backend) Param(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.params[name]
}

// Params returns a copy of all ParameterStatus values.
func (b *Backend) Params() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.params)
}

// SetParam records a ParameterStatus message.
func (b *Backend) SetParam(name, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.params[name] = value
}

// Cancel asks the server to cancel what the backend is running, on a connection
// of its own with the same TLS policy, and returns when the server has passed
// the request on (it closes that connection then). The backend must stay
// attached until Cancel has returned, or the next session's statement could be hit.
func (b *Backend) Cancel(ctx context.Context) error {
	pc, err := pgconn.Construct(b.hijacked)
	if err != nil {
		return err
	}
	return pc.CancelRequest(ctx)
}

// Terminate ends the server process from a side connection with the same login.
// It is for work that ignores a cancel, such as a model being fitted.
func (b *Backend) Terminate(ctx context.Context) error {
	side, err := pgconn.ConnectConfig(ctx, b.hijacked.Config.Copy())
	if err != nil {
		return err
	}
	defer side.Close(ctx)
	sql := fmt.Sprintf("SELECT pg_terminate_backend(%d)", b.PID)
	return side.Exec(ctx, sql).Close()
}
