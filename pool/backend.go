package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/wire"
)

// Owner is whoever the output of a backend belongs to: a session, or its pool.
type Owner interface {
	// Receive consumes what has arrived in b.Reader, up to the point where the next
	// message needs more bytes. An error ends the backend. One call at a time; it must
	// block b.Turn before it waits for anything.
	Receive(b *Backend) error
	// Lost is called once, last, when the connection has ended. It may wait.
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
	// Turn is what an Owner must Block before it waits; for use within Receive and Lost.
	Turn *wire.Turn

	// The labels: what the server process has. Only for whoever has attached it.
	Settings *Settings
	Unnamed  *Prepared // the unnamed statement
	Tenant   *Tenant   // who had it last
	// UnnamedAt is the moment from which the unnamed statement dates.
	UnnamedAt uint64
	// Stale is set when the labels are not true: the server refused a setting.
	Stale bool
	held  *held

	conn     *wire.Conn
	hijacked *pgconn.HijackedConn
	pool     *Pool
	born     time.Time
	moves    uint64    // how often the target had moved when the login began
	idleAt   time.Time // when expire first saw it idle; guarded by the pool's mutex

	mu     sync.Mutex
	owner  Owner             // guarded by mu
	lost   bool              // guarded by mu; no owner may attach any more
	params map[string]string // guarded by mu; the ParameterStatus values last reported
	resets int               // guarded by mu; what is left of a reset: ReadyForQuery messages, and writing it
	failed bool              // guarded by mu; the reset met an error
	ended  sync.Once
	over   bool // the end has been dealt with; for Ready alone
}

// Tenant tells those apart who have backends one after the other. Only its address
// counts; it is not what they are, so that an idle backend keeps nothing alive.
type Tenant struct{ _ byte }

// ErrNotOwner is returned by an Owner that let go of the backend between the
// arrival of bytes and the call of Receive; whoever owns it now is asked again.
var ErrNotOwner = errors.New("not the owner of this backend")

// Attach makes o the owner. It reports false if the backend has been lost; then
// o has nothing to do with it and should acquire another.
func (b *Backend) Attach(o Owner) bool {
	b.mu.Lock()
	lost := b.lost
	if !lost {
		b.owner = o
	}
	b.mu.Unlock()
	return !lost
}

func (b *Backend) currentOwner() Owner {
	b.mu.Lock()
	o := b.owner
	b.mu.Unlock()
	return o
}

// start has the backend read from now on: by a Loop, or on a goroutine of its own.
func (b *Backend) start(loops *wire.Loops) {
	b.pool.parent.work.Add(1)
	if b.conn.Join(loops, b) {
		b.conn.Resume()
		return
	}
	go b.run()
}

// run reads the connection until it ends.
func (b *Backend) run() {
	for {
		err := b.Reader.Fill()
		if err == nil {
			err = b.receive()
		}
		if err != nil {
			b.end(err)
			return
		}
	}
}

// Ready reads what has arrived; a Loop calls it.
func (b *Backend) Ready(t *wire.Turn) {
	if b.over {
		return
	}
	b.Turn = t
	ok, err := b.Reader.FillNow(t)
	if ok {
		err = b.receive()
	}
	if err != nil {
		b.over = true
		t.Block()
		b.end(err)
		return
	}
	b.Reader.Rest(t)
	b.Turn = nil
}

// receive gives what has been read to the owner.
func (b *Backend) receive() error {
	for {
		err := b.currentOwner().Receive(b)
		if err == nil || !errors.Is(err, ErrNotOwner) {
			return err
		}
	}
}

// end tells everybody that the connection is no more.
func (b *Backend) end(err error) {
	defer b.pool.parent.work.Done()
	b.mu.Lock()
	b.lost = true
	owner := b.owner
	b.mu.Unlock()
	b.Close()
	b.Reader.Release()
	owner.Lost(b, fmt.Errorf("connection to %s: %w", b.Key.Target, err))
	b.pool.gone(b)
}

// Close ends the connection without ceremony. Lost follows.
func (b *Backend) Close() { b.ended.Do(func() { _ = b.conn.Close() }) }

// CloseWrite tells the server that nothing more comes. What it has to say to that is read
// as before, and it hangs up.
func (b *Backend) CloseWrite() error { return b.conn.CloseWrite() }

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
func (b *Backend) Cancel(ctx context.Context) error { return cancelOn(ctx, b.hijacked) }

func cancelOn(ctx context.Context, hc *pgconn.HijackedConn) error {
	pc, err := pgconn.Construct(hc)
	if err != nil {
		return err
	}
	return pc.CancelRequest(ctx)
}

// Terminate ends the server process from a side connection with the same login.
// It is for work that ignores a cancel, such as a model being fitted.
func (b *Backend) Terminate(ctx context.Context) error {
	_, err := b.TerminateIf(ctx, func() bool { return true })
	return err
}

// TerminateIf is Terminate for what may be over by the time that the side connection is
// there: it asks then, and does nothing where the answer is no.
func (b *Backend) TerminateIf(ctx context.Context, wanted func() bool) (did bool, err error) {
	side, err := pgconn.ConnectConfig(ctx, sameServer(b.hijacked))
	if err != nil {
		return false, err
	}
	defer side.Close(ctx)
	if !wanted() {
		return false, nil
	}
	sql := fmt.Sprintf("SELECT pg_terminate_backend(%d)", b.PID)
	return true, side.Exec(ctx, sql).Close()
}

// sameServer is the configuration of hc for the very server that it reached, in
// TLS or not as it did: on another one of several hosts, the process id would be
// somebody else's.
func sameServer(hc *pgconn.HijackedConn) *pgconn.Config {
	cfg := hc.Config.Copy()
	remote, ok := hc.Conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return cfg
	}
	cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = remote.IP.String(), uint16(remote.Port), hc.TLSConfig, nil
	return cfg
}
