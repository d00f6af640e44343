package dump

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// rowsOf decodes the data of a COPY in binary form, all of it at once.
func rowsOf(data []byte, columns int) (extension []byte, rows [][][]byte, err error) {
	broken := errors.New("broken")
	cut := func(n uint32) (part []byte) {
		if err != nil || n > 1<<30 || uint64(len(data)) < uint64(n) {
			err = broken
			return nil
		}
		part, data = data[:n], data[n:]
		return part
	}
	number := func() uint32 {
		if part := cut(4); err == nil {
			return binary.BigEndian.Uint32(part)
		}
		return 0
	}
	if string(cut(11)) != "PGCOPY\n\xff\r\n\x00" || number()>>16 != 0 {
		return nil, nil, broken
	}
	extension = cut(number())
	for err == nil {
		part := cut(2)
		if err != nil {
			break
		}
		if string(part) == "\xff\xff" {
			if len(data) > 0 {
				err = broken
			}
			return extension, rows, err
		}
		if int(binary.BigEndian.Uint16(part)) != columns {
			return nil, nil, broken
		}
		var row [][]byte
		for range columns {
			if size := number(); size == 1<<32-1 {
				row = append(row, nil)
			} else {
				row = append(row, append([]byte{}, cut(size)...))
			}
		}
		rows = append(rows, row)
	}
	return nil, nil, err
}

// copyOf is the opposite of rowsOf.
func copyOf(extension []byte, rows [][][]byte) []byte {
	data := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00")
	data = binary.BigEndian.AppendUint32(data, uint32(len(extension)))
	data = append(data, extension...)
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

// FuzzUnpadding compares with a decoder that sees all at once, whatever the pieces are that
// the data comes in.
func FuzzUnpadding(f *testing.F) {
	rows := [][][]byte{
		{[]byte("id"), []byte("value   "), nil},
		{nil, nil, nil},
		{{}, []byte("        "), []byte("  ")},
		{[]byte("  "), []byte("12345678901  "), {0x20}},
		{nil, {}, nil},
		{nil, bytes.Repeat([]byte(" "), 300), nil},
		{nil, append([]byte("x"), bytes.Repeat([]byte(" "), longestBlank)...), nil},
		{nil, append([]byte("x"), bytes.Repeat([]byte(" "), longestBlank-1)...), nil},
	}
	whole := copyOf([]byte("more"), rows)
	for _, pieces := range [][]byte{{255}, {1}, {3, 7, 30}, {0}} {
		f.Add(whole, pieces)
		f.Add(whole[:len(whole)-1], pieces)
		f.Add(append(whole, 0), pieces)
		f.Add(append(copyOf(nil, rows[:1]), copyOf(nil, [][][]byte{{{}}})...), pieces)
	}
	f.Add(copyOf(nil, [][][]byte{{nil, nil}}), []byte{255})
	f.Fuzz(func(t *testing.T, data, pieces []byte) {
		columns := []bool{false, true, false}
		extension, rows, err := rowsOf(data, len(columns))
		var want []byte
		if err == nil {
			for _, row := range rows {
				if value := row[1]; len(value) <= longestBlank && value != nil {
					row[1] = bytes.TrimRight(value, " ")
				}
			}
			want = copyOf(extension, rows)
			copy(want[:copyHeader], data) // the low flags pass
		}
		u := newUnpadding(columns)
		var got []byte
		var failed error
		for i := 0; len(data) > 0 && failed == nil; i++ {
			n := len(data)
			if len(pieces) > 0 {
				n = min(n, 1+int(pieces[i%len(pieces)]))
			}
			before, most := len(got), n+len(u.held)+lengthSize
			got, failed = u.take(got, data[:n:n])
			if len(got)-before > most || len(u.held) > longestBlank {
				t.Fatalf("%d bytes have become %d, %d are held", most, len(got)-before, len(u.held))
			}
			data = data[n:]
		}
		if failed == nil {
			failed = u.end()
		}
		if (failed == nil) != (err == nil) {
			t.Fatalf("%v, want %v", failed, err)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// counted counts what is written.
type counted struct {
	net.Conn
	written int
}

func (c *counted) Write(p []byte) (int, error) {
	c.written += len(p)
	return c.Conn.Write(p)
}

func TestThePumpTakesBlanksOff(t *testing.T) {
	b := newBed(t, nil)
	for i, sql := range []string{"", "; INSERT INTO a SELECT i, repeat('x', i % 90), CASE WHEN i % 50 = 0 THEN repeat('long ', 60000) END FROM generate_series(1, 200) i"} {
		conn := b.replica
		if i > 0 {
			conn = b.primary
		}
		exec(t, conn, "CREATE TABLE a (id int, c char(90), t text); ALTER TABLE a ALTER t SET STORAGE EXTERNAL"+sql)
	}
	from, err := openLine(context.Background(), b.Run.Primary, "")
	if err != nil {
		t.Fatal(err)
	}
	defer from.close()
	to, err := openLine(context.Background(), b.Target, "")
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	sent := &counted{Conn: to.conn}
	to.conn = sent
	var moved atomic.Int64
	rows, err := pump(from, to, "COPY public.a TO STDOUT (FORMAT binary)", "COPY public.a FROM STDIN (FORMAT binary)", []bool{false, true, false}, &moved)
	if err != nil || rows != 200 {
		t.Fatalf("%d rows, %v", rows, err)
	}
	if got, want := value(t, b.replica, "SELECT md5(string_agg(a::text, '' ORDER BY id)) FROM a"), value(t, b.primary, "SELECT md5(string_agg(a::text, '' ORDER BY id)) FROM a"); got != want {
		t.Error("the values differ")
	}
	if saved := int(moved.Load()) - sent.written; saved < 200*40 {
		t.Errorf("%d bytes came and %d went on", moved.Load(), sent.written)
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
	_, err = pump(from, to, "COPY (SELECT generate_series(1, 1000000000000)) TO STDOUT (FORMAT binary)", "COPY public.a FROM STDIN (FORMAT binary)", nil, new(atomic.Int64))
	if at := (*side)(nil); !errors.As(err, &at) || at.server != b.Target.Name || !strings.Contains(err.Error(), "statement timeout") {
		t.Errorf("%v", err)
	}
}

func BenchmarkUnpadding(b *testing.B) {
	account := [][]byte{{0, 0, 0, 1}, {0, 0, 0, 2}, {0, 0, 0, 0}, bytes.Repeat([]byte(" "), 84)}
	row := copyOf(nil, [][][]byte{account})
	row = row[copyHeader : len(row)-2]
	u := newUnpadding([]bool{false, false, false, true})
	u.expect(stageCount, 2)
	out := make([]byte, 0, chunkSize)
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	for b.Loop() {
		if cap(out)-len(out) < len(row) {
			out = out[:0]
		}
		var err error
		if out, err = u.take(out, row); err != nil {
			b.Fatal(err)
		}
	}
}
