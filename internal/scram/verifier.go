package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
)

// The mechanisms' names in SASL.
const (
	Mechanism     = "SCRAM-SHA-256"
	MechanismPlus = "SCRAM-SHA-256-PLUS"
)

// Iterations is PostgreSQL's default (SCRAM_SHA_256_DEFAULT_ITERATIONS), and
// SaltSize the length of the salts that it makes.
const (
	Iterations = 4096
	SaltSize   = 16
)

// maxIterations bounds what a verifier, or a server, may make us calculate: some
// seconds.
const maxIterations = 10_000_000

const keySize = sha256.Size

// Verifier is what a server stores of a password. It is immutable, and prints
// nothing of itself.
type Verifier struct {
	salt       []byte
	iterations int
	stored     [keySize]byte
	server     [keySize]byte
}

// New makes the verifier of a password.
func New(password string, salt []byte, iterations int) *Verifier {
	v := &Verifier{salt: salt, iterations: iterations}
	client, server := derive(password, salt, iterations)
	v.stored, v.server = sha256.Sum256(client[:]), server
	return v
}

// Mock makes a verifier that no password has, of which sum is the only thing
// known: for users who do not exist. Nobody knows a key whose hash is a sum.
func Mock(sum [sha256.Size]byte, iterations int) *Verifier {
	return &Verifier{salt: sum[:SaltSize], iterations: iterations, stored: sum, server: sum}
}

// ErrVerifier is the only thing said about a verifier that cannot be read; the
// text itself is as good as a secret.
var ErrVerifier = errors.New("not a SCRAM verifier of the form SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY")

// Parse reads a verifier as pg_authid.rolpassword has it.
func Parse(s string) (*Verifier, error) {
	rest, ok := strings.CutPrefix(s, Mechanism+"$")
	factors, keys, ok2 := strings.Cut(rest, "$")
	number, salt, ok3 := strings.Cut(factors, ":")
	stored, server, ok4 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 || !ok4 {
		return nil, ErrVerifier
	}
	v := &Verifier{}
	var err error
	if v.iterations, err = strconv.Atoi(number); err != nil || v.iterations < 1 || v.iterations > maxIterations {
		return nil, ErrVerifier
	}
	if v.salt, err = base64.StdEncoding.DecodeString(salt); err != nil || len(v.salt) == 0 {
		return nil, ErrVerifier
	}
	for _, key := range []struct {
		text string
		to   *[keySize]byte
	}{{stored, &v.stored}, {server, &v.server}} {
		raw, err := base64.StdEncoding.DecodeString(key.text)
		if err != nil || len(raw) != keySize {
			return nil, ErrVerifier
		}
		copy(key.to[:], raw)
	}
	return v, nil
}

// Text is the verifier as pg_authid.rolpassword has it: a secret.
func (v *Verifier) Text() string {
	e := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", Mechanism, v.iterations, e(v.salt), e(v.stored[:]), e(v.server[:]))
}

// Iterations says how much work a password costs.
func (v *Verifier) Iterations() int { return v.iterations }

// Equal tells whether both are of the same password and salt.
func (v *Verifier) Equal(w *Verifier) bool {
	return v.iterations == w.iterations && subtle.ConstantTimeCompare(v.salt, w.salt) == 1 &&
		subtle.ConstantTimeCompare(v.stored[:], w.stored[:]) == 1
}

// Check tells whether a password is the verifier's, and if so returns the key that
// stands for it.
func (v *Verifier) Check(password string) (*Key, bool) {
	client, _ := derive(password, v.salt, v.iterations)
	return v.key(client)
}

// key returns the Key of a client key that matches the verifier.
func (v *Verifier) key(client [keySize]byte) (*Key, bool) {
	stored := sha256.Sum256(client[:])
	if subtle.ConstantTimeCompare(stored[:], v.stored[:]) != 1 {
		return nil, false
	}
	return &Key{of: v, client: client}, true
}

// Format and MarshalText keep verifiers out of logs and error texts.
func (v *Verifier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText hides the verifier from JSON, YAML and slog.
func (v *Verifier) MarshalText() ([]byte, error) { return []byte(hidden), nil }

const hidden = "***"

// derive calculates ClientKey and ServerKey of a password.
func derive(password string, salt []byte, iterations int) (client, server [keySize]byte) {
	salted, err := pbkdf2.Key(sha256.New, prepare(password), salt, iterations, keySize)
	if err != nil { // only where FIPS mode refuses short salts and the like
		panic("BUG: pbkdf2: " + err.Error())
	}
	return mac(salted, "Client Key"), mac(salted, "Server Key")
}

// prepare normalizes a password. One that SASLprep refuses is used as it is, as
// in PostgreSQL.
func prepare(password string) string {
	if p, err := stringprep.SASLprep.Prepare(password); err == nil && p != "" {
		return p
	}
	return password
}

func mac(key []byte, parts ...string) (sum [keySize]byte) {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write([]byte(p))
	}
	m.Sum(sum[:0])
	return sum
}

func xor(a, b [keySize]byte) (sum [keySize]byte) {
	subtle.XORBytes(sum[:], a[:], b[:])
	return sum
}
