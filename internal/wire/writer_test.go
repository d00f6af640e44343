package wire

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"time"
)

// recorder is a connection that keeps each write by itself.
type recorder struct {
	net.Conn
	writes [][]byte
	err    error
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.writes = append(r.writes, bytes.Clone(p))
	return len(p), nil
}

func (r *recorder) sizes() []int {
	var out []int
	for _, w := range r.writes {
		out = append(out, len(w))
	}
	return out
}

func TestWriterGathersSmallAndPassesLargeMessages(t *testing.T) {
	for name, c := range map[string]struct{ appended, written []int }{
		"nothing":                       {nil, nil},
		"many small":                    {slices.Repeat([]int{10}, 100), []int{1000}},
		"large alone":                   {[]int{passThrough}, []int{passThrough}},
		"large after small":             {[]int{10, passThrough, 10}, []int{10, passThrough, 10}},
		"full buffer":                   {slices.Repeat([]int{passThrough - 1}, 5), []int{4 * (passThrough - 1), passThrough - 1}},
		"exactly the buffer and a byte": {slices.Concat(slices.Repeat([]int{1 << 10}, 16), []int{1}), []int{smallBuffer, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{}
			var w Writer
			w.SetConn(NewConn(rec))
			var want []byte
			for i, n := range c.appended {
				p := bytes.Repeat([]byte{byte(i)}, n)
				want = append(want, p...)
				if err := w.Append(nil, p); err != nil {
					t.Fatal(err)
				}
				clear(p) // Append must be done with it
			}
			if err := w.Flush(nil); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(rec.sizes(), c.written) {
				t.Errorf("writes of %v bytes, not %v", rec.sizes(), c.written)
			}
			if !bytes.Equal(bytes.Join(rec.writes, nil), want) {
				t.Error("other bytes were written")
			}
			if w.buf != nil || w.Len() != 0 {
				t.Error("a flushed writer holds a buffer")
			}
		})
	}
}

func TestWriterRoomIsWrittenInOrder(t *testing.T) {
	rec := &recorder{}
	var w Writer
	w.SetConn(NewConn(rec))
	var want []byte
	for i := range 2000 {
		p := bytes.Repeat([]byte{byte(i)}, i%50)
		want = append(want, p...)
		if i%2 == 0 {
			if err := w.Append(nil, p); err != nil {
				t.Fatal(err)
			}
			continue
		}
		room, err := w.Room(nil, len(p))
		if err != nil || len(room) != len(p) || cap(room) != len(p) {
			t.Fatal(len(room), cap(room), err)
		}
		copy(room, p)
	}
	if err := w.Flush(nil); err != nil {
		t.Fatal(err)
	}
	if got := bytes.Join(rec.writes, nil); !bytes.Equal(got, want) {
		t.Error("other bytes were written")
	}
}

func TestFailedWriteLeavesNoBuffer(t *testing.T) {
	rec := &recorder{err: net.ErrClosed}
	var w Writer
	w.SetConn(NewConn(rec))
	if err := w.Append(nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(nil); err == nil {
		t.Fatal("no error")
	}
	if w.buf != nil || w.Len() != 0 {
		t.Error("a buffer is left")
	}
	rec.err = nil
	if err := w.Flush(nil); err != nil || len(rec.writes) != 0 {
		t.Error("what failed was written again")
	}
}

// A write that the kernel takes in parts goes on where it stopped, and a peer
// that does not read holds it up only until the deadline.
func TestLargeWriteWaitsForRoom(t *testing.T) {
	for name, pair := range transports {
		t.Run(name, func(t *testing.T) {
			local, remote := pair(t)
			defer local.Close()
			defer remote.Close()
			conn := NewConn(local)
			sent := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18) // 4 MB
			written := make(chan error, 1)
			go func() {
				_, err := conn.Write(sent)
				written <- err
			}()
			got := make([]byte, len(sent))
			for n := 0; n < len(got); {
				m, err := remote.Read(got[n:min(len(got), n+100_000)])
				if err != nil {
					t.Fatal(err)
				}
				n += m
			}
			if err := <-written; err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%v, or other bytes arrived", err)
			}
			go func() {
				_, err := conn.Write(bytes.Repeat(sent, 16)) // more than sockets hold
				written <- err
			}()
			if err := conn.SetWriteDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := <-written; err == nil {
				t.Error("a write of 64 MB that nobody reads ended well")
			}
		})
	}
}

func TestCloseEndsReadAndWrite(t *testing.T) {
	for name, pair := range transports {
		t.Run(name, func(t *testing.T) {
			local, remote := pair(t)
			defer remote.Close()
			conn := NewConn(local)
			ended := make(chan error, 2)
			go func() {
				_, err := conn.Read(make([]byte, 10))
				ended <- err
			}()
			go func() {
				_, err := conn.Write(make([]byte, 8<<20))
				ended <- err
			}()
			if err := conn.Close(); err != nil && name != "tls" { // TLS may be unable to say goodbye
				t.Fatal(err)
			}
			for range 2 {
				if err := <-ended; err == nil {
					t.Error("a call on a closed connection ended well")
				}
			}
		})
	}
}
