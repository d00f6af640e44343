package wire

import (
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// joined returns a Conn that has joined one of ls and is not resumed, and its other side.
func joined(t *testing.T, ls *Loops, h Handler) (*Conn, net.Conn) {
	t.Helper()
	local, remote := tcpPair(t)
	t.Cleanup(func() { _ = remote.Close() })
	c := NewConn(local)
	if !c.Join(ls, h) {
		t.Fatal("a plain socket did not join")
	}
	return c, remote
}

// soon returns what must come soon.
func soon[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

// A Conn may be closed after a write has found no room and before it waits for some.
func TestWriteDoesNotWaitForRoomOnAClosedConn(t *testing.T) {
	c, _ := joined(t, startLoops(t, 1), nil)
	k := c.sock.Load()
	for {
		if _, err := syscall.Write(k.fd, make([]byte, 1<<16)); errors.Is(err, syscall.EAGAIN) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	waited := make(chan error, 1)
	go func() { waited <- k.waitRoom(nil) }()
	if err := soon(t, "the end of the wait", waited); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the wait ended with %v", err)
	}
}

// Nor does a read wait for bytes.
func TestReadDoesNotWaitForBytesOnAClosedConn(t *testing.T) {
	c, _ := joined(t, startLoops(t, 1), nil)
	k := c.sock.Load()
	c.End()
	waited := make(chan error, 1)
	go func() { waited <- k.waitBytes(nil, time.Time{}) }()
	if err := soon(t, "the end of the wait", waited); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the wait ended with %v", err)
	}
}

// Nor does one that waits already, which is told why it ends.
func TestCloseEndsAWaitForBytes(t *testing.T) {
	c, _ := joined(t, startLoops(t, 1), nil)
	r := NewReader(c, TypesOf(""), 1<<20)
	waited := make(chan error, 1)
	go func() { waited <- r.FillIn(nil, time.Time{}) }()
	untilAwaited(c)
	_ = c.Close()
	if err := soon(t, "the end of the wait", waited); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the wait ended with %v", err)
	}
}

// untilAwaited returns once somebody waits for bytes of c.
func untilAwaited(c *Conn) {
	for k := c.sock.Load(); ; runtime.Gosched() {
		k.loop.mu.Lock()
		awaited := k.awaited
		k.loop.mu.Unlock()
		if awaited {
			return
		}
	}
}

// The Loop may come to a Wake only once the handler, which was not waiting when it was
// called, waits for bytes.
func TestWakeThatTheLoopMeetsLateEndsAWaitForBytes(t *testing.T) {
	ls := startLoops(t, 1)
	leading, release := make(chan struct{}, 10), make(chan struct{})
	busy, _ := joined(t, ls, ready(func(*Turn) {
		leading <- struct{}{}
		<-release // on the Loop's goroutine, which does nothing else
	}))
	defer busy.Close()
	busy.Wake()
	busy.Resume()
	<-leading
	c, _ := joined(t, ls, nil)
	defer c.Close()
	r := NewReader(c, TypesOf(""), 1<<20)
	c.Wake()
	waited := make(chan error, 1)
	go func() { waited <- r.FillIn(nil, time.Time{}) }()
	untilAwaited(c)
	close(release)
	if err := soon(t, "the end of the wait", waited); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the wait ended with %v", err)
	}
}

// ready is a function as a Handler.
type ready func(*Turn)

func (f ready) Ready(t *Turn) { f(t) }

// Each Wake calls the handler, also where it comes while the Loop is about to wait, or the
// handler is at work elsewhere.
func TestEveryWakeCallsTheHandler(t *testing.T) {
	calls, n := make(chan struct{}, 1), 0
	c, _ := joined(t, startLoops(t, 1), ready(func(turn *Turn) {
		if n++; n%3 == 0 {
			turn.Block()
		}
		select {
		case calls <- struct{}{}:
		default: // the last has not been noticed yet
		}
	}))
	c.Resume()
	for range 3000 {
		c.Wake()
		soon(t, "the call of a handler", calls)
	}
	c.End()
}
