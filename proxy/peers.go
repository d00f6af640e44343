package proxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
)

// Peer is another pgshunt in front of the same servers. Behind a balancer a cancel
// request may reach any of them, and only the one that issued its key can serve it.
type Peer struct {
	// Instance is that of its configuration, different from all others'.
	Instance uint8
	// Address is where it listens for clients, host:port.
	Address string
	// TLS is nil where requests are passed to it in the clear.
	TLS *tls.Config
}

// codePeerCancel stands in the place of codeCancel in a request that one instance
// passes to another, which never passes it on again: so no mistake in their
// configurations makes a request go round. It is no code of PostgreSQL's, and
// proves nothing: what it asks for is proved by the key, as ever.
const codePeerCancel = 1234<<16 | 5699

// peers are the other instances, and how a secret names the one that issued it:
// by its first bits, as many as the largest instance number needs. They are what
// it costs in entropy, of 32 bits of protocol 3.0: with two instances
// numbered 0 and 1, one bit; alone, none. All instances must list all others, or
// they disagree about the number of bits and cancel requests get lost.
type peers struct {
	own  uint8
	bits int
	list []Peer
}

func newPeers(own uint8, list []Peer) peers {
	p := peers{own: own, list: list}
	if len(list) == 0 {
		return p
	}
	highest := own
	for _, peer := range list {
		highest = max(highest, peer.Instance)
	}
	p.bits = bits.Len8(highest)
	return p
}

// sign puts this instance's number into a secret that is random so far.
func (p *peers) sign(secret []byte) {
	secret[0] = secret[0]&(0xff>>p.bits) | p.own<<(8-p.bits)
}

// issuer returns the other instance that issued a secret, or nil.
func (p *peers) issuer(secret []byte) *Peer {
	if p.bits == 0 {
		return nil
	}
	instance := secret[0] >> (8 - p.bits)
	for i := range p.list {
		if p.list[i].Instance == instance && instance != p.own {
			return &p.list[i]
		}
	}
	return nil
}

// forwardCancel passes a cancel request, whose body follows the code, on to the
// instance that issued its key, and returns when that one has dealt with it,
// after forwardTimeout at most.
func (srv *Server) forwardCancel(peer *Peer, body []byte) {
	ctx, cancel := context.WithTimeout(srv.ctx, forwardTimeout)
	defer cancel()
	if !srv.forwards.take(ctx) {
		srv.cfg.Log.Warn("cancel request dropped", "target", peer.Address, "error", errManyCancels)
		return
	}
	defer srv.forwards.give()
	if err := peer.send(ctx, body); err != nil {
		srv.cfg.Log.Warn("cancel request not passed on", "target", peer.Address, "error", err)
	}
}

func (peer *Peer) send(ctx context.Context, body []byte) error {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", peer.Address)
	if err != nil {
		return err
	}
	defer nc.Close()
	raw := nc
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	if peer.TLS != nil {
		if nc, err = encryptTo(ctx, nc, peer.TLS); err != nil {
			return err
		}
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	out = binary.BigEndian.AppendUint32(out, codePeerCancel)
	if _, err := nc.Write(append(out, body...)); err != nil {
		return err
	}
	// It hangs up when it is done, without a word unless it is no pgshunt.
	if n, err := nc.Read(make([]byte, 1)); n > 0 {
		return errors.New("the peer refused the request; is it a pgshunt of this version?")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// encryptTo asks for TLS as a client does.
func encryptTo(ctx context.Context, nc net.Conn, cfg *tls.Config) (net.Conn, error) {
	request := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, codeSSL)
	if _, err := nc.Write(request); err != nil {
		return nil, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return nil, err
	}
	if answer[0] != 'S' {
		return nil, errors.New("the peer does not offer TLS")
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with the peer: %w", err)
	}
	return tc, nil
}

// slots bounds how many of something are under way.
type slots chan struct{}

// take waits for a slot, and reports false if ctx ends before there is one.
func (s slots) take(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	default:
	}
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) give() { <-s }
