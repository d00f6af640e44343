package wire

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// rawConn returns the means for direct system calls on nc, or nil where nc is
// not a plain stream socket.
func rawConn(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch t := nc.(type) {
	case *net.TCPConn:
		sc = t
	case *net.UnixConn:
		sc = t
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readCall is one pending read. lend, if set, supplies the buffer at the moment
// when the kernel may have bytes, and takes it back when it had none: this is
// how a parked Reader owns no buffer.
type readCall struct {
	buf  []byte
	lend func() []byte
	back func()
	n    int
	err  error
	try  func(fd uintptr) bool
}

func (c *readCall) init() { c.try = c.attempt }

// attempt is called by the poller with the descriptor. It uses RawSyscall: the
// socket is non-blocking, so the call cannot keep the processor for longer than
// a copy takes, and telling the scheduler about it would cost more than that.
func (c *readCall) attempt(fd uintptr) bool {
	buf := c.buf
	if c.lend != nil {
		buf = c.lend()
	}
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), syscall.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			c.n, c.err = int(n), nil
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if c.back != nil {
				c.back()
			}
			return false
		default:
			c.n, c.err = 0, os.NewSyscallError("recvfrom", errno)
			return true
		}
	}
}

// readRaw reads into p; readLent reads into what lend supplies.
func (c *Conn) readRaw(p []byte) (int, error) {
	c.rd.buf, c.rd.lend, c.rd.back = p, nil, nil
	n, err := c.finishRead()
	c.rd.buf = nil
	return n, err
}

func (c *Conn) readLent(lend func() []byte, back func()) (int, error) {
	c.rd.lend, c.rd.back = lend, back
	return c.finishRead()
}

func (c *Conn) finishRead() (int, error) {
	if err := c.raw.Read(c.rd.try); err != nil {
		return 0, err
	}
	if c.rd.err != nil {
		return 0, c.rd.err
	}
	if c.rd.n == 0 {
		return 0, io.EOF
	}
	return c.rd.n, nil
}

// writeCall is one pending write.
type writeCall struct {
	buf []byte
	err error
	try func(fd uintptr) bool
}

func (c *writeCall) init() { c.try = c.attempt }

func (c *writeCall) attempt(fd uintptr) bool {
	for len(c.buf) > 0 {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(c.buf))), uintptr(len(c.buf)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			c.buf = c.buf[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			c.err = os.NewSyscallError("sendto", errno)
			return true
		}
	}
	return true
}

func (c *Conn) writeRaw(p []byte) (int, error) {
	c.wr.buf, c.wr.err = p, nil
	err := c.raw.Write(c.wr.try)
	if err == nil {
		err = c.wr.err
	}
	n := len(p) - len(c.wr.buf)
	c.wr.buf = nil
	return n, err
}
