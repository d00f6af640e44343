package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// transferPatience bounds one transfer.
const transferPatience = 2 * time.Minute

// transfer is a client that moves much data in one statement at little cost of its own:
// what it gets it counts and forgets, what it sends it has ready.
type transfer struct {
	conn net.Conn
	buf  []byte
	// skip is how much of the current message is still to come.
	skip int64
	// ignore ends the watch for the end of the context.
	ignore func() bool
}

// transferBuffer is large, so that the client makes few system calls.
const transferBuffer = 256 << 10

// openTransfer logs in. The end of ctx cuts the transfer off.
func openTransfer(ctx context.Context, e *endpoint) (*transfer, error) {
	conn, err := logIn(ctx, e.port)
	if err != nil {
		return nil, err
	}
	t := &transfer{conn: conn, buf: make([]byte, transferBuffer)}
	t.ignore = context.AfterFunc(ctx, func() { _ = conn.Close() }) // so that reads and writes fail
	return t, conn.SetDeadline(time.Now().Add(transferPatience))
}

func (t *transfer) close() {
	t.ignore()
	_ = t.conn.Close() // has nothing more to say
}

// fetch runs a statement and returns the number of bytes of the answer, all messages
// with their heads.
func (t *transfer) fetch(sql string) (int64, error) {
	if err := t.query(sql); err != nil {
		return 0, err
	}
	return t.drain('Z')
}

// send runs a COPY FROM STDIN and sends it rows until it has sent that many bytes.
// It returns the number of bytes sent, all messages with their heads.
func (t *transfer) send(sql string, rows []byte, size int64) (int64, error) {
	if err := t.query(sql); err != nil {
		return 0, err
	}
	if _, err := t.drain('G'); err != nil {
		return 0, err
	}
	frames := copyFrames(rows)
	sent := int64(0)
	for sent < size {
		n, err := t.conn.Write(frames)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	if _, err := t.conn.Write([]byte{'c', 0, 0, 0, 4}); err != nil {
		return sent, err
	}
	_, err := t.drain('Z')
	return sent, err
}

// copyFrames cuts rows into messages of the size that psql uses, as many as make one
// write worth while.
func copyFrames(rows []byte) []byte {
	const message = 8 << 10
	data := bytes.Repeat(rows, 1+transferBuffer/len(rows))
	var out []byte
	for len(data) > 0 {
		n := min(message, len(data))
		out = append(out, 'd')
		out = binary.BigEndian.AppendUint32(out, uint32(4+n))
		out = append(out, data[:n]...)
		data = data[n:]
	}
	return out
}

func (t *transfer) query(sql string) error {
	packet, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return err
	}
	_, err = t.conn.Write(packet)
	return err
}

// drain reads and counts up to and with the first message of a type, or fails with
// the error that the server reports before it.
func (t *transfer) drain(until byte) (int64, error) {
	var count int64
	held := 0 // bytes of a head that was cut
	for {
		n, err := t.conn.Read(t.buf[held:])
		if err != nil {
			return count, err
		}
		count += int64(n)
		data := t.buf[:held+n]
		for held = 0; ; {
			step := min(t.skip, int64(len(data)))
			data, t.skip = data[step:], t.skip-step
			if len(data) < 5 {
				held = copy(t.buf, data)
				break
			}
			kind, length := data[0], 1+int64(binary.BigEndian.Uint32(data[1:]))
			if kind != until && kind != 'E' {
				t.skip = length
				continue
			}
			if int64(len(data)) < length {
				held = copy(t.buf, data)
				break
			}
			if kind == 'E' {
				return count, serverError(data[:length])
			}
			if rest := data[length:]; len(rest) > 0 {
				return count, fmt.Errorf("something follows the end of the answer: %q", rest)
			}
			return count, nil
		}
	}
}

// serverError is the message of an ErrorResponse.
func serverError(data []byte) error {
	for _, field := range bytes.Split(data[5:], []byte{0}) {
		if len(field) > 0 && field[0] == 'M' {
			return errors.New(string(field[1:]))
		}
	}
	return errors.New("the server reports an error")
}
