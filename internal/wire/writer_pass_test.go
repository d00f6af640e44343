package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// source is a connection that has something to read.
type source struct {
	recorder
	rest []byte
	most int // of one Read
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.most)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Messages that are passed, in pieces and whole, between others that are appended or written
// in place, leave in their order, and nothing is kept beyond a Flush.
func TestWriterPassesInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		for range rapid.IntRange(1, 12).Draw(t, "messages") {
			size := rapid.SampledFrom([]int{0, 1, 40, 900, passThrough, smallBuffer, 3 * smallBuffer}).Draw(t, "size")
			stream = append(stream, encode(message{'Q', string(bytes.Repeat([]byte{byte(len(stream))}, size))})...)
		}
		src, rec := &source{rest: stream, most: rapid.SampledFrom([]int{7, 5000, 1 << 20}).Draw(t, "read")}, &recorder{}
		r := NewReader(NewConn(src), TypesOf(""), 1<<20)
		var w Writer
		w.SetConn(NewConn(rec))
		var want []byte
		add := func(p []byte, err error) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, p...)
		}
		pass := func(m *Message) error {
			if w.PassNext(r, m) {
				return nil
			}
			return w.Pass(nil, r, m)
		}
		for {
			var m Message
			ok, err := r.Next(&m)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				if err := w.Flush(nil); err != nil {
					t.Fatal(err)
				}
				if err := r.Fill(); errors.Is(err, io.EOF) {
					break
				}
				continue
			}
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				own := []byte("appended")
				add(own, w.Append(nil, own))
			case 1:
				room, err := w.Room(nil, 4)
				copy(room, "room")
				add([]byte("room"), err)
			case 2: // it is not in the Reader's buffer
				copied := Message{Type: m.Type, Data: bytes.Clone(m.Data)}
				copied.Data[0] ^= 1
				add(copied.Data, pass(&copied))
				clear(copied.Data)
				continue
			case 3: // it is not passed
				continue
			}
			add(m.Data, pass(&m))
		}
		if got := bytes.Join(rec.writes, nil); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes written, not %d, or others", len(got), len(want))
		}
		if w.owned != nil || w.src != nil || w.Len() != 0 {
			t.Fatal("something is kept")
		}
	})
}

// What lies side by side leaves in one write, from where it is.
func TestWriterPassesInOneWrite(t *testing.T) {
	var stream []byte
	for _, typ := range "PBDES" {
		stream = append(stream, encode(message{byte(typ), "body"})...)
	}
	src, rec := &source{rest: stream, most: len(stream)}, &recorder{}
	r := NewReader(NewConn(src), TypesOf(""), 1<<20)
	for r.Buffered() < len(stream) {
		if err := r.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	var w Writer
	w.SetConn(NewConn(rec))
	var m Message
	for ok, err := r.Next(&m); ok; ok, err = r.Next(&m) {
		if err != nil || w.Pass(nil, r, &m) != nil || w.owned != nil {
			t.Fatal("a buffer was borrowed, or it failed")
		}
	}
	if err := w.Flush(nil); err != nil || len(rec.writes) != 1 || !bytes.Equal(rec.writes[0], stream) {
		t.Errorf("%d writes, %v", len(rec.writes), err)
	}
}
