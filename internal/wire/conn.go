package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// Conn is one socket. Make it with NewConn.
//
// It is read in one of two ways. At first a goroutine of its own does, which waits
// in Reader.Fill. A plain socket may then Join a Loop, after which Handler.Ready
// is called when there is something to read, and Reader.FillNow takes it.
type Conn struct {
	nc     net.Conn // nil where a Loop accepted the connection
	remote net.Addr
	sock   atomic.Pointer[socket] // since Join
	closed atomic.Bool            // set by Close, for a Join that is under way
}

// NewConn takes over nc, which must not be used directly afterwards.
func NewConn(nc net.Conn) *Conn { return &Conn{nc: nc} }

// Pause, within Ready, keeps the handler from being called for bytes that arrive;
// Wake and Close call it as before.
func (c *Conn) Pause(on bool) { c.sock.Load().pause(on) }

// Alive returns an error when the other side has ended the stream and nothing of it
// is left to read, or the connection has failed. Only on a Conn that has joined.
func (c *Conn) Alive() error { return c.sock.Load().alive() }

// OnHangUp has gone called once, on a goroutine of its own, when the other side has ended
// the stream or the connection has failed, whatever is still to be read from before. It is
// for the time in which nobody reads c: stop ends it, after which gone may be under way but
// does not begin. Only on Linux; elsewhere gone is never called.
func (c *Conn) OnHangUp(gone func()) (stop func()) {
	if k := c.sock.Load(); k != nil {
		return k.onHangUp(gone)
	}
	return awaitHangUp(c.nc, gone)
}

// HungUp tells whether OnHangUp would call now. Any goroutine may ask.
func (c *Conn) HungUp() bool {
	if k := c.sock.Load(); k != nil {
		return k.hungUp()
	}
	return connHungUp(c.nc)
}

// Peek copies what has arrived and is still to be read into p and returns how much that is,
// 0 also where it cannot be told. Only on a Conn that has joined.
func (c *Conn) Peek(p []byte) int { return c.sock.Load().peek(p) }

// RemoteAddr is the address of the other side.
func (c *Conn) RemoteAddr() net.Addr {
	if c.nc != nil {
		return c.nc.RemoteAddr()
	}
	return c.remote
}

// Detach takes c off its Loop and returns the connection for other use, such as a
// TLS handshake; c is not to be used again. From within Ready, after Turn.Block, or
// before Resume.
func (c *Conn) Detach() (net.Conn, error) {
	if k := c.sock.Load(); k != nil {
		return k.detach()
	}
	return c.nc, nil
}

// TLS returns the state of the TLS session, or nil on a plain connection.
func (c *Conn) TLS() *tls.ConnectionState {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// Join moves c to one of the Loops, with h to be called for it. It reports false
// where it cannot: with TLS, or where there are no Loops. Nobody may be reading or
// writing c meanwhile; whoever closes it does so as before or after. h is not called
// before Resume.
func (c *Conn) Join(ls *Loops, h Handler) bool {
	if ls == nil {
		return false
	}
	k := join(c.nc, ls.pick(), h)
	c.sock.Store(k)
	if k != nil && c.closed.Load() { // perhaps before there was a socket to close
		k.close(false)
	}
	return k != nil
}

// Handle sets the handler of a Conn that a Loop accepted. Once, before Resume.
func (c *Conn) Handle(h Handler) { c.sock.Load().handler = h }

// Joined tells whether a Loop serves c.
func (c *Conn) Joined() bool { return c.sock.Load() != nil }

// Resume begins calling the handler. Once, after Join or Handle.
func (c *Conn) Resume() { c.sock.Load().resume() }

// Read reads at least one byte into p, waiting until there is one. At the end of
// the stream it returns io.EOF. Not after Join.
func (c *Conn) Read(p []byte) (int, error) { return c.nc.Read(p) }

// Write writes all of p, waiting for room. It is for goroutines that serve no Loop.
func (c *Conn) Write(p []byte) (int, error) { return c.WriteIn(nil, p) }

// WriteIn is Write from within Handler.Ready; it blocks t where it has to wait.
func (c *Conn) WriteIn(t *Turn, p []byte) (int, error) {
	if k := c.sock.Load(); k != nil {
		return k.send(t, p)
	}
	t.Block()
	return c.nc.Write(p)
}

// Close closes the socket. A Read or Write that waits returns net.ErrClosed. A
// handler is called once more. Any goroutine may call it, several times and during Join too.
func (c *Conn) Close() error {
	c.closed.Store(true) // before the socket is looked for: Join does it the other way round
	if k := c.sock.Load(); k != nil {
		k.close(false)
		return nil
	}
	return c.nc.Close()
}

// CloseWrite ends what the other side can read, which may go on writing.
func (c *Conn) CloseWrite() error {
	if k := c.sock.Load(); k != nil {
		return k.closeWrite()
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// End is Close for the handler itself, which is not called for it.
func (c *Conn) End() {
	if k := c.sock.Load(); k != nil {
		k.close(true)
		return
	}
	_ = c.nc.Close() // nothing is left to do about it
}

// Wake gets the attention of whoever reads c: Fill and FillIn return
// os.ErrDeadlineExceeded (Fill until ClearWake), or the handler is called. Any goroutine may call it.
func (c *Conn) Wake() {
	if k := c.sock.Load(); k != nil {
		k.wake()
		return
	}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, whose reader is awake
}

// ClearWake makes Fill wait again.
func (c *Conn) ClearWake() error { return c.nc.SetReadDeadline(time.Time{}) }

// SetDeadline bounds reads and writes of a Conn without a Loop, which is where a
// call that waits has no other bound.
func (c *Conn) SetDeadline(t time.Time) error {
	if c.Joined() {
		return nil
	}
	return c.nc.SetDeadline(t)
}

// SetWriteDeadline bounds writes that wait, also those already waiting; the zero
// time means no bound. An exceeded bound is os.ErrDeadlineExceeded.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if k := c.sock.Load(); k != nil {
		k.setWriteDeadline(t)
		return nil
	}
	return c.nc.SetWriteDeadline(t)
}
