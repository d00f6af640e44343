package dump

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/feed"
)

// A line is a bare connection to a server, for simple queries and COPY. pgconn hands a
// caller every row by itself; here rows stay bytes, and go on in few large messages.
type line struct {
	server string
	conn   net.Conn
	in     *bufio.Reader
	out    []byte // a message being gathered; the first bytes are its header
	stop   func() bool
}

const (
	headerSize = 5
	// readSize and chunkSize are what a line holds of a stream, whatever its rows measure.
	readSize  = 256 << 10
	chunkSize = 128 << 10
)

// openLine connects, sets what is given, and takes the connection over. The end of ctx
// breaks it.
func openLine(ctx context.Context, server *feed.Server, setup string) (*line, error) {
	conn, err := server.Connect(ctx)
	if err != nil {
		return nil, err
	}
	pg := conn.PgConn()
	if setup != "" {
		if _, err := pg.Exec(ctx, setup).ReadAll(); err != nil {
			return nil, errors.Join(&feed.Error{Server: server.Name, Doing: "prepare a copy", Err: err}, closeConn(conn))
		}
	}
	if err := pg.SyncConn(ctx); err != nil {
		return nil, errors.Join(&feed.Error{Server: server.Name, Doing: "connect", Err: err}, closeConn(conn))
	}
	bare, err := pg.Hijack()
	if err != nil {
		return nil, errors.Join(err, closeConn(conn))
	}
	l := &line{server: server.Name, conn: bare.Conn, in: bufio.NewReaderSize(bare.Conn, readSize), out: make([]byte, headerSize, headerSize+chunkSize)}
	l.stop = context.AfterFunc(ctx, func() { _ = bare.Conn.SetDeadline(time.Unix(1, 0)) })
	return l, nil
}

// closeConn closes a connection whose server may be gone.
func closeConn(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
	return nil
}

func (l *line) close() {
	l.stop()
	_ = l.conn.Close()
}

// send sends a simple query.
func (l *line) send(sql string) error {
	message, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err == nil {
		_, err = l.conn.Write(message)
	}
	return err
}

// exec carries out a simple query that copies nothing, and returns the last command's tag.
func (l *line) exec(sql string) (tag string, err error) {
	if err := l.send(sql); err != nil {
		return "", err
	}
	return l.finish()
}

// finish reads to the end of a query.
func (l *line) finish() (tag string, err error) {
	for {
		kind, body, rerr := l.next()
		if rerr != nil {
			return "", errors.Join(err, rerr)
		}
		switch kind {
		case 'C':
			tag = strings.TrimSuffix(string(body), "\x00")
		case 'E':
			err = serverError(body)
		case 'Z':
			return tag, err
		}
	}
}

// next reads a message that is no row.
func (l *line) next() (kind byte, body []byte, err error) {
	var header [headerSize]byte
	if _, err = io.ReadFull(l.in, header[:]); err != nil {
		return 0, nil, err
	}
	const most = 1 << 20
	n := int(binary.BigEndian.Uint32(header[1:])) - 4
	if n < 0 || n > most {
		return 0, nil, fmt.Errorf("a message of %d bytes was not expected", n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(l.in, body)
	return header[0], body, err
}

func serverError(body []byte) error {
	var message pgproto3.ErrorResponse
	if err := message.Decode(body); err != nil {
		return err
	}
	return pgconn.ErrorResponseToPgError(&message)
}

// begin sends a COPY and waits until the server is ready to send or to take its data: kind
// is 'H' or 'G'.
func (l *line) begin(sql string, want byte) error {
	if err := l.send(sql); err != nil {
		return err
	}
	for {
		kind, body, err := l.next()
		switch {
		case err != nil:
			return err
		case kind == want:
			return nil
		case kind == 'E':
			_, err := l.finish()
			return errors.Join(serverError(body), err)
		case kind == 'Z':
			return fmt.Errorf("the server copies nothing")
		}
	}
}

// gather adds data to the message that is gathered, which is sent whenever it is full.
func (l *line) gather(data []byte, moved *atomic.Int64) error {
	for len(data) > 0 {
		n := min(len(data), cap(l.out)-len(l.out))
		l.out, data = append(l.out, data[:n]...), data[n:]
		if len(l.out) == cap(l.out) {
			if err := l.flush(moved); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush sends the gathered bytes as one message, and adds them to moved.
func (l *line) flush(moved *atomic.Int64) error {
	if len(l.out) == headerSize {
		return nil
	}
	l.out[0] = 'd'
	binary.BigEndian.PutUint32(l.out[1:], uint32(len(l.out)-1))
	moved.Add(int64(len(l.out) - headerSize))
	_, err := l.conn.Write(l.out)
	l.out = l.out[:headerSize]
	if err != nil {
		return &side{l.server, err}
	}
	return nil
}
