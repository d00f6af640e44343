package auth

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/scram"
)

// UseKey has a login use a client key where the server asks for SCRAM. pgconn
// knows passwords only, so the connection answers that request by itself and
// pgconn never sees it; all else, before and after, is pgconn's. The connection
// that pgconn then gives away has a method Unwrap, which returns the one underneath.
//
// Refused is called, perhaps from another goroutine, when the server does not take
// the key. What require_auth and channel_binding demand is looked after here.
func UseKey(cfg *pgconn.Config, key *scram.Key, refused func()) {
	demand := demand{binding: cfg.ChannelBinding, auth: cfg.RequireAuth}
	cfg.ChannelBinding, cfg.RequireAuth = "disable", ""
	cfg.AfterNetConnect = func(_ context.Context, c *pgconn.Config, conn net.Conn) (net.Conn, error) {
		return &keyConn{Conn: conn, key: key, user: c.User, demand: demand, refused: refused}, nil
	}
}

// demand is what the connection string asks of the login.
type demand struct{ binding, auth string }

// scram tells whether require_auth lets SCRAM be used; anything tells whether it
// lets the server do without.
func (d demand) scram() bool {
	negated := strings.HasPrefix(strings.TrimSpace(d.auth), "!")
	return d.auth == "" || negated != d.lists("scram-sha-256")
}

func (d demand) nothing() bool {
	if d.binding == "require" {
		return false
	}
	negated := strings.HasPrefix(strings.TrimSpace(d.auth), "!")
	return d.auth == "" || negated != d.lists("none")
}

func (d demand) lists(method string) bool {
	for part := range strings.SplitSeq(d.auth, ",") {
		if strings.TrimPrefix(strings.TrimSpace(part), "!") == method {
			return true
		}
	}
	return false
}

// keyConn reads the server's messages until the login is through, and keeps the
// SASL exchange to itself. From then on it only passes bytes.
type keyConn struct {
	net.Conn
	key     *scram.Key
	user    string
	demand  demand
	refused func()

	out     []byte // whole messages for pgconn
	proven  bool   // the exchange is done, and the server has the verifier
	sent    bool   // our proof has been sent
	passing bool
}

// Unwrap returns the connection underneath. It is for after the login, when nothing
// is held back here.
func (c *keyConn) Unwrap() net.Conn { return c.Conn }

// Read gives pgconn all messages but those of the exchange.
func (c *keyConn) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.passing {
			return c.Conn.Read(p)
		}
		if err := c.step(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// step takes one message of the server.
func (c *keyConn) step() error {
	message, err := c.message()
	if err != nil {
		return err
	}
	switch message[0] {
	case 'R':
		return c.request(message)
	case 'E':
		if c.sent && !c.proven {
			c.refused()
		}
		c.passing = true
	}
	c.out = message
	return nil
}

// Codes of authentication requests.
const (
	requestOk    = 0
	requestSASL  = 10
	requestNext  = 11
	requestFinal = 12
)

func (c *keyConn) request(message []byte) error {
	if len(message) < 9 {
		return errors.New("malformed authentication request")
	}
	switch code := binary.BigEndian.Uint32(message[5:]); {
	case code == requestSASL && !c.sent && c.demand.scram():
		return c.exchange(message[5:])
	case code == requestOk && (c.proven || !c.sent && c.demand.nothing()):
		c.out, c.passing = message, true
		return nil
	case code == requestOk:
		return errors.New("the server let us in without the authentication that the connection string demands")
	default:
		return c.fail("The server asks for another kind of authentication than SCRAM, and pgshunt has no password for this user.",
			"Give the user a SCRAM verifier there, or pgshunt a password: a pass file, or auth.users.")
	}
}

// exchange proves that we have the key.
func (c *keyConn) exchange(body []byte) error {
	var offer pgproto3.AuthenticationSASL
	if err := offer.Decode(body); err != nil {
		return err
	}
	if !slices.Contains(offer.AuthMechanisms, scram.Mechanism) {
		return c.fail("The server does not offer SCRAM-SHA-256.", "")
	}
	client := &scram.Client{Key: c.key}
	mechanism := scram.Mechanism
	if tc, ok := c.Conn.(*tls.Conn); ok && c.demand.binding != "disable" {
		if certs := tc.ConnectionState().PeerCertificates; len(certs) > 0 {
			client.Binding = scram.EndPoint(certs[0])
		}
		client.Unoffered = !slices.Contains(offer.AuthMechanisms, scram.MechanismPlus)
		switch {
		case client.Binding == nil:
			client.Unoffered = false
		case !client.Unoffered:
			mechanism = scram.MechanismPlus
		}
	}
	if c.demand.binding == "require" && mechanism != scram.MechanismPlus {
		return errors.New("channel binding is required, but the server does not offer SCRAM-SHA-256-PLUS")
	}
	challenge, err := c.ask(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: client.First()}, requestNext)
	if challenge == nil {
		return err
	}
	proof, err := client.Final(challenge)
	if errors.Is(err, scram.ErrOtherVerifier) {
		c.refused()
		return c.fail("The SCRAM verifier there is not the one that the client logged in with: the password has been changed, or is stored with another salt.",
			"Connect again if the password has been changed; else copy rolpassword from the primary.")
	}
	if err != nil {
		return err
	}
	c.sent = true
	final, err := c.ask(&pgproto3.SASLResponse{Data: proof}, requestFinal)
	if final == nil {
		return err
	}
	if err := client.Verify(final); err != nil {
		return err
	}
	c.proven = true
	return nil
}

// ask sends a message and returns the data of the request that answers it. Where
// the server answers with an error, that is for pgconn, and both results are nil.
func (c *keyConn) ask(m pgproto3.FrontendMessage, expected uint32) ([]byte, error) {
	out, err := m.Encode(nil)
	if err != nil {
		return nil, err
	}
	if _, err := c.Conn.Write(out); err != nil {
		return nil, err
	}
	for {
		answer, err := c.message()
		if err != nil {
			return nil, err
		}
		switch {
		case answer[0] == 'E':
			if c.sent {
				c.refused()
			}
			c.out, c.passing = append(c.out, answer...), true
			return nil, nil
		case answer[0] == 'N':
			c.out = append(c.out, answer...)
		case answer[0] == 'R' && len(answer) >= 9 && binary.BigEndian.Uint32(answer[5:]) == expected:
			return answer[9:], nil
		default:
			return nil, fmt.Errorf("unexpected message %q of the server during the SCRAM exchange", answer[0])
		}
	}
}

// fail ends the login in the words in which the server would: pgconn gets an
// ErrorResponse.
func (c *keyConn) fail(detail, hint string) error {
	out, err := (&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28P01",
		Message: fmt.Sprintf("password authentication failed for user %q", c.user), Detail: detail, Hint: hint, Routine: "login",
	}).Encode(nil)
	c.out, c.passing = out, true
	return err
}

// maxLoginMessage bounds what a server may send during a login.
const maxLoginMessage = 64 << 10

// message reads one message, header included.
func (c *keyConn) message() ([]byte, error) {
	var header [5]byte
	if _, err := io.ReadFull(c.Conn, header[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n < 4 || n > maxLoginMessage {
		return nil, fmt.Errorf("message %q of %d bytes during a login", header[0], n)
	}
	message := make([]byte, 1+n)
	copy(message, header[:])
	_, err := io.ReadFull(c.Conn, message[5:])
	return message, err
}
