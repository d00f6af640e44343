package logical

import (
	"bytes"
	"net"
	"net/url"
	"sync/atomic"
	"testing"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// A strait is a way to a server on which, once it is shut, nothing comes back after a subscription
// has asked for its changes.
type strait struct {
	to   string
	shut atomic.Bool
}

// newStrait returns also the URL that leads through it.
func newStrait(t *testing.T, server string) (*strait, configs.URL) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &strait{to: u.Host}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.carry(conn)
		}
	}()
	u.Host = l.Addr().String()
	return s, configs.URL(u.String())
}

// carry ends with either side.
func (s *strait) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", s.to)
	if err != nil {
		return
	}
	defer server.Close()
	var held atomic.Bool
	go func() {
		defer client.Close()
		defer server.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			if held.Load() {
				continue
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if s.shut.Load() && bytes.Contains(b[:n], []byte("START_REPLICATION")) {
			held.Store(true)
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// A sender that reads much WAL before it comes to what the replica lacks says nothing for long.
func TestASubscriptionThatHasReceivedNothingYetIsTheFeedsOwn(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"a"} })
	way, source := newStrait(t, r.primary.URL("postgres", "postgres"))
	r.cfg.Replicas[0].Source.URL = source
	r.primary.Exec(t, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	r.apply(t)
	way.shut.Store(true)
	const connected = "SELECT count(*)::text FROM pg_replication_slots WHERE active"
	subscription := "ALTER SUBSCRIPTION " + r.run(t).Name
	r.replica.Exec(t, subscription+" DISABLE")
	if !pgtest.Eventually(func() bool { return ask(t, r.primary, connected) == "0" }) {
		t.Fatal("the subscription does not end")
	}
	r.replica.Exec(t, subscription+" ENABLE")
	if !pgtest.Eventually(func() bool { return ask(t, r.primary, connected) == "1" }) {
		t.Fatal("the subscription did not connect again")
	}
	if state := r.state(t); state.State != "ready" {
		t.Errorf("%+v", state)
	}
	r.apply(t)
}
