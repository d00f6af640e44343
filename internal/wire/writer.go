package wire

// passThrough is the size from which copying a message costs more than the
// write it may save.
const passThrough = 4 << 10

// Writer gathers messages for a Conn so that they leave in as few writes as
// possible. It owns a buffer only between the first Append and Flush. One
// goroutine at a time.
type Writer struct {
	conn  *Conn
	owned *[]byte // what buf was borrowed as
	buf   []byte  // nil where there is none
	n     int
	// Passed and not copied: what lies between from and to in the buffer of src. It
	// comes after what buf has. src is nil where there is nothing.
	src      *Reader
	from, to int
}

// SetConn directs the Writer to c. The Writer must be empty.
func (w *Writer) SetConn(c *Conn) { w.conn = c }

// Len is the number of bytes gathered.
func (w *Writer) Len() int { return w.n + w.to - w.from }

// Pass is Append for a message, or a piece of one, that r has just returned and that stays
// in its buffer until Flush or Discard: r must not be filled before. Those that come one
// after the other leave from there. Any other message is copied.
func (w *Writer) Pass(t *Turn, r *Reader, m *Message) error {
	from := r.pos - len(m.Data)
	if from < 0 || &r.buf[from] != &m.Data[0] {
		return w.Append(t, m.Data)
	}
	if w.src != r || w.to != from {
		if err := w.keep(t); err != nil {
			return err
		}
		w.src, w.from = r, from
	}
	w.to = r.pos
	return nil
}

// PassNext is Pass for a message that lies right behind what has been passed; it reports false,
// and has done nothing, where m does not. It is small enough to be compiled into its caller.
func (w *Writer) PassNext(r *Reader, m *Message) bool {
	if w.src != r || w.to != r.pos-len(m.Data) || &r.buf[w.to] != &m.Data[0] {
		return false
	}
	w.to = r.pos
	return true
}

// keep copies what has been passed.
func (w *Writer) keep(t *Turn) error {
	if w.src == nil {
		return nil
	}
	p := w.src.buf[w.from:w.to]
	w.src, w.from, w.to = nil, 0, 0
	return w.Append(t, p)
}

// Append adds p, which is copied or written before Append returns. t is the Turn
// within which it is called, as for Flush; nil on a goroutine that may wait.
func (w *Writer) Append(t *Turn, p []byte) error {
	if len(p) < passThrough && len(p) <= len(w.buf)-w.n && w.src == nil {
		w.n += copy(w.buf[w.n:], p)
		return nil
	}
	return w.appendRare(t, p)
}

// appendRare is Append where the buffer has no room, or there is none, or something has
// been passed.
func (w *Writer) appendRare(t *Turn, p []byte) error {
	if w.src != nil {
		if err := w.keep(t); err != nil {
			return err
		}
		return w.Append(t, p)
	}
	if len(p) >= passThrough {
		if err := w.Flush(t); err != nil {
			return err
		}
		_, err := w.conn.WriteIn(t, p)
		return err
	}
	if err := w.Flush(t); err != nil {
		return err
	}
	w.owned = t.borrow()
	w.buf = *w.owned
	w.n = copy(w.buf, p)
	return nil
}

// MaxRoom is the most that Room gives.
const MaxRoom = passThrough

// Room returns space for a message of n bytes that the caller encodes in place,
// n at most MaxRoom; it counts as appended.
func (w *Writer) Room(t *Turn, n int) ([]byte, error) {
	if w.src != nil {
		if err := w.keep(t); err != nil {
			return nil, err
		}
	}
	if n > len(w.buf)-w.n {
		if err := w.Flush(t); err != nil {
			return nil, err
		}
		w.owned = t.borrow()
		w.buf = *w.owned
	}
	p := w.buf[w.n : w.n+n : w.n+n]
	w.n += n
	return p, nil
}

// Flush writes what was gathered and gives the buffer back.
func (w *Writer) Flush(t *Turn) error {
	if w.buf == nil {
		if w.src == nil {
			return nil
		}
		p := w.src.buf[w.from:w.to]
		w.src, w.from, w.to = nil, 0, 0
		_, err := w.conn.WriteIn(t, p)
		return err
	}
	if w.src != nil {
		if p := w.src.buf[w.from:w.to]; len(p) <= len(w.buf)-w.n {
			w.n += copy(w.buf[w.n:], p)
			w.src, w.from, w.to = nil, 0, 0
		} else if err := w.keep(t); err != nil || w.buf == nil { // nil: that was large, and has been written
			return err
		}
	}
	_, err := w.conn.WriteIn(t, w.buf[:w.n])
	t.giveBack(w.owned)
	w.owned, w.buf, w.n = nil, nil, 0
	return err
}

// Discard forgets what was gathered.
func (w *Writer) Discard() {
	w.src, w.from, w.to = nil, 0, 0
	if w.buf != nil {
		giveBack(w.owned)
		w.owned, w.buf, w.n = nil, nil, 0
	}
}
