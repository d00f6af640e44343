package main

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// tap is a relay to a server that notes how each connection begins.
type tap struct {
	l      net.Listener
	mu     sync.Mutex
	begins []uint32
}

func newTap(t *testing.T, port int) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tp := &tap{l: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go tp.relay(in, port)
		}
	}()
	return tp
}

func (tp *tap) relay(in net.Conn, port int) {
	defer in.Close()
	head := make([]byte, 8)
	if _, err := io.ReadFull(in, head); err != nil {
		return
	}
	tp.mu.Lock()
	tp.begins = append(tp.begins, binary.BigEndian.Uint32(head[4:]))
	tp.mu.Unlock()
	out, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return
	}
	defer out.Close()
	_, _ = out.Write(head)
	go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
	_, _ = io.Copy(out, in)
}
