package dump

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/feed"
)

// side tells which end of a copy went wrong.
type side struct {
	server string
	err    error
}

func (s *side) Error() string { return s.server + ": " + feed.Cause(s.err) }
func (s *side) Unwrap() error { return s.err }

// pump carries one COPY from a server to another, and returns how many rows it was. It adds
// the bytes of the data to moved as they go on. After an error both lines are of no use any
// more.
func pump(from, to *line, out, in string, moved *atomic.Int64) (rows int64, err error) {
	if err := from.begin(out, 'H'); err != nil {
		return 0, &side{from.server, err}
	}
	if err := to.begin(in, 'G'); err != nil {
		return 0, &side{to.server, err}
	}
	// What the receiving server says comes at the end, or when it has refused a row: then it
	// drops what follows, and the source's line is broken off so that nothing follows.
	answered := make(chan error, 1)
	var tag string
	go func() {
		var err error
		if tag, err = to.finish(); err != nil {
			_ = from.conn.SetDeadline(time.Unix(1, 0))
		}
		answered <- err
	}()
	c := carriage{from: from, to: to, moved: moved}
	forwarded := c.carry()
	if forwarded != nil {
		_ = to.conn.SetDeadline(time.Now().Add(5 * time.Second)) // for the answer to our CopyFail
	}
	refused := <-answered
	var pg *pgconn.PgError
	switch {
	// 57014 answers our CopyFail, unless it came first and broke the source's line off.
	case errors.As(refused, &pg) && (pg.Code != "57014" || errors.Is(forwarded, os.ErrDeadlineExceeded)):
		return 0, &side{to.server, refused}
	case forwarded != nil:
		return 0, forwarded
	case refused != nil:
		return 0, &side{to.server, refused}
	}
	return strconv.ParseInt(strings.TrimPrefix(tag, "COPY "), 10, 64)
}

// A carriage carries the data of a COPY that both servers have begun. The source sends each
// row as a message of its own; they go on in few large ones.
type carriage struct {
	from, to *line
	moved    *atomic.Int64
	left     int // bytes of the message that has begun
}

// carry brings all of it, and ends the receiving server's COPY.
func (c *carriage) carry() error {
	for {
		need := headerSize
		if c.left > 0 {
			need = 1
		}
		if _, err := c.from.in.Peek(need); err != nil {
			return c.fail(err)
		}
		have, _ := c.from.in.Peek(c.from.in.Buffered())
		used, err := c.take(have)
		if err != nil {
			return err
		}
		_, _ = c.from.in.Discard(used)
		if used == len(have) || len(have)-used < headerSize {
			continue
		}
		kind := have[used]
		if kind == 'c' {
			return c.end()
		}
		if _, body, err := c.from.next(); err != nil {
			return c.fail(err)
		} else if kind == 'E' {
			return c.fail(serverError(body))
		}
	}
}

// take carries messages of data, or what is there of them, up to one that is none or to a
// header that is not there as a whole. It returns how many bytes that was.
func (c *carriage) take(have []byte) (used int, err error) {
	for {
		if c.left == 0 {
			if len(have)-used < headerSize || have[used] != 'd' {
				return used, nil
			}
			if c.left = int(binary.BigEndian.Uint32(have[used+1:])) - 4; c.left < 0 {
				return used, c.fail(errors.New("a message has no length"))
			}
			used += headerSize
		}
		n := min(c.left, len(have)-used)
		if err := c.to.gather(have[used:used+n], c.moved); err != nil {
			return used, err
		}
		used, c.left = used+n, c.left-n
		if c.left > 0 {
			return used, nil
		}
	}
}

func (c *carriage) end() error {
	if err := c.to.flush(c.moved); err != nil {
		return err
	}
	if _, err := c.from.finish(); err != nil {
		return c.fail(err)
	}
	done, _ := (&pgproto3.CopyDone{}).Encode(nil)
	if _, err := c.to.conn.Write(done); err != nil {
		return &side{c.to.server, err}
	}
	return nil
}

// fail ends the receiving server's COPY for what went wrong at the source.
func (c *carriage) fail(err error) error {
	message, _ := (&pgproto3.CopyFail{Message: "the source failed"}).Encode(nil) // its text is short
	_, _ = c.to.conn.Write(message)
	return &side{c.from.server, err}
}
