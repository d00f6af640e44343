package proxy_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// pair starts two instances that know of each other; the first is number 0.
func pair(t *testing.T, first, second proxy.Config, firstToSecond *tls.Config) (a, b *fixture) {
	t.Helper()
	// Each must know the other's address before it starts.
	var l [2]net.Listener
	for i := range l {
		var err error
		if l[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	second.Instance = 1
	first.Peers = []proxy.Peer{{Instance: 1, Address: l[1].Addr().String(), TLS: firstToSecond}}
	second.Peers = []proxy.Peer{{Instance: 0, Address: l[0].Addr().String()}}
	return start(t, setup{proxy: first, listener: l[0]}), start(t, setup{proxy: second, listener: l[1]})
}

// longKeyClient logs in with protocol 3.2.
func longKeyClient(t *testing.T, addr, database string) (*client, *pgproto3.BackendKeyData) {
	t.Helper()
	c := dial(t, addr)
	c.put(packet(version(3, 2), "user\x00postgres\x00database\x00"+database+"\x00\x00"))
	return c, c.key(t)
}

func TestPeersPassCancelRequestsOn(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	ca := newAuthority(t)
	encrypted := proxy.Config{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("pgshunt")}}, RequireTLS: false}
	for name, to := range map[string]*tls.Config{"plain": nil, "TLS": {RootCAs: ca.pool, ServerName: "localhost"}} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, proxy.Config{}, encrypted, to)
			for _, way := range []struct{ session, canceler *fixture }{{b, a}, {a, b}, {a, a}, {b, b}} {
				for _, login := range []func(*testing.T, string, string) (*client, *pgproto3.BackendKeyData){
					func(t *testing.T, addr, db string) (*client, *pgproto3.BackendKeyData) {
						return enterWithKey(t, addr, db)
					},
					longKeyClient,
				} {
					c, key := login(t, way.session.addr, db)
					c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
					running(t, primary, db, "pg_sleep", true)
					cancel(t, way.canceler.addr, key.ProcessID, key.SecretKey)
					if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
						t.Errorf("got %q", got)
					}
					_ = c.Close()
				}
			}
		})
	}
}

// A key of an instance that nobody knows, or one that is wrong in its last bit,
// does nothing.
func TestPeersForgedKeys(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	// Instances 0 and 5 need three bits, so that 1 to 4, 6 and 7 belong to nobody.
	heard := newSilentPeer(t, true)
	f := start(t, setup{proxy: proxy.Config{Peers: []proxy.Peer{{Instance: 5, Address: heard.addr()}}}})
	c, key := enterWithKey(t, f.addr, db)
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, db, "pg_sleep", true)
	if key.SecretKey[0]>>5 != 0 {
		t.Errorf("the secret %x is not signed by instance 0", key.SecretKey)
	}
	forged := append([]byte(nil), key.SecretKey...)
	for instance := range byte(8) {
		forged[0] = key.SecretKey[0] | instance<<5
		if instance == 0 {
			forged[3] ^= 1
		} else {
			forged[3] = key.SecretKey[3]
		}
		cancel(t, f.addr, key.ProcessID, forged)
	}
	running(t, primary, db, "pg_sleep", true)
	if n := heard.requests(); n != 1 {
		t.Errorf("the peer was given %d requests, not 1", n)
	}
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
		t.Errorf("got %q", got)
	}
}

// A request that was passed on once is not passed on again, whatever the key says.
func TestPeersDoNotPassOnTwice(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	heard := newSilentPeer(t, true)
	f := start(t, setup{proxy: proxy.Config{Peers: []proxy.Peer{{Instance: 1, Address: heard.addr()}}}})
	body := append(binary.BigEndian.AppendUint32(nil, 4711), 0xff, 1, 2, 3)
	for _, code := range []uint32{80877102, 1234<<16 | 5699} {
		c := dial(t, f.addr)
		c.put(append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 16), code), body...))
		if got := joined(c.answer()); got != "closed" {
			t.Errorf("answered with %q", got)
		}
	}
	if n := heard.requests(); n != 1 {
		t.Errorf("%d requests were passed on, not 1", n)
	}
}

// A peer that is down, or that takes a request and stays silent, costs the one
// who asked a bounded time, and nobody else any.
func TestPeersThatDoNotAnswer(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = down.Close()
	silent := newSilentPeer(t, false)
	f := start(t, setup{proxy: proxy.Config{Peers: []proxy.Peer{
		{Instance: 1, Address: down.Addr().String()}, {Instance: 2, Address: silent.addr()},
	}}})
	cancel(t, f.addr, 4711, []byte{1 << 6, 1, 2, 3})
	waits := dial(t, f.addr)
	waits.put(append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 16}, 80877102), 4711), 2<<6, 1, 2, 3))
	if !pgtest.Eventually(func() bool { return silent.requests() == 1 }) {
		t.Error("the request was not passed on")
	}
	c := enter(t, f.addr, "postgres")
	c.works()
	_ = c.Close()
	if got := joined(waits.answer()); got != "closed" {
		t.Errorf("answered with %q", got)
	}
	for _, want := range []string{"cancel request not passed on", down.Addr().String(), silent.addr()} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log does not have %q", want)
		}
	}
}

// silentPeer takes requests and says nothing.
type silentPeer struct {
	l     net.Listener
	heard chan []byte
}

// newSilentPeer starts one that hangs up after each request, or does not.
func newSilentPeer(t *testing.T, hangsUp bool) *silentPeer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &silentPeer{l, make(chan []byte, 100)}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(pgtest.Patience))
				got := make([]byte, 16)
				if _, err := io.ReadFull(nc, got); err != nil {
					return
				}
				p.heard <- got
				if !hangsUp {
					_, _ = io.Copy(io.Discard, nc)
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return p
}

func (p *silentPeer) addr() string  { return p.l.Addr().String() }
func (p *silentPeer) requests() int { return len(p.heard) }
