package scram

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
)

// Server is the server's side of one exchange: First, then Final.
type Server struct {
	// Verifier is what the client is checked against.
	Verifier *Verifier
	// Binding is the channel's binding (EndPoint); nil where PLUS was not offered.
	Binding []byte

	plus        bool
	header      string // the client's GS2 header
	firstBare   string
	serverFirst string
	nonce       string
}

// Malformed is a message that breaks the protocol, in PostgreSQL's words.
type Malformed struct {
	Message, Detail string
	// Negotiation is set where the client was made to believe that there is no
	// channel binding: the sign of somebody in between.
	Negotiation bool
	// Unsupported is set for a feature that PostgreSQL does not have either.
	Unsupported bool
}

func (m *Malformed) Error() string {
	if m.Detail == "" {
		return m.Message
	}
	return m.Message + ": " + m.Detail
}

func malformed(format string, args ...any) *Malformed {
	return &Malformed{Message: "malformed SCRAM message", Detail: fmt.Sprintf(format, args...)}
}

// nonceSize is PostgreSQL's (SCRAM_RAW_NONCE_LEN).
const nonceSize = 18

// First takes the client-first-message and returns the challenge. The error is a
// *Malformed. The user name in the message is not looked at: PostgreSQL takes the
// one of the startup packet.
func (s *Server) First(mechanism string, message []byte) ([]byte, error) {
	switch {
	case mechanism == Mechanism:
	case mechanism == MechanismPlus && s.Binding != nil:
		s.plus = true
	default:
		return nil, &Malformed{Message: "client selected an invalid SASL authentication mechanism"}
	}
	text, err := textOf(message)
	if err != nil {
		return nil, err
	}
	flag, rest, _ := strings.Cut(text, ",")
	if err := s.bindingFlag(flag); err != nil {
		return nil, err
	}
	identity, bare, ok := strings.Cut(rest, ",")
	switch {
	case strings.HasPrefix(identity, "a"):
		return nil, &Malformed{Message: "client uses authorization identity, but it is not supported", Unsupported: true}
	case identity != "" || !ok:
		return nil, malformed("Unexpected attribute %s in client-first-message.", shown(rest))
	case strings.HasPrefix(bare, "m"):
		return nil, &Malformed{Message: "client requires an unsupported SCRAM extension", Unsupported: true}
	}
	s.header, s.firstBare = text[:len(text)-len(bare)], bare
	if _, bare, err = attribute(bare, 'n'); err != nil {
		return nil, err
	}
	client, bare, err := attribute(bare, 'r')
	if err != nil {
		return nil, err
	}
	if !printable(client) {
		return nil, &Malformed{Message: "non-printable characters in SCRAM nonce"}
	}
	if err := extensions(bare); err != nil {
		return nil, err
	}
	s.nonce = client + nonce()
	s.serverFirst = fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(s.Verifier.salt), s.Verifier.iterations)
	return []byte(s.serverFirst), nil
}

// bindingFlag judges the gs2-cbind-flag.
func (s *Server) bindingFlag(flag string) error {
	switch {
	case flag == "n" && !s.plus, flag == "y" && !s.plus && s.Binding == nil:
		return nil
	case flag == "n", flag == "y" && s.plus:
		return malformed("The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.")
	case flag == "y":
		return &Malformed{
			Message:     "SCRAM channel binding negotiation error",
			Detail:      "The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.",
			Negotiation: true,
		}
	case !strings.HasPrefix(flag, "p="):
		return malformed("Unexpected channel-binding flag %s.", shown(flag))
	case !s.plus:
		return malformed("The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.")
	case flag != "p="+bindingType:
		return &Malformed{Message: "unsupported SCRAM channel-binding type"}
	}
	return nil
}

// Final takes the client-final-message. With the right proof it returns the
// server's answer and the client's key; with a wrong one, neither. The error is a
// *Malformed.
func (s *Server) Final(message []byte) ([]byte, *Key, error) {
	text, err := textOf(message)
	if err != nil {
		return nil, nil, err
	}
	binding, rest, err := attribute(text, 'c')
	if err != nil {
		return nil, nil, err
	}
	got, err := base64.StdEncoding.DecodeString(binding)
	want := []byte(s.header)
	if s.plus {
		want = append(want, s.Binding...)
	}
	if err != nil || subtle.ConstantTimeCompare(got, want) != 1 {
		if s.plus {
			return nil, nil, &Malformed{Message: "SCRAM channel binding check failed", Negotiation: true}
		}
		return nil, nil, &Malformed{Message: "unexpected SCRAM channel-binding attribute in client-final-message"}
	}
	given, rest, err := attribute(rest, 'r')
	if err != nil {
		return nil, nil, err
	}
	withoutProof, proofText, ok := cutLast(text)
	if ok && len(rest) > len(proofText) {
		err = extensions(rest[:len(rest)-len(proofText)-1])
	}
	if !ok || err != nil || !strings.HasPrefix(proofText, "p=") || rest == "" {
		return nil, nil, malformed("Malformed proof in client-final-message.")
	}
	raw, err := base64.StdEncoding.DecodeString(proofText[2:])
	if err != nil || len(raw) != keySize {
		return nil, nil, malformed("Malformed proof in client-final-message.")
	}
	if subtle.ConstantTimeCompare([]byte(given), []byte(s.nonce)) != 1 {
		return nil, nil, &Malformed{Message: "invalid SCRAM response", Detail: "Nonce does not match."}
	}
	message1 := s.firstBare + "," + s.serverFirst + "," + withoutProof
	client := xor([keySize]byte(raw), mac(s.Verifier.stored[:], message1))
	key, ok := s.Verifier.key(client)
	if !ok {
		return nil, nil, nil
	}
	signature := mac(s.Verifier.server[:], message1)
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature[:])), key, nil
}

func textOf(message []byte) (string, error) {
	switch {
	case len(message) == 0:
		return "", malformed("The message is empty.")
	case bytes.IndexByte(message, 0) >= 0:
		return "", malformed("Message length does not match input length.")
	}
	return string(message), nil
}

// attribute reads "X=value" up to a comma or the end.
func attribute(s string, name byte) (value, rest string, err error) {
	switch {
	case s == "":
		return "", "", malformed("Expected attribute \"%c\" but found end of message.", name)
	case s[0] != name:
		return "", "", malformed("Expected attribute \"%c\" but found %s.", name, shown(s))
	case len(s) < 2 || s[1] != '=':
		return "", "", malformed("Expected character \"=\" for attribute \"%c\".", name)
	}
	value, rest, _ = strings.Cut(s[2:], ",")
	return value, rest, nil
}

// extensions checks the form of optional attributes, which are ignored.
func extensions(s string) error {
	for s != "" {
		letter := s[0]
		if !(letter >= 'A' && letter <= 'Z' || letter >= 'a' && letter <= 'z') {
			return malformed("Attribute expected, but found invalid character %s.", shown(s))
		}
		var err error
		if _, s, err = attribute(s, letter); err != nil {
			return err
		}
	}
	return nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ',')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// printable is RFC 5802's: visible ASCII without the comma, which has been cut.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}

// shown is the first byte of a client's text, fit for an error text.
func shown(s string) string {
	if s == "" {
		return "end of message"
	}
	if s[0] >= 0x21 && s[0] <= 0x7e {
		return fmt.Sprintf("\"%c\"", s[0])
	}
	return fmt.Sprintf("\"0x%02x\"", s[0])
}

func nonce() string {
	var raw [nonceSize]byte
	_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
	return base64.StdEncoding.EncodeToString(raw[:])
}
