package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// headerSize is a type byte and a length of four bytes that counts itself.
const headerSize = 5

// MaxWhole is the size up to which a message of a type that must be seen whole
// is gathered before Next returns it. Larger ones arrive in pieces.
const MaxWhole = largeBuffer

// ErrFraming is returned for a message whose length is impossible. The stream
// cannot be understood after it.
var ErrFraming = errors.New("invalid message length")

// Message is a message, or a piece of one that is larger than the buffer. Its
// slices point into the Reader's buffer and are valid until the next call of Fill.
type Message struct {
	Type byte
	// Data is the message as it stands on the wire, header included; of a piece
	// after the first only the bytes of that piece.
	Data []byte
	// First is set on a whole message and on the first piece.
	First bool
	// Rest counts the bytes of the message that are still to come; 0 on a whole
	// message and on the last piece.
	Rest int
}

// Body returns Data without the header. Only for messages with First set.
func (m *Message) Body() []byte { return m.Data[headerSize:] }

// Whole tells whether m is a complete message.
func (m *Message) Whole() bool { return m.First && m.Rest == 0 }

// Types is a set of message types.
type Types [256]bool

// TypesOf makes a set of the types in s.
func TypesOf(s string) *Types {
	var t Types
	for i := range len(s) {
		t[s[i]] = true
	}
	return &t
}

// Reader walks the messages that arrive on a Conn. Call Next until it reports
// false, then Fill. One goroutine at a time.
type Reader struct {
	conn  *Conn
	whole *Types
	limit int
	owned *[]byte // what buf was borrowed as
	buf   []byte  // nil where there is none
	pos   int     // the next byte to walk
	end   int     // the end of what was received
	rest  int     // bytes of the current message that have not been returned
	typ   byte
	bulk  int // how often in a row Fill has brought a small buffer's worth
	head  [headerSize]byte
}

// NewReader returns a Reader on c that gathers messages of the types in whole up
// to MaxWhole, and refuses messages longer than limit bytes.
func NewReader(c *Conn, whole *Types, limit int) *Reader {
	return &Reader{conn: c, whole: whole, limit: limit}
}

// Reset makes r read from c, which takes the place of a Conn from which nothing
// is buffered (after a TLS handshake).
func (r *Reader) Reset(c *Conn) { r.conn = c }

// Buffered is the number of bytes received and not yet walked.
func (r *Reader) Buffered() int { return r.end - r.pos }

// Unread returns the bytes received and not yet walked; valid until the next Fill.
func (r *Reader) Unread() []byte { return r.buf[r.pos:r.end] }

// Pos and Span give access to adjacent messages as one run of bytes: note Pos
// before and after calling Next, and Span returns what lies between. Both are
// valid until the next Fill.
func (r *Reader) Pos() int { return r.pos }

// Skip passes over n bytes of Unread that are whole messages, as SizeWhole has found
// them; not while MidMessage.
func (r *Reader) Skip(n int) { r.pos += n }

// SizeWhole is the size of the message at the beginning of p, 0 where p does not have all of
// it or its length is impossible. Nothing is said of a Reader's limit, which is for those that
// read what strangers send.
func SizeWhole(p []byte) int {
	if len(p) < headerSize {
		return 0
	}
	length := uint(binary.BigEndian.Uint32(p[1:]))
	if length-4 >= uint(len(p))-4 {
		return 0
	}
	return int(length) + 1
}

// Span returns the bytes between two positions.
func (r *Reader) Span(from, to int) []byte { return r.buf[from:to] }

// Release gives the buffer back with whatever is in it. For a Reader that will
// not be used again; Fill does it by itself on an idle connection.
func (r *Reader) Release() {
	if r.buf != nil {
		giveBack(r.owned)
		r.own(nil)
	}
	r.pos, r.end = 0, 0
}

// own makes b the buffer.
func (r *Reader) own(b *[]byte) {
	r.owned, r.buf = b, nil
	if b != nil {
		r.buf = *b
	}
}

// Next puts the next message, or piece of a message, in the buffer into m. It reports
// false when more bytes are needed, and an error wrapping ErrFraming when the
// length of the message is impossible or beyond the limit.
func (r *Reader) Next(m *Message) (ok bool, err error) {
	data := r.buf[r.pos:r.end]
	if r.rest == 0 && len(data) >= headerSize {
		length := uint(binary.BigEndian.Uint32(data[1:]))
		// All at once: it is 4 or more, and the message is in the buffer and in bounds.
		if length-4 < uint(min(len(data), r.limit))-4 {
			size := length + 1
			r.pos += int(size)
			m.Type, m.Data, m.First, m.Rest = data[0], data[:size:size], true, 0
			return true, nil
		}
	}
	if r.rest == 0 && len(data) == 0 {
		return false, nil
	}
	*m = Message{}
	return r.nextRare(m)
}

// nextRare is Next where there is no whole message. m is empty.
func (r *Reader) nextRare(m *Message) (ok bool, err error) {
	if r.rest > 0 {
		return r.piece(m), nil
	}
	avail := r.end - r.pos
	if avail < headerSize {
		return false, nil
	}
	data := r.buf[r.pos:r.end]
	length := binary.BigEndian.Uint32(data[1:])
	if length < 4 || int64(length)+1 > int64(r.limit) {
		return false, fmt.Errorf("%w %d of message type %q", ErrFraming, int32(length), data[0])
	}
	size := int(length) + 1
	if size <= smallBuffer || r.whole[data[0]] && size <= MaxWhole {
		return false, nil
	}
	// Names at the head of a large Bind must be visible in its first piece.
	if avail < smallBuffer/2 {
		return false, nil
	}
	r.typ, r.rest = data[0], size
	m.Type, m.First, m.Data = data[0], true, data
	r.take(m, avail)
	return true, nil
}

// Extend has m, the whole message that Next has returned last, include those of type typ behind
// it which the buffer has and that have at most limit bytes each. They are many where rows
// are copied: each then costs no more than a look at its length.
func (r *Reader) Extend(m *Message, typ byte, limit int) {
	from := r.pos - len(m.Data)
	for rest := r.buf[r.pos:r.end]; len(rest) > 0 && rest[0] == typ; {
		size := SizeWhole(rest)
		if size == 0 || size > limit {
			break
		}
		rest = rest[size:]
		r.pos += size
	}
	m.Data = r.buf[from:r.pos:r.pos]
}

// Back puts m, the message or first piece that Next has returned last, back: Next
// returns it again.
func (r *Reader) Back(m *Message) {
	r.pos -= len(m.Data)
	r.rest = 0
}

// piece puts what the buffer has of the message being passed in pieces into m.
func (r *Reader) piece(m *Message) bool {
	n := min(r.end-r.pos, r.rest)
	if n == 0 {
		return false
	}
	m.Type = r.typ
	m.Data = r.buf[r.pos : r.pos+n : r.pos+n]
	r.take(m, n)
	return true
}

func (r *Reader) take(m *Message, n int) {
	r.pos += n
	r.rest -= n
	m.Rest = r.rest
}

// MidMessage tells whether the stream stands inside a message: pieces of it have
// been returned and others are still to come.
func (r *Reader) MidMessage() bool { return r.rest > 0 }

// Fill waits for more bytes and invalidates what Next returned. Where nothing is
// buffered it owns no buffer while it waits, but in the midst of bulk. Not after
// Conn.Join.
func (r *Reader) Fill() error {
	r.makeRoom()
	var n int
	var err error
	if r.end == 0 && r.bulk == 0 {
		n, err = r.fillParked()
	} else {
		n, err = r.conn.Read(r.room())
	}
	r.took(n)
	return err
}

// fillParked waits with room for a header alone. What follows the header in the
// same TLS record is had by the next call at no cost.
func (r *Reader) fillParked() (int, error) {
	r.Release()
	n, err := r.conn.Read(r.head[:])
	if n > 0 {
		copy(r.room(), r.head[:n])
	}
	return n, err
}

// FillNow takes the bytes that have arrived on a Conn that has joined a Loop, and
// invalidates what Next returned. It reports false where there are none yet. The
// error is io.EOF at the end of the stream, net.ErrClosed after Close.
//
// t is the Turn within which it is called, as for Rest; nil on a goroutine that may wait.
func (r *Reader) FillNow(t *Turn) (bool, error) {
	if r.buf == nil {
		r.own(t.borrow())
	} else {
		r.makeRoom()
	}
	n, ok, err := r.conn.sock.Load().recv(t, r.buf[r.end:])
	r.took(n)
	if r.end == 0 {
		r.Rest(t)
	}
	return ok && err == nil, err
}

// FillIn is Fill on a Conn that has joined a Loop, from within Handler.Ready, with
// a deadline. It blocks t where it has to wait.
func (r *Reader) FillIn(t *Turn, deadline time.Time) error {
	for {
		ok, err := r.FillNow(t)
		if ok || err != nil {
			return err
		}
		if err := r.conn.sock.Load().waitBytes(t, deadline); err != nil {
			return err
		}
	}
}

// Rest gives the buffer back unless it holds bytes, before a pause of unknown length.
func (r *Reader) Rest(t *Turn) {
	if r.pos == r.end && r.buf != nil {
		t.giveBack(r.owned)
		r.owned, r.buf, r.pos, r.end = nil, nil, 0, 0
	}
}

func (r *Reader) room() []byte {
	if r.buf == nil {
		r.own(borrow(smallBuffer))
	}
	return r.buf[r.end:]
}

// took counts the bytes that arrived.
func (r *Reader) took(n int) {
	r.end += n
	if n >= smallBuffer || r.buf != nil && r.end == len(r.buf) {
		r.bulk++
	} else {
		r.bulk = 0
	}
}

// makeRoom moves what is left to the front, into a larger buffer if the message
// at hand needs one or if the connection has kept the small one full.
func (r *Reader) makeRoom() {
	if r.buf == nil {
		return
	}
	left := r.buf[r.pos:r.end]
	size := smallBuffer
	if r.rest == 0 && len(left) >= headerSize {
		size = max(size, min(MaxWhole, int(binary.BigEndian.Uint32(left[1:]))+1))
		if !r.whole[left[0]] {
			size = smallBuffer
		}
	}
	const bulkAfter = 4
	if r.bulk >= bulkAfter {
		size = largeBuffer
	}
	switch have := len(r.buf); {
	case size > have, size < have && len(left) == 0:
		old := r.owned
		r.own(borrow(size))
		copy(r.buf, left)
		giveBack(old)
	default:
		copy(r.buf, left)
	}
	r.pos, r.end = 0, len(left)
}
