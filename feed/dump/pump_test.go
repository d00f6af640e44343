package dump

import (
	"bufio"
	"context"
	"encoding/binary"
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
	row := string(copyOf(nil, [][][]byte{{[]byte("x   ")}}))
	begin := message('H', "\x01\x00\x01\x00\x01")
	end := string(message('c', "")) + string(message('C', "COPY 1\x00")) + string(message('Z', "I"))
	for name, c := range map[string]struct{ data, want string }{
		"another count":    {string(message('d', row[:copyHeader]+"\x00\x02")) + end, "primary: a row of the copy has 2 columns instead of 1"},
		"a bad length":     {string(message('d', row[:copyHeader]+"\x00\x01\xff\xff\xff\xfe")) + end, "primary: a value of the copy has -2 bytes"},
		"no trailer":       {string(message('d', row[:len(row)-2])) + end, "primary: the data of the copy ends too early"},
		"more than all":    {string(message('d', row+"\x00")) + end, "primary: the data of the copy goes on after its end"},
		"text":             {string(message('d', "x\n\\.\nand more of it than a header has\n")) + end, "primary: the data of the copy is not in binary form"},
		"no length":        {"d\x00\x00\x00\x03", "primary: a message has no length"},
		"a connection end": {string(message('d', row)), "primary: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			to, err := openLine(context.Background(), b.Target, "")
			if err != nil {
				t.Fatal(err)
			}
			defer to.close()
			var moved atomic.Int64
			_, err = pump(scripted(t, append(begin, c.data...)), to, "COPY", "COPY public.a FROM STDIN (FORMAT binary)", []bool{true}, &moved)
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
	for _, one := range copyOf(nil, [][][]byte{{[]byte("x   ")}, {nil}}) {
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
	if rows, err := pump(scripted(t, []byte(data)), to, "COPY", "COPY public.a FROM STDIN (FORMAT binary)", []bool{true}, &moved); err != nil || rows != 2 {
		t.Fatalf("%d rows, %v", rows, err)
	}
	if got := value(t, b.replica, "SELECT count(c) || ' ' || count(*) || ' ' || max(octet_length(c)) FROM a WHERE c = 'x' OR c IS NULL"); got != "1 2 90" {
		t.Errorf("%q", got)
	}
}
