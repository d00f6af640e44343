package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// socket is the descriptor of a Conn that has joined a Loop. It is non-blocking.
type socket struct {
	fd      int
	loop    *Loop
	handler Handler
	// uses counts the system calls under way on fd, plus shut once it is to be closed: that
	// has to wait until the last of them is over, since its number may be another connection's
	// the moment after. Those of the goroutine that leads the Loop are not counted. It is
	// that goroutine which closes descriptors, and not in the midst of a call.
	uses atomic.Int32
	// room wakes whoever waits to write, bytes whoever waits to read outside a call of
	// the handler; each holds one token. Made when somebody waits first.
	room, bytes chan struct{}

	// muted: the handler is at work elsewhere, or has not begun. Changed under loop.mu by
	// whoever calls the handler, and read without it by the leader.
	muted atomic.Bool

	// Guarded by loop.mu:
	slot, generation int32
	events           uint32    // what epoll has been asked for
	writing          bool      // somebody waits for room
	awaited          bool      // somebody waits for bytes
	paused           bool      // the handler does not want to be called for bytes
	again, queued    bool      // Wake was called while muted; it is in loop.woken
	deadline         time.Time // for writes
	gone             func()    // wants to know when the other side hangs up
}

const (
	shut      = 1 << 29
	destroyed = 1 << 30
)

// join takes the descriptor of nc over. The socket is muted until resume.
func join(nc net.Conn, l *Loop, h Handler) *socket {
	var fd int
	switch t := nc.(type) {
	case *net.TCPConn:
		fd = duplicate(t)
	case *net.UnixConn:
		fd = duplicate(t)
	default:
		return nil
	}
	if fd < 0 {
		return nil
	}
	_ = nc.Close()
	return enroll(fd, l, h)
}

// duplicate returns a second descriptor, -1 where there is none to be had. The
// runtime's poller lets go of one only when it is closed.
func duplicate(c syscall.Conn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1
	}
	fd := -1
	err = raw.Control(func(old uintptr) {
		if n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0); errno == 0 {
			fd = int(n)
		}
	})
	if err != nil {
		return -1
	}
	return fd
}

// enroll makes a descriptor a socket of l, muted until resume.
func enroll(fd int, l *Loop, h Handler) *socket {
	k := &socket{fd: fd, loop: l, handler: h}
	k.muted.Store(true)
	l.mu.Lock()
	l.enroll(k)
	l.mu.Unlock()
	return k
}

// leave takes the socket off its Loop, with the descriptor left open and for the
// caller. The socket is muted, and nobody else uses it.
func (k *socket) leave() {
	k.uses.Store(destroyed)
	l := k.loop
	l.mu.Lock()
	k.writing, k.awaited = false, false
	l.vacate(k)
	l.mu.Unlock()
}

// use begins a system call on the descriptor; it reports false after close.
func (k *socket) use() bool { return k.uses.Add(1) < shut || k.refuse() }

// refuse is use after close.
func (k *socket) refuse() bool {
	k.unuse()
	return false
}

func (k *socket) unuse() {
	if k.uses.Add(-1) == shut {
		k.bury()
	}
}

// useIn is use where led says whether the caller leads the Loop: such a use is not counted.
// It ends with the system call, or at the latest when another goroutine is made to lead.
func (k *socket) useIn(led bool) bool {
	if led {
		return k.uses.Load() < shut
	}
	return k.use()
}

// close ends the connection. The handler is called once more, unless it is the one
// who closes.
func (k *socket) close(byHandler bool) {
	for {
		n := k.uses.Load()
		if n >= shut {
			return
		}
		if k.uses.CompareAndSwap(n, n+shut+1) {
			break
		}
	}
	k.loop.mu.Lock()
	give(k.room)
	k.loop.mu.Unlock()
	k.unuse()
	if !byHandler {
		k.wake() // after it has been buried, so that the handler finds the descriptor closed
	}
}

// closeWrite ends the stream towards the other side.
func (k *socket) closeWrite() error {
	if !k.use() {
		return net.ErrClosed
	}
	defer k.unuse()
	return syscall.Shutdown(k.fd, syscall.SHUT_WR)
}

// bury has the descriptor closed once nobody's use of it is counted any more: by the leader of
// the Loop, which may be using it at the moment.
func (k *socket) bury() {
	// Nobody may come here twice: uses never falls to shut again.
	if !k.uses.CompareAndSwap(shut, destroyed) {
		return
	}
	l := k.loop
	l.mu.Lock()
	l.vacate(k)
	l.dead = append(l.dead, k)
	led := !l.unled
	if !led {
		l.closeDead()
	}
	l.mu.Unlock()
	if led {
		l.ring()
	}
}

// recv reads what is there. ok is false where nothing is.
func (k *socket) recv(t *Turn, p []byte) (n int, ok bool, err error) {
	led := t.leading(k.loop)
	if !k.useIn(led) {
		return 0, true, net.ErrClosed
	}
	var r uintptr
	errno := syscall.EINTR
	for errno == syscall.EINTR {
		r, _, errno = syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(k.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
	}
	if !led {
		k.unuse()
	}
	switch {
	case errno == 0 && r > 0:
		return int(r), true, nil
	case errno == 0:
		return 0, true, io.EOF
	case errno == syscall.EAGAIN:
		return 0, false, nil
	}
	return 0, true, os.NewSyscallError("recvfrom", errno)
}

// send writes all of p, waiting for room as long as it takes.
func (k *socket) send(t *Turn, p []byte) (n int, err error) {
	led := t.leading(k.loop)
	if !k.useIn(led) {
		return 0, net.ErrClosed
	}
	r, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(k.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	if !led {
		k.unuse()
	}
	if errno == 0 && int(r) == len(p) {
		return len(p), nil // as nearly always
	}
	if errno != 0 {
		r = 0
	}
	return k.sendRest(t, p, int(r), errno)
}

// sendRest is send after a system call that has written n bytes or failed.
func (k *socket) sendRest(t *Turn, p []byte, n int, errno syscall.Errno) (int, error) {
	for {
		switch errno {
		case 0, syscall.EINTR:
		case syscall.EAGAIN:
			if err := k.waitRoom(t); err != nil {
				return n, err
			}
		default:
			return n, os.NewSyscallError("sendto", errno)
		}
		if n == len(p) {
			return n, nil
		}
		led := t.leading(k.loop) // no more once it has had to wait
		if !k.useIn(led) {
			return n, net.ErrClosed
		}
		var r uintptr
		r, _, errno = syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(k.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p[n:]))), uintptr(len(p)-n), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		if !led {
			k.unuse()
		}
		if errno == 0 {
			n += int(r)
		}
	}
}

func (k *socket) pause(on bool) {
	k.loop.mu.Lock()
	if k.paused != on {
		k.paused = on
		if k.watch() != nil { // out of kernel memory: nothing is to be had from it any more
			k.again = true
		}
	}
	k.loop.mu.Unlock()
}

// alive looks at what has arrived without taking it.
func (k *socket) alive() error {
	if !k.use() {
		return net.ErrClosed
	}
	defer k.unuse()
	var one [1]byte
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(k.fd), uintptr(unsafe.Pointer(&one)), 1,
		syscall.MSG_DONTWAIT|syscall.MSG_PEEK, 0, 0)
	switch {
	case errno == syscall.EAGAIN, errno == syscall.EINTR:
		return nil
	case errno != 0:
		return os.NewSyscallError("recvfrom", errno)
	case n == 0:
		return io.EOF
	}
	return nil
}

// mute keeps the handler from being called.
func (k *socket) mute() {
	k.loop.mu.Lock()
	k.muted.Store(true)
	_ = k.watch() // narrows what is asked for, which cannot fail
	k.loop.mu.Unlock()
}

// resume has the handler called again.
func (k *socket) resume() {
	l := k.loop
	l.mu.Lock()
	k.muted.Store(false)
	err := k.watch()
	again := k.again || err != nil
	k.again = false
	l.mu.Unlock()
	if again {
		k.wake()
	}
}

// wake has the handler called although nothing has arrived.
func (k *socket) wake() {
	l := k.loop
	l.mu.Lock()
	if k.awaited {
		k.again = true
		give(k.bytes)
		l.mu.Unlock()
		return
	}
	if !k.queued {
		k.queued = true
		l.woken = append(l.woken, k)
	}
	l.mu.Unlock()
	l.ring()
}

// watch tells epoll what is wanted. The caller holds loop.mu.
func (k *socket) watch() error {
	var events uint32
	if !k.muted.Load() && !k.paused || k.awaited {
		events |= syscall.EPOLLIN
	}
	if k.writing {
		events |= syscall.EPOLLOUT
	}
	if k.gone != nil {
		events |= syscall.EPOLLRDHUP
	}
	if events == k.events {
		return nil
	}
	if k.uses.Load() >= shut {
		return nil // closed, or about to be
	}
	op := syscall.EPOLL_CTL_MOD
	switch {
	case events == 0:
		op = syscall.EPOLL_CTL_DEL
	case k.events == 0:
		op = syscall.EPOLL_CTL_ADD
	}
	ev := syscall.EpollEvent{Events: events, Fd: k.slot, Pad: k.generation}
	for {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(k.loop.epfd), uintptr(op), uintptr(k.fd),
			uintptr(unsafe.Pointer(&ev)), 0, 0)
		switch {
		case errno == 0:
			k.events = events
			return nil
		case !errors.Is(errno, syscall.EINTR):
			return os.NewSyscallError("epoll_ctl", errno)
		}
	}
}
