package scram

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/xdg-go/stringprep"
)

func decode(t *testing.T, s string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The exchange of RFC 7677, section 3, from both sides.
func TestExchangeOfTheRFC(t *testing.T) {
	const (
		bare      = "n=user,r=rOprNGfwEbeRWgbNEkqO"
		nonce     = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
		challenge = "r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		response  = "c=biws,r=" + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		final     = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	v := New("pencil", decode(t, "W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	s := &Server{Verifier: v, header: "n,,", firstBare: bare, serverFirst: challenge, nonce: nonce}
	answer, key, err := s.Final([]byte(response))
	if err != nil || string(answer) != final || key == nil {
		t.Fatalf("the server answers %q, %v", answer, err)
	}
	c := &Client{Key: key, nonce: "rOprNGfwEbeRWgbNEkqO", firstBare: bare}
	proof, err := c.Final([]byte(challenge))
	if err != nil || string(proof) != response {
		t.Errorf("the client sends %q, %v", proof, err)
	}
	if err := c.Verify([]byte(final)); err != nil {
		t.Error(err)
	}
	if err := c.Verify([]byte("v=" + base64.StdEncoding.EncodeToString(make([]byte, 32)))); err == nil {
		t.Error("a server without the verifier was believed")
	}
}

// exchange runs both sides and returns the key that the server has won.
func exchange(s *Server, c *Client, mechanism string) (*Key, error) {
	challenge, err := s.First(mechanism, c.First())
	if err != nil {
		return nil, err
	}
	response, err := c.Final(challenge)
	if err != nil {
		return nil, err
	}
	answer, key, err := s.Final(response)
	if err != nil || key == nil {
		return nil, err
	}
	return key, c.Verify(answer)
}

// A key won in one exchange logs in by another, with and without channel binding,
// and only where the verifier is the same.
func TestKeyStandsForThePassword(t *testing.T) {
	v := New("secret", []byte("salt of sixteen."), 4096)
	first, ok := v.Check("secret")
	if !ok {
		t.Fatal("the password is not the verifier's")
	}
	if _, ok := v.Check("other"); ok {
		t.Error("another password is the verifier's")
	}
	won, err := exchange(&Server{Verifier: v}, &Client{Key: first}, Mechanism)
	if err != nil || won == nil || won.client != first.client {
		t.Fatalf("no key was won: %v", err)
	}
	binding := []byte("hash of a certificate")
	if key, err := exchange(&Server{Verifier: v, Binding: binding}, &Client{Key: won, Binding: binding}, MechanismPlus); err != nil || key == nil {
		t.Errorf("with channel binding: %v", err)
	}
	if _, err := exchange(&Server{Verifier: New("secret", []byte("salt of sixteen!"), 4096)}, &Client{Key: won}, Mechanism); !errors.Is(err, ErrOtherVerifier) {
		t.Errorf("with another salt: %v", err)
	}
	if _, err := exchange(&Server{Verifier: New("secret", []byte("salt of sixteen."), 4097)}, &Client{Key: won}, Mechanism); !errors.Is(err, ErrOtherVerifier) {
		t.Errorf("with other iterations: %v", err)
	}
	if key, err := exchange(&Server{Verifier: New("changed", []byte("salt of sixteen."), 4096)}, &Client{Key: won}, Mechanism); key != nil || err != nil {
		t.Errorf("with another password: key %v, %v", key, err)
	}
	if key, err := exchange(&Server{Verifier: Mock(sha256.Sum256([]byte("nobody")), Iterations)}, &Client{Key: won}, Mechanism); key != nil {
		t.Errorf("with nobody's: key %v, %v", key, err)
	}
}

func TestChannelBindingIsWhatItSays(t *testing.T) {
	v := New("secret", []byte("salt of sixteen."), 4096)
	key, _ := v.Check("secret")
	ours := []byte("our certificate")
	for _, c := range []struct {
		name      string
		server    *Server
		client    *Client
		mechanism string
		want      string
	}{
		{"somebody in between", &Server{Verifier: v, Binding: ours}, &Client{Key: key, Binding: []byte("theirs")}, MechanismPlus, "SCRAM channel binding check failed"},
		{"the offer was taken away", &Server{Verifier: v, Binding: ours}, &Client{Key: key, Binding: ours, Unoffered: true}, Mechanism, "SCRAM channel binding negotiation error"},
		{"never offered", &Server{Verifier: v}, &Client{Key: key, Binding: ours, Unoffered: true}, Mechanism, ""},
		{"offered, not wanted", &Server{Verifier: v, Binding: ours}, &Client{Key: key}, Mechanism, ""},
		{"PLUS without binding", &Server{Verifier: v, Binding: ours}, &Client{Key: key}, MechanismPlus, "does not include channel binding data"},
		{"PLUS with y", &Server{Verifier: v, Binding: ours}, &Client{Key: key, Unoffered: true}, MechanismPlus, "does not include channel binding data"},
		{"binding without PLUS", &Server{Verifier: v, Binding: ours}, &Client{Key: key, Binding: ours}, Mechanism, "message includes channel binding data"},
		{"PLUS that was not offered", &Server{Verifier: v}, &Client{Key: key, Binding: ours}, MechanismPlus, "client selected an invalid SASL authentication mechanism"},
	} {
		won, err := exchange(c.server, c.client, c.mechanism)
		switch {
		case c.want == "" && (err != nil || won == nil):
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || won != nil):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	v := New("secret", []byte("salt of sixteen."), 4096)
	for message, want := range map[string]string{
		"":                       "The message is empty.",
		"n,,n=,r=a\x00":          "length",
		"x,,n=,r=a":              `Unexpected channel-binding flag "x".`,
		"\x80,,n=,r=a":           `Unexpected channel-binding flag "0x80".`,
		"n":                      "Unexpected attribute",
		"n,a=me,n=,r=a":          "authorization identity",
		"n,b,n=,r=a":             "Unexpected attribute",
		"n,,m=x,n=,r=a":          "unsupported SCRAM extension",
		"n,,":                    `Expected attribute "n" but found end of message.`,
		"n,,u=,r=a":              `Expected attribute "n" but found "u".`,
		"n,,n":                   `Expected character "="`,
		"n,,n=":                  `Expected attribute "r"`,
		"n,,n=,r=":               "non-printable characters",
		"n,,n=,r=a b":            "non-printable characters",
		"n,,n=,r=a,1=x":          "Attribute expected",
		"n,,n=,r=a,x":            `Expected character "="`,
		"p=tls-unique,,n=,r=abc": "without channel binding",
	} {
		_, err := (&Server{Verifier: v}).First(Mechanism, []byte(message))
		var m *Malformed
		if !errors.As(err, &m) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", message, err)
		}
	}
	for message, want := range map[string]string{
		"":                                "The message is empty.",
		"c=biws":                          `Expected attribute "r"`,
		"c=eSws,r=NONCE,p=":               "unexpected SCRAM channel-binding attribute",
		"c=%%,r=NONCE,p=":                 "unexpected SCRAM channel-binding attribute",
		"c=biws,r=NONCE":                  "Malformed proof",
		"c=biws,r=NONCE,p=AAAA":           "Malformed proof",
		"c=biws,r=NONCE,p=" + zeros + "=": "Malformed proof",
		"c=biws,r=NONCE,p=" + zeros + ",": "Malformed proof",
		"c=biws,r=NONCE,1=2,p=" + zeros:   "Malformed proof",
		"c=biws,r=other,p=" + zeros:       "Nonce does not match.",
		"c=biws,r=NONCE,x=y,p=" + zeros:   "",
		"c=biws,r=NONCE,p=" + zeros:       "",
	} {
		s := &Server{Verifier: v}
		if _, err := s.First(Mechanism, []byte("n,,n=,r=abc")); err != nil {
			t.Fatal(err)
		}
		_, key, err := s.Final([]byte(strings.Replace(message, "NONCE", s.nonce, 1)))
		if key != nil || want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: key %v, %v", message, key, err)
		}
	}
}

var zeros = base64.StdEncoding.EncodeToString(make([]byte, 32))

func TestVerifierText(t *testing.T) {
	v := New("secret", []byte("salt of sixteen."), 5000)
	again, err := Parse(v.Text())
	if err != nil || !again.Equal(v) || again.Text() != v.Text() || again.Iterations() != 5000 {
		t.Errorf("%v, %v", again.Text(), err)
	}
	good := "SCRAM-SHA-256$4096:c2FsdA==$" + zeros + ":" + zeros
	if _, err := Parse(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", "secret", "md5" + strings.Repeat("0", 32), good + " ", good[:len(good)-1], strings.Replace(good, "256$", "1$", 1),
		strings.Replace(good, "4096", "0", 1), strings.Replace(good, "4096", "-1", 1), strings.Replace(good, "4096", "99999999999", 1),
		strings.Replace(good, "c2FsdA==", "", 1), strings.Replace(good, "c2FsdA==", "*", 1), strings.Replace(good, ":"+zeros, "", 1), good + ":x",
	} {
		if v, err := Parse(bad); !errors.Is(err, ErrVerifier) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v, %v", bad, v, err)
		}
	}
}

// What PostgreSQL does with passwords that are no proper Unicode, or empty after
// normalization: it takes them as they are.
func TestPasswordsAreNormalized(t *testing.T) {
	for password, same := range map[string]string{
		"Passw\u00f6rter \u2177": "Passwo\u0308rter viii", "a\u00adb": "ab", "\u00adx": "x",
	} {
		if _, ok := New(password, []byte("salt"), 1).Check(same); !ok {
			t.Errorf("%q is not %q", password, same)
		}
	}
	for _, password := range []string{"", "\u00ad", "a\x00b", "\xff\xfe", "\u0627x", "\u0378"} {
		if prepared := prepare(password); prepared != password {
			t.Errorf("%q becomes %q", password, prepared)
		}
	}
	if _, err := stringprep.SASLprep.Prepare("\xff"); err == nil {
		t.Error("SASLprep takes what is no UTF-8")
	}
}

func TestEndPointFollowsTheSignature(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	make := func(algorithm x509.SignatureAlgorithm, public, private any) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), SignatureAlgorithm: algorithm}, &x509.Certificate{}, public, private)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	c := make(x509.ECDSAWithSHA256, &key.PublicKey, key)
	if sum := sha256.Sum256(c.Raw); !bytes.Equal(EndPoint(c), sum[:]) {
		t.Error("SHA-256")
	}
	c = make(x509.ECDSAWithSHA512, &key.PublicKey, key)
	if sum := sha512.Sum512(c.Raw); !bytes.Equal(EndPoint(c), sum[:]) {
		t.Error("SHA-512")
	}
	c.SignatureAlgorithm = x509.SHA1WithRSA
	if sum := sha256.Sum256(c.Raw); !bytes.Equal(EndPoint(c), sum[:]) {
		t.Error("SHA-1, which is replaced by SHA-256")
	}
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	if EndPoint(make(x509.PureEd25519, public, private)) != nil {
		t.Error("Ed25519 has no binding")
	}
}

// No way of printing shows a verifier or a key.
func TestNothingIsPrinted(t *testing.T) {
	v := New("secret", []byte("salt of sixteen."), 4096)
	key, _ := v.Check("secret")
	for _, value := range []any{v, key} {
		text := fmt.Sprintf("%v %+v %#v %s %x %q", value, value, value, value, value, value)
		data, err := json.Marshal(value)
		if err != nil || strings.Trim(text+string(data), "* \"") != "" {
			t.Errorf("%s, %s", text, data)
		}
	}
}

// Whatever a client sends, no exchange panics, and none succeeds without the key.
func FuzzServer(f *testing.F) {
	f.Add([]byte("n,,n=,r=abc"), []byte("c=biws,r=abc,p="+zeros), false)
	f.Add([]byte("y,,n=user,r=abc,x=y"), []byte("c=eSws,r=abc,p="+zeros), false)
	f.Add([]byte("p=tls-server-end-point,,n=,r=abc"), []byte("c=,r=,p="), true)
	v := New("secret", []byte("salt of sixteen."), 1)
	f.Fuzz(func(t *testing.T, first, final []byte, plus bool) {
		s := &Server{Verifier: v}
		mechanism := Mechanism
		if plus {
			mechanism, s.Binding = MechanismPlus, []byte("binding")
		}
		if _, err := s.First(mechanism, first); err != nil {
			return
		}
		final = bytes.Replace(final, []byte("r=abc"), []byte("r="+s.nonce), 1)
		if _, key, _ := s.Final(final); key != nil {
			t.Fatal("in without the password")
		}
	})
}

// Whatever a server sends, no exchange panics, and none believes it.
func FuzzClient(f *testing.F) {
	v := New("secret", []byte("salt of sixteen."), 4096)
	key, _ := v.Check("secret")
	f.Add([]byte("r=NONCEx,s="+base64.StdEncoding.EncodeToString(v.salt)+",i=4096"), []byte("v="+zeros))
	f.Add([]byte("r=,s=,i="), []byte("e=invalid-proof"))
	f.Fuzz(func(t *testing.T, challenge, final []byte) {
		c := &Client{Key: key}
		c.First()
		if _, err := c.Final(bytes.Replace(challenge, []byte("NONCE"), []byte(c.nonce), 1)); err != nil {
			return
		}
		if c.Verify(final) == nil {
			t.Fatal("believed")
		}
	})
}

func FuzzParseVerifier(f *testing.F) {
	f.Add("SCRAM-SHA-256$4096:c2FsdA==$" + zeros + ":" + zeros)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(v.Text()); err != nil || !again.Equal(v) {
			t.Fatalf("%q is read as %q", s, v.Text())
		}
	})
}
