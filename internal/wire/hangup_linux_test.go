package wire

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"
)

// silent has its turn blocked for as long as the test likes, and reads nothing.
type silent struct {
	once             sync.Once
	blocked, release chan struct{}
}

func (s *silent) Ready(t *Turn) {
	t.Block()
	s.once.Do(func() { close(s.blocked) })
	<-s.release
}

// Whoever does not read a connection hears of its end all the same, whatever is unread.
func TestHangUpIsHeardByThoseWhoDoNotRead(t *testing.T) {
	ls := startLoops(t, 1)
	hangUps := map[string]func(nc *net.TCPConn){
		"half-closed": func(nc *net.TCPConn) { _ = nc.CloseWrite() },
		"closed":      func(nc *net.TCPConn) { _ = nc.Close() },
		"reset":       func(nc *net.TCPConn) { _, _ = nc.SetLinger(0), nc.Close() },
		"after more": func(nc *net.TCPConn) {
			_, _ = nc.Write([]byte("unread"))
			_ = nc.CloseWrite()
		},
	}
	for name, hangUp := range hangUps {
		for kind, serve := range map[string]func(t *testing.T, local net.Conn) *Conn{
			"by a loop":   func(t *testing.T, local net.Conn) *Conn { return blockedOn(t, ls, local) },
			"by no loop":  func(_ *testing.T, local net.Conn) *Conn { return NewConn(local) },
			"through TLS": encrypted,
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				local, remote := tcpPair(t)
				defer remote.Close()
				c := serve(t, local)
				defer c.Close()
				forgotten := make(chan struct{}, 1)
				c.OnHangUp(func() { forgotten <- struct{}{} })()
				heard := make(chan struct{}, 2)
				stop := c.OnHangUp(func() { heard <- struct{}{} })
				defer stop()
				if _, err := remote.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if c.HungUp() {
					t.Error("hung up before it was")
				}
				hangUp(remote.(*net.TCPConn))
				select {
				case <-heard:
				case <-time.After(20 * time.Second):
					t.Fatal("nothing is heard of the end")
				}
				if !c.HungUp() {
					t.Error("not hung up")
				}
				if len(forgotten) > 0 || len(heard) > 0 {
					t.Error("it is heard more than once")
				}
			})
		}
	}
}

// blockedOn is a Conn whose handler is at work elsewhere.
func blockedOn(t *testing.T, ls *Loops, local net.Conn) *Conn {
	t.Helper()
	s := &silent{blocked: make(chan struct{}), release: make(chan struct{})}
	c := NewConn(local)
	if !c.Join(ls, s) {
		t.Fatal("did not join")
	}
	c.Wake()
	c.Resume()
	<-s.blocked
	t.Cleanup(func() { close(s.release) })
	return c
}

// encrypted is a Conn whose TLS nobody has answered; what lies under it counts.
func encrypted(_ *testing.T, local net.Conn) *Conn {
	return NewConn(tls.Server(local, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, context.Canceled
	}}))
}
