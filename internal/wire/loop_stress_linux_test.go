package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestLoopsUnderStress has many connections come, talk and go in all ways at once, so that
// descriptors and slots are another's the moment they are free, while strangers wake and
// close them. Nobody may hang, and nobody gets what is another's. PGSHUNT_SOAK=1m goes on for that long.
func TestLoopsUnderStress(t *testing.T) {
	length := time.Second
	if d, err := time.ParseDuration(os.Getenv("PGSHUNT_SOAK")); err == nil {
		length = d
	}
	ls := startLoops(t, 2)
	until := time.Now().Add(length)
	var talks, wakes atomic.Int64
	var work sync.WaitGroup
	for worker := range 16 {
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 7))
			for time.Now().Before(until) && !t.Failed() {
				s := newStressed(t, ls, random)
				s.talk(t, random)
				talks.Add(1)
				wakes.Add(s.woken.Load())
			}
		})
	}
	work.Wait()
	t.Logf("%d connections, %d wakes that reached a handler", talks.Load(), wakes.Load())
}

// stressed is a connection whose handler sends back what it gets, in one of several ways.
type stressed struct {
	conn   *Conn
	r      *Reader
	remote net.Conn
	id     uint64
	over   bool
	ended  chan error
	woken  atomic.Int64
	random *rand.Rand // the handler's
}

var lastID atomic.Uint64

func newStressed(t *testing.T, ls *Loops, random *rand.Rand) *stressed {
	local, remote := tcpPair(t)
	for _, c := range []net.Conn{local, remote} { // little room, so that writes have to wait for it
		_, _ = c.(*net.TCPConn).SetWriteBuffer(32<<10), c.(*net.TCPConn).SetReadBuffer(32<<10)
	}
	s := &stressed{conn: NewConn(local), remote: remote, id: lastID.Add(1), ended: make(chan error, 10), random: rand.New(rand.NewPCG(random.Uint64(), 3))}
	s.r = NewReader(s.conn, TypesOf(""), 1<<30)
	if !s.conn.Join(ls, s) {
		t.Error("a plain socket did not join")
	}
	s.conn.Resume()
	return s
}

func (s *stressed) Ready(t *Turn) {
	if s.over {
		return
	}
	if err := s.step(t); err != nil {
		s.over = true
		s.r.Release()
		s.conn.End()
		s.ended <- err
	}
}

func (s *stressed) step(t *Turn) error {
	ok, err := s.r.FillNow(t)
	if err != nil {
		return err
	}
	if !ok {
		s.woken.Add(1)
	}
	for {
		var m Message
		ok, err := s.r.Next(&m)
		switch {
		case err != nil:
			return err
		case !ok && s.r.Buffered() > 0 && s.random.IntN(2) == 0: // wait here for the rest of it
			err := s.r.FillIn(t, time.Time{})
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.woken.Add(1)
				return nil
			}
			if err != nil {
				return err
			}
			continue
		case !ok:
			s.r.Rest(t)
			return nil
		}
		if s.random.IntN(8) == 0 {
			t.Block()
			runtime.Gosched()
		}
		if _, err := s.conn.WriteIn(t, m.Data); err != nil {
			return err
		}
	}
}

// message has the connection's number all over it.
func (s *stressed) message(random *rand.Rand) []byte {
	number := binary.BigEndian.AppendUint64(nil, s.id)
	return encode(message{'Q', string(bytes.Repeat(number, 1+random.IntN(1<<random.IntN(16))))})
}

// talk is the other side of s, and the strangers.
func (s *stressed) talk(t *testing.T, random *rand.Rand) {
	defer s.remote.Close()
	_ = s.remote.SetDeadline(time.Now().Add(20 * time.Second))
	stranger := make(chan struct{})
	go func(wakes int) {
		defer close(stranger)
		for range wakes {
			s.conn.Wake()
			_ = s.conn.Alive()
			runtime.Gosched()
		}
	}(random.IntN(20))
	for range random.IntN(6) {
		if !s.exchange(t, random) {
			return
		}
	}
	allowed := s.part(t, random)
	<-stranger
	select {
	case err := <-s.ended:
		for _, one := range allowed {
			if errors.Is(err, one) {
				return
			}
		}
		t.Errorf("a handler ended with %v", err)
	case <-time.After(20 * time.Second):
		t.Error("a handler has not been told of the end")
	}
}

// exchange sends a message in pieces and has it come back.
func (s *stressed) exchange(t *testing.T, random *rand.Rand) bool {
	sent := s.message(random)
	written := make(chan struct{})
	first := 1 + random.IntN(len(sent))
	go func() {
		defer close(written)
		_, _ = s.remote.Write(sent[:first])
		_, _ = s.remote.Write(sent[first:])
	}()
	got := make([]byte, len(sent))
	if n, err := io.ReadFull(s.remote, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("connection %d: %d of %d bytes came back, %v, equal: %v", s.id, n, len(sent), err, bytes.Equal(got, sent))
		return false
	}
	<-written
	return true
}

// part ends the connection in one of many ways, and returns how the handler may learn of it.
func (s *stressed) part(t *testing.T, random *rand.Rand) []error {
	tcp := s.remote.(*net.TCPConn)
	lost := []error{io.EOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}
	switch random.IntN(6) {
	case 0:
		_ = tcp.Close()
		return []error{io.EOF, syscall.ECONNRESET}
	case 1: // half of it, which is answered
		sent := s.message(random)
		go func() {
			_, _ = tcp.Write(sent)
			_ = tcp.CloseWrite()
		}()
		if got, err := io.ReadAll(tcp); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("after half a close: %v, and %d of %d bytes", err, len(got), len(sent))
		}
		return []error{io.EOF}
	case 2: // a reset, with an answer on its way
		_, _ = tcp.Write(s.message(random))
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
		return lost
	case 3: // closed here, by somebody else
		_, _ = tcp.Write(s.message(random))
		_ = s.conn.Close()
		return lost
	case 4: // closed here in the midst of a message
		m := s.message(random)
		_, _ = tcp.Write(m[:1+random.IntN(len(m))])
		runtime.Gosched()
		_ = s.conn.Close()
		return lost
	}
	// Closed while a write waits for a reader that does not read.
	go func() { _, _ = tcp.Write(encode(message{'d', string(make([]byte, 1<<20))})) }()
	for range random.IntN(2000) {
		runtime.Gosched()
	}
	_ = s.conn.Close()
	return lost
}
