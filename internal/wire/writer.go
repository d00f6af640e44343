package wire

// passThrough is the size from which copying a message costs more than the
// write it may save.
const passThrough = 4 << 10

// Writer gathers messages for a Conn so that they leave in as few writes as
// possible. It owns a buffer only between the first Append and Flush. One
// goroutine at a time.
type Writer struct {
	conn *Conn
	buf  *[]byte
	n    int
}

// SetConn directs the Writer to c. The Writer must be empty.
func (w *Writer) SetConn(c *Conn) { w.conn = c }

// Len is the number of bytes gathered.
func (w *Writer) Len() int { return w.n }

// Append adds p, which is copied or written before Append returns. t is the Turn
// within which it is called, as for Flush; nil on a goroutine that may wait.
func (w *Writer) Append(t *Turn, p []byte) error {
	if len(p) >= passThrough {
		if err := w.Flush(t); err != nil {
			return err
		}
		_, err := w.conn.WriteIn(t, p)
		return err
	}
	if w.buf != nil && w.n+len(p) > len(*w.buf) {
		if err := w.Flush(t); err != nil {
			return err
		}
	}
	if w.buf == nil {
		w.buf = t.borrow()
	}
	w.n += copy((*w.buf)[w.n:], p)
	return nil
}

// MaxRoom is the most that Room gives.
const MaxRoom = passThrough

// Room returns space for a message of n bytes that the caller encodes in place,
// n at most MaxRoom; it counts as appended.
func (w *Writer) Room(t *Turn, n int) ([]byte, error) {
	if w.buf != nil && w.n+n > len(*w.buf) {
		if err := w.Flush(t); err != nil {
			return nil, err
		}
	}
	if w.buf == nil {
		w.buf = t.borrow()
	}
	p := (*w.buf)[w.n : w.n+n : w.n+n]
	w.n += n
	return p, nil
}

// Flush writes what was gathered and gives the buffer back.
func (w *Writer) Flush(t *Turn) error {
	if w.buf == nil {
		return nil
	}
	_, err := w.conn.WriteIn(t, (*w.buf)[:w.n])
	t.giveBack(w.buf)
	w.buf, w.n = nil, 0
	return err
}

// Discard forgets what was gathered.
func (w *Writer) Discard() {
	if w.buf != nil {
		giveBack(w.buf)
		w.buf, w.n = nil, 0
	}
}
