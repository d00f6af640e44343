//go:build !linux

package wire

import (
	"errors"
	"net"
	"time"
)

// Elsewhere no Conn joins a Loop: each is read by a goroutine of its own, which is
// correct and costs about a third more.
type (
	Loop     struct{}
	acceptor struct{}
	socket   struct{ handler Handler }
)

func newLoop() (*Loop, error) { return nil, nil }
func (*Loop) close()          {}

func join(net.Conn, *Loop, Handler) *socket { return nil }

func accept(net.Listener, *Loops, func(*Conn), func(error)) *acceptor { return nil }

func (*acceptor) Close() error { return nil }

func (t *Turn) handOver() {}

func (*socket) recv(*Turn, []byte) (int, bool, error) { return 0, true, errors.ErrUnsupported }
func (*socket) send(*Turn, []byte) (int, error)       { return 0, errors.ErrUnsupported }
func (*socket) close(bool)                            {}
func (*socket) closeWrite() error                     { return errors.ErrUnsupported }
func (*socket) setWriteDeadline(time.Time)            {}
func (*socket) resume()                               {}
func (*socket) wake()                                 {}
func (*socket) waitBytes(*Turn, time.Time) error      { return errors.ErrUnsupported }
func (*socket) detach() (net.Conn, error)             { return nil, errors.ErrUnsupported }
func (*socket) pause(bool)                            {}
func (*socket) alive() error                          { return errors.ErrUnsupported }
func (*socket) onHangUp(func()) func()                { return func() {} }
func (*socket) hungUp() bool                          { return false }
func (*socket) peek([]byte) int                       { return 0 }

func awaitHangUp(net.Conn, func()) func() { return func() {} }
func connHungUp(net.Conn) bool            { return false }
