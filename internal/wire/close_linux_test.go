package wire

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// isOpen tells whether fd is a descriptor.
func isOpen(fd int) bool {
	_, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	return errno == 0
}

func seesTheEnd(t *testing.T, remote net.Conn) {
	t.Helper()
	_ = remote.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := remote.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the other side sees %v", err)
	}
}

// held is a handler that stays in its first call until it may go on.
type held struct {
	in   chan *Turn
	goOn chan struct{}
}

func (h *held) Ready(t *Turn) {
	select {
	case h.in <- t:
		<-h.goOn
	default: // it has been called before
	}
}

// Whoever leads a Loop uses descriptors without being counted: a stranger that closes the Conn
// must not free the number meanwhile.
func TestStrangersDoNotCloseWhatTheLeaderUses(t *testing.T) {
	h := &held{in: make(chan *Turn, 1), goOn: make(chan struct{})}
	c, remote := joined(t, startLoops(t, 1), h)
	k := c.sock.Load()
	c.Resume()
	c.Wake()
	turn := soon(t, "the call of the handler", h.in)
	if !turn.leading(k.loop) || !k.useIn(true) {
		t.Error("the leader may not use an open descriptor")
	}
	if n := k.uses.Load(); n != 0 {
		t.Errorf("the leader's use is counted as %d", n)
	}
	_ = c.Close()
	if !isOpen(k.fd) {
		t.Error("the descriptor was closed in the midst of the leader's use")
	}
	if k.useIn(true) || k.use() {
		t.Error("a closed descriptor may be used")
	}
	close(h.goOn)
	seesTheEnd(t, remote)
}

// A use that is counted outlives the Loop that would have closed the descriptor.
func TestDescriptorIsClosedAfterItsLoop(t *testing.T) {
	ls, err := NewLoops(1)
	if err != nil {
		t.Fatal(err)
	}
	c, remote := joined(t, ls, nil)
	k := c.sock.Load()
	if !k.use() {
		t.Fatal("a stranger may not use an open descriptor")
	}
	c.End()
	ls.Close()
	if !isOpen(k.fd) {
		t.Error("the descriptor was closed in the midst of a use")
	}
	k.unuse()
	if isOpen(k.fd) {
		t.Error("nobody has closed the descriptor")
	}
	seesTheEnd(t, remote)
}

// What was closed just before its Loop is closed with it.
func TestLoopClosesWhatIsLeft(t *testing.T) {
	ls, err := NewLoops(1)
	if err != nil {
		t.Fatal(err)
	}
	var remotes []net.Conn
	for range 10 {
		c, remote := joined(t, ls, nil)
		c.End()
		remotes = append(remotes, remote)
	}
	ls.Close()
	for _, remote := range remotes {
		seesTheEnd(t, remote)
	}
}
