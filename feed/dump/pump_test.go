package dump

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a line to a server that says what it is given and ends there.
func scripted(t *testing.T, says []byte) *line {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	go func() {
		_, _ = there.Read(make([]byte, 1024)) // the query
		_, _ = there.Write(says)
		_ = there.Close()
	}()
	return &line{server: "primary", conn: here, in: bufio.NewReaderSize(here, readSize), out: make([]byte, headerSize, headerSize+chunkSize), stop: func() bool { return true }}
}

func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

func TestDataThatIsBrokenEndsTheCopy(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.replica, "CREATE TABLE a (c char(90))")
	row := string(copyOf([][][]byte{{[]byte("x   ")}}))
	begin := message('H', "\x01\x00\x01\x00\x01")
	for name, c := range map[string]struct{ data, want string }{
		"no length":        {"d\x00\x00\x00\x03", "primary: a message has no length"},
		"a connection end": {string(message('d', row)), "primary: EOF"},
		"an error":         {string(message('d', row)) + string(message('E', "SERROR\x00CXX000\x00Mtorn\x00\x00")) + string(message('Z', "I")), "primary: torn"},
	} {
		t.Run(name, func(t *testing.T) {
			to, err := openLine(context.Background(), b.Target, "")
			if err != nil {
				t.Fatal(err)
			}
			defer to.close()
			var moved atomic.Int64
			_, err = pump(scripted(t, append(begin, c.data...)), to, "COPY", "COPY public.a FROM STDIN (FORMAT binary)", &moved)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if got := value(t, b.replica, "SELECT count(*) FROM a"); got != "0" {
				t.Errorf("%s rows", got)
			}
		})
	}
}

// A row whose parts come in messages of their own is still a row.
func TestARowInManyMessagesIsCarried(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.replica, "CREATE TABLE a (c char(90))")
	data := string(message('H', "\x01\x00\x01\x00\x01"))
	sent := copyOf([][][]byte{{[]byte("x   ")}, {nil}})
	for _, one := range sent {
		data += string(message('d', string([]byte{one}))) + string(message('N', "SNOTICE\x00\x00"))
	}
	data += string(message('c', "")) + string(message('C', "COPY 2\x00")) + string(message('Z', "I"))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	to, err := openLine(ctx, b.Target, "")
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	var moved atomic.Int64
	if rows, err := pump(scripted(t, []byte(data)), to, "COPY", "COPY public.a FROM STDIN (FORMAT binary)", &moved); err != nil || rows != 2 || int(moved.Load()) != len(sent) {
		t.Fatalf("%d rows and %d bytes of %d, %v", rows, moved.Load(), len(sent), err)
	}
	if got := value(t, b.replica, "SELECT count(c) || ' ' || count(*) || ' ' || max(octet_length(c)) FROM a WHERE c = 'x' OR c IS NULL"); got != "1 2 90" {
		t.Errorf("%q", got)
	}
}

// The answer to a copy that was given up for the source's error has the code of one that somebody
// has cancelled.
func TestACopyThatTheReplicaCancelsIsTheReplicasError(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.replica, "CREATE TABLE a (id bigint)")
	from, err := openLine(context.Background(), b.Run.Primary, "")
	if err != nil {
		t.Fatal(err)
	}
	defer from.close()
	to, err := openLine(context.Background(), b.Target, "SET statement_timeout = '100ms'")
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	_, err = pump(from, to, "COPY (SELECT generate_series(1, 1000000000000)) TO STDOUT (FORMAT binary)", "COPY public.a FROM STDIN (FORMAT binary)", new(atomic.Int64))
	if at := (*side)(nil); !errors.As(err, &at) || at.server != b.Target.Name || !strings.Contains(err.Error(), "statement timeout") {
		t.Errorf("%v", err)
	}
}

// copyOf is rows as a COPY in binary form.
func copyOf(rows [][][]byte) []byte {
	data := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	for _, row := range rows {
		data = binary.BigEndian.AppendUint16(data, uint16(len(row)))
		for _, value := range row {
			size := uint32(len(value))
			if value == nil {
				size = 1<<32 - 1
			}
			data = append(binary.BigEndian.AppendUint32(data, size), value...)
		}
	}
	return append(data, 0xff, 0xff)
}
