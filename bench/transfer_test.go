package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// answer is a connection whose other side says one thing.
type answer struct {
	net.Conn
	io.Reader
}

func (a answer) Read(p []byte) (int, error) { return a.Reader.Read(p) }

func message(kind byte, body string) string {
	n := 4 + len(body)
	return string([]byte{kind, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + body
}

func TestTransfersAreCountedToTheirEnd(t *testing.T) {
	row := message('D', strings.Repeat("r", 300))
	rows := message('T', "columns") + strings.Repeat(row, 100) + message('C', "SELECT 100\x00") + message('Z', "I")
	for _, text := range []string{rows, message('Z', "I")} {
		for _, size := range []int{11, 64, 301, transferBuffer} { // messages that do not fit pass through
			for pace, reader := range map[string]io.Reader{
				"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)),
			} {
				tr := &transfer{conn: answer{Reader: reader}, buf: make([]byte, size)}
				if n, err := tr.drain('Z'); err != nil || n != int64(len(text)) {
					t.Errorf("%s, buffer of %d: got %d and %v, want %d", pace, size, n, err, len(text))
				}
			}
		}
	}
	for text, want := range map[string]string{
		rows[:len(rows)-1]: "EOF",
		rows + row:         "something follows",
		row + message('E', "SERROR\x00Mno such table\x00\x00") + message('Z', "I"): "no such table",
		message('E', "\x00"): "reports an error",
	} {
		tr := &transfer{conn: answer{Reader: strings.NewReader(text)}, buf: make([]byte, transferBuffer)}
		if n, err := tr.drain('Z'); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %d and %v, want an error with %q", n, err, want)
		}
	}
}

func TestCopyFramesHoldTheRows(t *testing.T) {
	rows := []byte("1\t2\n3\t4\n")
	frames := copyFrames(rows)
	var data []byte
	for rest := frames; len(rest) > 0; {
		if rest[0] != 'd' {
			t.Fatalf("a message of type %q", rest[0])
		}
		n := 1 + int(rest[3])<<8 + int(rest[4])
		data, rest = append(data, rest[5:n]...), rest[n:]
	}
	if len(data) < transferBuffer || len(data)%len(rows) != 0 || !bytes.Equal(data, bytes.Repeat(rows, len(data)/len(rows))) {
		t.Fatalf("%d bytes of rows, which are not whole rows", len(data))
	}
}
