package proxy

import (
	"io"
	"log/slog"
	"net"
	"testing"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// TestSettleAsksAgain has the server's word that it expects copy data come between
// the moment in which settle finds the batch closed by a Sync and the moment in which
// it begins to wait: the server has ignored that Sync and must be asked by a Flush.
func TestSettleAsksAgain(t *testing.T) {
	client, toClient := net.Pipe()
	server, toServer := net.Pipe()
	for _, c := range []net.Conn{client, toClient, server, toServer} {
		defer c.Close()
	}
	b := new(pool.Backend)
	b.Writer.SetConn(wire.NewConn(toServer))
	s := &session{client: wire.NewConn(toClient), log: slog.New(slog.DiscardHandler)}
	s.changed.L = &s.mu
	s.turnTo(b)
	s.primary = b
	s.inflight.push(&reply{kind: 'C', action: fake})
	s.inflight.push(&reply{kind: 'E'})

	settled := make(chan error)
	go func() { settled <- s.settle() }()
	var closed [5]byte
	if _, err := io.ReadFull(client, closed[:4]); err != nil { // settle is writing the answer to Close
		t.Fatal(err)
	}
	s.mu.Lock()
	s.setOpen(true)
	s.mu.Unlock()
	if _, err := io.ReadFull(client, closed[4:]); err != nil {
		t.Fatal(err)
	}

	var flush [5]byte
	if _, err := io.ReadFull(server, flush[:]); err != nil || flush[0] != 'H' {
		t.Fatalf("the server is sent %q, %v", flush, err)
	}
	s.mu.Lock()
	s.inflight.pop()
	s.changed.Broadcast()
	s.mu.Unlock()
	if err := <-settled; err != nil {
		t.Error(err)
	}
}
