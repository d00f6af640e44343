package scram

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Key is what a client knows of a password for one verifier: its ClientKey, and
// the ServerKey by which it recognizes the server. It prints nothing of itself.
type Key struct {
	of     *Verifier
	client [keySize]byte
}

// Verifier is the one that the key belongs to.
func (k *Key) Verifier() *Verifier { return k.of }

// Format keeps keys out of logs and error texts.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText hides the key from JSON, YAML and slog.
func (k *Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Client is the client's side of one exchange: First, Final, Verify.
type Client struct {
	Key *Key
	// Binding is the channel's binding, for MechanismPlus; nil for Mechanism.
	Binding []byte
	// Unoffered is set where there is a binding and the server did not offer PLUS:
	// a server that did will then notice that somebody took it away.
	Unoffered bool

	nonce       string
	firstBare   string
	authMessage string
}

// ErrOtherVerifier is returned where the server stores another verifier than the
// key's: the password has been changed, or was never the same there.
var ErrOtherVerifier = errors.New("the server has another SCRAM verifier")

// First returns the client-first-message.
func (c *Client) First() []byte {
	c.nonce = nonce()
	c.firstBare = "n=,r=" + c.nonce
	return []byte(c.header() + c.firstBare)
}

func (c *Client) header() string {
	switch {
	case c.Binding != nil && !c.Unoffered:
		return "p=" + bindingType + ",,"
	case c.Unoffered:
		return "y,,"
	}
	return "n,,"
}

// Final takes the challenge and returns the client-final-message. Where the
// server's salt is another than the key's, no proof leaves this machine.
func (c *Client) Final(challenge []byte) ([]byte, error) {
	theirs, rest, err := attribute(string(challenge), 'r')
	if err != nil {
		return nil, err
	}
	salt, rest, err := attribute(rest, 's')
	if err != nil {
		return nil, err
	}
	iterations, _, err := attribute(rest, 'i')
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(theirs, c.nonce) || len(theirs) == len(c.nonce) || !printable(theirs) {
		return nil, errors.New("the server's nonce does not continue ours")
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		return nil, errors.New("the server's salt cannot be read")
	}
	n, err := strconv.Atoi(iterations)
	if err != nil || n != c.Key.of.iterations || subtle.ConstantTimeCompare(raw, c.Key.of.salt) != 1 {
		return nil, ErrOtherVerifier
	}
	input := []byte(c.header())
	if c.Binding != nil && !c.Unoffered {
		input = append(input, c.Binding...)
	}
	withoutProof := "c=" + base64.StdEncoding.EncodeToString(input) + ",r=" + theirs
	c.authMessage = c.firstBare + "," + string(challenge) + "," + withoutProof
	proof := xor(c.Key.client, mac(c.Key.of.stored[:], c.authMessage))
	return []byte(withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof[:])), nil
}

// Verify tells whether the server-final-message comes from one who has the
// verifier.
func (c *Client) Verify(final []byte) error {
	value, _, err := attribute(string(final), 'v')
	if err != nil {
		return errors.New("the server's last SCRAM message has no signature")
	}
	got, err := base64.StdEncoding.DecodeString(value)
	want := mac(c.Key.of.server[:], c.authMessage)
	if err != nil || subtle.ConstantTimeCompare(got, want[:]) != 1 {
		return errors.New("the server's signature is wrong: it does not have the verifier")
	}
	return nil
}
