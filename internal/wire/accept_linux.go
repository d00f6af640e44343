package wire

import (
	"net"
	"os"
	"syscall"
	"time"
)

// acceptor is the handler of a listening socket.
type acceptor struct {
	sock *socket
	loop *Loops
	// accepted gets the connections.
	accepted func(*Conn)
	// failed is told of errors.
	failed func(error)
	closed chan struct{}
}

// acceptPause is how long nothing is accepted after an error, such as a lack of descriptors.
const acceptPause = 50 * time.Millisecond

func accept(l net.Listener, ls *Loops, accepted func(*Conn), failed func(error)) *acceptor {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil
	}
	fd := duplicate(tcp)
	if fd < 0 {
		return nil
	}
	_ = l.Close() // or its poller would be woken for every client
	inheritOptions(fd)
	a := &acceptor{loop: ls, accepted: accepted, failed: failed, closed: make(chan struct{})}
	a.sock = enroll(fd, ls.pick(), a)
	a.acceptEarly()
	a.sock.resume()
	return a
}

// acceptEarly accepts those who connected before the socket had its options, and so
// did not inherit them.
func (a *acceptor) acceptEarly() {
	for {
		fd, addr, err := syscall.Accept4(a.sock.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return // nobody is left, or Ready meets the error too
		}
		inheritOptions(fd)
		a.take(fd, addr)
	}
}

// take gives an accepted connection to its user.
func (a *acceptor) take(fd int, addr syscall.Sockaddr) {
	c := &Conn{remote: tcpAddr(addr)}
	c.sock.Store(enroll(fd, a.loop.pick(), nil))
	a.accepted(c)
}

// inheritOptions sets what net.TCPConn sets by default; accepted sockets inherit it.
func inheritOptions(fd int) {
	const idle, interval, count = 15, 15, 9
	for _, o := range [...]struct{ level, name, value int }{
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, idle},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, interval},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, count},
	} {
		_ = syscall.SetsockoptInt(fd, o.level, o.name, o.value) // without it a lost client is noticed later
	}
}

// Ready accepts one connection. Where others wait it is called again, which costs
// no more than asking whether they do.
func (a *acceptor) Ready(*Turn) {
	if !a.sock.use() {
		a.end()
		return
	}
	fd, addr, err := syscall.Accept4(a.sock.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	a.sock.unuse()
	switch err {
	case nil:
		a.take(fd, addr)
	case syscall.EAGAIN, syscall.EINTR, syscall.ECONNABORTED:
	default:
		a.failed(os.NewSyscallError("accept4", err))
		a.sock.mute()
		time.AfterFunc(acceptPause, a.sock.resume)
	}
}

func (a *acceptor) end() {
	select {
	case <-a.closed:
	default:
		close(a.closed)
	}
}

// Close stops accepting. Nothing is accepted after it has returned.
func (a *acceptor) Close() error {
	a.sock.close(false)
	select {
	case <-a.closed:
	case <-a.sock.loop.done: // nobody accepts any more
	}
	return nil
}

func tcpAddr(sa syscall.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *syscall.SockaddrInet6:
		addr := &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		if sa.ZoneId != 0 {
			if i, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				addr.Zone = i.Name
			}
		}
		return addr
	}
	return &net.TCPAddr{}
}

// detach gives the descriptor back to package net.
func (k *socket) detach() (net.Conn, error) {
	f := os.NewFile(uintptr(k.fd), "client")
	defer func() {
		_ = f.Close() // FileConn has made one of its own
	}()
	k.leave()
	return net.FileConn(f)
}
