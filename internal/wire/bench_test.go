package wire

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// relay moves what src sends to dst as a session's two sides do, in runs, until
// the message type until has passed. It must allocate nothing.
func relay(tb testing.TB, src *Reader, dst *Conn, until byte) {
	for {
		start := src.Pos()
		done := false
		for !done {
			var m Message
			ok, err := src.Next(&m)
			if err != nil {
				tb.Fatal(err)
			}
			if !ok {
				break
			}
			done = m.Type == until && m.Rest == 0
		}
		if run := src.Span(start, src.Pos()); len(run) > 0 {
			if _, err := dst.Write(run); err != nil {
				tb.Fatal(err)
			}
		}
		if done {
			return
		}
		if err := src.Fill(); err != nil {
			tb.Fatal(err)
		}
	}
}

// answers are what servers send most: one row, many rows, copy data.
var answers = []struct {
	name   string
	stream []byte
}{
	{"row", answer(1, 40)},
	{"rows", answer(1000, 40)},
	{"copy", answer(1000, 8<<10)},
	{"huge", answer(4, 2<<20)},
}

func answer(rows, size int) []byte {
	out := encode(message{'T', string(make([]byte, 30))})
	for range rows {
		out = append(out, encode(message{'D', string(make([]byte, size))})...)
	}
	out = append(out, encode(message{'C', "SELECT 1\x00"})...)
	return append(out, encode(message{'Z', "I"})...)
}

// harness is a Reader on one connection, a Conn on another, and the far ends.
type harness struct {
	r        *Reader
	dst      *Conn
	from, to net.Conn
}

func newHarness(tb testing.TB) *harness {
	tb.Helper()
	a, from := tcpPair(tb)
	b, to := tcpPair(tb)
	tb.Cleanup(func() { _, _, _, _ = a.Close(), b.Close(), from.Close(), to.Close() })
	return &harness{NewReader(NewConn(a), TypesOf("ENSACZ"), 1<<30), NewConn(b), from, to}
}

func TestRelayingAllocatesNothing(t *testing.T) {
	for _, a := range answers[:2] { // what fits the sockets' buffers, so that one goroutine can do it
		h := newHarness(t)
		got := make([]byte, len(a.stream))
		once := func() {
			if _, err := h.from.Write(a.stream); err != nil {
				t.Fatal(err)
			}
			relay(t, h.r, h.dst, 'Z')
			if _, err := io.ReadFull(h.to, got); err != nil {
				t.Fatal(err)
			}
		}
		once()
		if n := testing.AllocsPerRun(200, once); n != 0 {
			t.Errorf("%s: %v allocations", a.name, n)
		}
		if !bytes.Equal(got, a.stream) {
			t.Errorf("%s: other bytes arrived", a.name)
		}
	}
}

func TestGatheringAllocatesNothing(t *testing.T) {
	h := newHarness(t)
	var w Writer
	w.SetConn(h.dst)
	small, large := make([]byte, 100), make([]byte, passThrough)
	got := make([]byte, 10*len(small)+len(large))
	n := testing.AllocsPerRun(200, func() {
		for range 10 {
			_ = w.Append(nil, small)
		}
		if err := w.Append(nil, large); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(h.to, got); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRelay(b *testing.B) {
	for _, a := range answers {
		b.Run(a.name, func(b *testing.B) {
			h := newHarness(b)
			b.SetBytes(int64(len(a.stream)))
			b.ReportAllocs()
			go func() { // server
				for range b.N {
					if _, err := h.from.Write(a.stream); err != nil {
						return
					}
				}
			}()
			drained := make(chan error, 1)
			go func() { // client
				_, err := io.CopyN(io.Discard, h.to, int64(b.N)*int64(len(a.stream)))
				drained <- err
			}()
			b.ResetTimer()
			for range b.N {
				relay(b, h.r, h.dst, 'Z')
			}
			if err := <-drained; err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkGather(b *testing.B) {
	h := newHarness(b)
	var w Writer
	w.SetConn(h.dst)
	go func() { _, _ = io.Copy(io.Discard, h.to) }()
	p := make([]byte, 40)
	b.ReportAllocs()
	for range b.N {
		for range 4 { // Bind, Describe, Execute, Sync
			_ = w.Append(nil, p)
		}
		if err := w.Flush(nil); err != nil {
			b.Fatal(err)
		}
	}
}
