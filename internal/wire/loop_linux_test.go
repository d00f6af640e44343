package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLoops starts n loops for the length of the test.
func startLoops(t *testing.T, n int) *Loops {
	t.Helper()
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), n+2))
	ls, err := NewLoops(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ls.Close)
	return ls
}

// echo sends back what it gets, message by message.
type echo struct {
	conn  *Conn
	r     *Reader
	ended chan error // gets the error that ended it
	over  bool
	// before is called before a message is sent back.
	before func(t *Turn, m *Message)
}

func newEcho(tb testing.TB, ls *Loops, nc net.Conn, before func(*Turn, *Message)) *echo {
	tb.Helper()
	e := &echo{conn: NewConn(nc), ended: make(chan error, 10), before: before}
	e.r = NewReader(e.conn, TypesOf(""), 1<<30)
	if !e.conn.Join(ls, e) {
		tb.Fatal("a plain socket did not join")
	}
	e.conn.Resume()
	return e
}

func (e *echo) Ready(t *Turn) {
	if e.over {
		return
	}
	if err := e.step(t); err != nil {
		e.over = true
		e.r.Release()
		e.conn.End()
		e.ended <- err
	}
}

func (e *echo) step(t *Turn) error {
	if _, err := e.r.FillNow(t); err != nil {
		return err
	}
	for {
		var m Message
		ok, err := e.r.Next(&m)
		if err != nil || !ok {
			e.r.Rest(t)
			return err
		}
		if e.before != nil {
			e.before(t, &m)
		}
		if _, err := e.conn.WriteIn(t, m.Data); err != nil {
			return err
		}
	}
}

// patiently reads what must come soon.
func patiently(tb testing.TB, c net.Conn, want []byte) {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		tb.Errorf("%v, or other bytes came back", err)
	}
}

func TestLoopServesManyConns(t *testing.T) {
	ls := startLoops(t, 2)
	var work sync.WaitGroup
	for n := range 50 {
		local, remote := tcpPair(t)
		e := newEcho(t, ls, local, nil)
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for range 30 {
				sent := encode(message{'Q', string(make([]byte, random.IntN(1<<random.IntN(18))))})
				go func() {
					for left := sent; len(left) > 0; {
						n := min(len(left), 1+random.IntN(len(left)))
						if _, err := remote.Write(left[:n]); err != nil {
							t.Error(err)
							return
						}
						left = left[n:]
					}
				}()
				patiently(t, remote, sent)
			}
			_ = remote.Close()
			if err := <-e.ended; !errors.Is(err, io.EOF) {
				t.Errorf("ended with %v, not the end of the stream", err)
			}
		})
	}
	work.Wait()
}

// What is sent along with the end of the stream is answered, and the end is seen.
func TestLoopSeesAnEndThatComesWithData(t *testing.T) {
	ls := startLoops(t, 1)
	for range 50 {
		local, remote := tcpPair(t)
		e := newEcho(t, ls, local, nil)
		sent := encode(message{'Q', "x"})
		if _, err := remote.Write(sent); err != nil {
			t.Fatal(err)
		}
		if err := remote.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		patiently(t, remote, sent)
		if err := <-e.ended; !errors.Is(err, io.EOF) {
			t.Fatalf("ended with %v", err)
		}
		_ = remote.Close()
	}
}

func TestLoopGoesOnWhileAHandlerBlocks(t *testing.T) {
	ls := startLoops(t, 1)
	release := make(chan struct{})
	slowLocal, slow := tcpPair(t)
	newEcho(t, ls, slowLocal, func(turn *Turn, m *Message) {
		if m.Type == 'W' {
			turn.Block()
			<-release
		}
	})
	local, quick := tcpPair(t)
	newEcho(t, ls, local, nil)
	waiting := encode(message{'W', "wait"})
	if _, err := slow.Write(waiting); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		m := encode(message{'Q', "quick"})
		if _, err := quick.Write(m); err != nil {
			t.Fatal(err)
		}
		patiently(t, quick, m)
	}
	// What comes meanwhile is kept for later, and is nobody else's.
	more := encode(message{'Q', "more"})
	if _, err := slow.Write(more); err != nil {
		t.Fatal(err)
	}
	close(release)
	patiently(t, slow, append(waiting, more...))
	_, _ = slow.Close(), quick.Close()
}

func TestLoopWaitsForAReaderThatIsSlow(t *testing.T) {
	ls := startLoops(t, 1)
	local, remote := tcpPair(t)
	e := newEcho(t, ls, local, nil)
	sent := encode(message{'d', string(bytes.Repeat([]byte("0123456789abcdef"), 4<<20))}) // 64 MB, more than sockets hold
	go func() { _, _ = remote.Write(sent) }()
	other, quick := tcpPair(t)
	newEcho(t, ls, other, nil)
	m := encode(message{'Q', "quick"})
	if _, err := quick.Write(m); err != nil {
		t.Fatal(err)
	}
	patiently(t, quick, m)
	patiently(t, remote, sent)
	_, _ = remote.Close(), quick.Close()
	<-e.ended
}

func TestLoopEndsAWriteAtItsDeadline(t *testing.T) {
	ls := startLoops(t, 1)
	local, remote := tcpPair(t)
	defer remote.Close()
	e := newEcho(t, ls, local, nil)
	go func() { _, _ = remote.Write(encode(message{'d', string(make([]byte, 64<<20))})) }()
	_ = e.conn.SetWriteDeadline(time.Unix(1, 0))
	if err := <-e.ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
}

func TestLoopWakeAndCloseCallTheHandler(t *testing.T) {
	ls := startLoops(t, 1)
	local, remote := tcpPair(t)
	defer remote.Close()
	w := &wakeful{calls: make(chan error, 100)}
	w.conn = NewConn(local)
	w.r = NewReader(w.conn, TypesOf(""), 1<<20)
	if !w.conn.Join(ls, w) {
		t.Fatal("did not join")
	}
	w.conn.Wake() // before Resume: kept for it
	w.conn.Resume()
	if err := <-w.calls; err != nil {
		t.Errorf("woken: %v", err)
	}
	w.conn.Wake()
	if err := <-w.calls; err != nil {
		t.Errorf("woken again: %v", err)
	}
	_ = w.conn.Close()
	if err := <-w.calls; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := w.conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
}

// wakeful reports every call.
type wakeful struct {
	conn  *Conn
	r     *Reader
	calls chan error
}

func (w *wakeful) Ready(t *Turn) {
	_, err := w.r.FillNow(t)
	w.calls <- err
}

// Close may come from anywhere at any moment, and no other connection may suffer.
func TestLoopCloseRaces(t *testing.T) {
	ls := startLoops(t, 2)
	var work sync.WaitGroup
	for range 200 {
		local, remote := tcpPair(t)
		e := newEcho(t, ls, local, func(turn *Turn, _ *Message) {
			if rand.IntN(4) == 0 {
				turn.Block()
				runtime.Gosched()
			}
		})
		work.Go(func() {
			m := encode(message{'Q', "x"})
			for range rand.IntN(20) {
				if _, err := remote.Write(m); err != nil {
					t.Error(err)
				}
				patiently(t, remote, m)
			}
			_, _ = remote.Write(m)
			e.conn.Wake()
			_ = e.conn.Close()
			<-e.ended
			_ = remote.Close()
		})
	}
	work.Wait()
}

func TestLoopAcceptEndsWithItsLoop(t *testing.T) {
	ls, err := NewLoops(1)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := ls.Accept(l, func(c *Conn) { c.End() }, func(err error) { t.Error(err) })
	if a == nil {
		t.Fatal("a TCP listener was not taken")
	}
	ls.Close()
	_ = a.Close() // must not wait for a loop that is no more
}

// Whoever connects between listening and accepting does not wait for Nagle's algorithm either.
func TestLoopAcceptsThoseWhoCameEarly(t *testing.T) {
	ls, err := NewLoops(1)
	if err != nil {
		t.Fatal(err)
	}
	defer ls.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	delays := make(chan int, 2)
	dial := func() {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	dial()
	a := ls.Accept(l, func(c *Conn) {
		noDelay, err := syscall.GetsockoptInt(c.sock.Load().fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
		if err != nil {
			t.Error(err)
		}
		delays <- noDelay
		c.End()
	}, func(err error) { t.Error(err) })
	dial()
	for range 2 {
		if noDelay := <-delays; noDelay == 0 {
			t.Error("TCP_NODELAY is not set")
		}
	}
	_ = a.Close()
}
