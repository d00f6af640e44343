package wire

import (
	"net"
	"os"
	"syscall"
	"unsafe"
)

// hangUps are what epoll and poll say of a stream that the other side has ended, and of a
// connection that has failed.
const hangUps = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR

// hungUp asks the kernel, which says so whatever is still unread.
func hungUp(fd int) bool {
	ask := struct {
		fd              int32
		events, revents int16
	}{fd: int32(fd), events: syscall.EPOLLRDHUP}
	var noWait syscall.Timespec
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&ask)), 1, uintptr(unsafe.Pointer(&noWait)), 0, 0, 0)
	return errno == 0 && n > 0 && ask.revents&hangUps != 0
}

// onHangUp is Conn.OnHangUp by the Loop's own epoll set, which may have the socket muted.
func (k *socket) onHangUp(gone func()) (stop func()) {
	k.setGone(gone)
	return func() { k.setGone(nil) }
}

func (k *socket) setGone(gone func()) {
	k.loop.mu.Lock()
	k.gone = gone
	_ = k.watch() // out of kernel memory: it is not heard of
	k.loop.mu.Unlock()
}

func (k *socket) hungUp() bool {
	if !k.use() {
		return true
	}
	defer k.unuse()
	return hungUp(k.fd)
}

// peek copies what is there to be read, without taking it.
func (k *socket) peek(p []byte) int {
	if !k.use() {
		return 0
	}
	defer k.unuse()
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(k.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_PEEK, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// awaitHangUp is Conn.OnHangUp for a connection that no Loop serves. The runtime's poller
// watches a second descriptor of it, so that nothing gets in the way of who reads the first.
func awaitHangUp(nc net.Conn, gone func()) (stop func()) {
	tcp, ok := under(nc).(interface{ File() (*os.File, error) })
	if !ok {
		return func() {}
	}
	second, err := tcp.File()
	if err != nil {
		return func() {}
	}
	raw, err := second.SyscallConn()
	if err != nil {
		_ = second.Close()
		return func() {}
	}
	go func() {
		if raw.Read(func(fd uintptr) bool { return hungUp(int(fd)) }) == nil { // else it was closed
			gone()
		}
	}()
	return func() { _ = second.Close() }
}

func connHungUp(nc net.Conn) (is bool) {
	c, ok := under(nc).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) { is = hungUp(int(fd)) })
	return is || err != nil
}

// under is the socket below TLS and whatever else has been put around it.
func under(nc net.Conn) net.Conn {
	for {
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = w.NetConn()
	}
}
