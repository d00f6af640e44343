package wire

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// Conn is one socket. Make it with NewConn.
type Conn struct {
	nc net.Conn
	// raw is set where system calls are made directly; rd and wr are the calls'
	// arguments and results, kept here so that the callbacks need no closure per call.
	raw syscall.RawConn
	rd  readCall
	wr  writeCall
}

// NewConn takes over nc, which must not be used directly afterwards.
func NewConn(nc net.Conn) *Conn {
	c := &Conn{nc: nc}
	c.raw = rawConn(nc)
	c.rd.init()
	c.wr.init()
	return c
}

// Net returns the connection underneath, for its addresses and TLS state.
func (c *Conn) Net() net.Conn { return c.nc }

// TLS returns the state of the TLS session, or nil on a plain connection.
func (c *Conn) TLS() *tls.ConnectionState {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// Read reads at least one byte into p, waiting until there is one. At the end of
// the stream it returns io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	if c.raw == nil {
		return c.nc.Read(p)
	}
	return c.readRaw(p)
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	if c.raw == nil {
		return c.nc.Write(p)
	}
	return c.writeRaw(p)
}

// Close closes the socket. A Read or Write that waits returns net.ErrClosed.
func (c *Conn) Close() error { return c.nc.Close() }

// SetReadDeadline and SetWriteDeadline bound calls that wait, also those already
// waiting; the zero time means no bound. An exceeded bound is os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// SetWriteDeadline bounds writes as SetReadDeadline bounds reads.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }
