package auth

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"pgshunt/internal/scram"
)

// Secret is what is known of a user's password: one or both of a SCRAM verifier
// and an MD5 hash. It is immutable and prints nothing of itself.
type Secret struct {
	scram *scram.Verifier
	md5   string // 32 hexadecimal digits, "" where it is not known
}

// ErrSecret says that a text is no verifier; it does not quote it.
var ErrSecret = errors.New("neither a SCRAM verifier (SCRAM-SHA-256$...) nor an MD5 hash (md5 and 32 hexadecimal digits), as pg_authid has them")

// ParseSecret reads what pg_authid.rolpassword holds.
func ParseSecret(text string) (*Secret, error) {
	if digits, ok := strings.CutPrefix(text, "md5"); ok {
		if raw, err := hex.DecodeString(digits); err == nil && len(raw) == md5.Size {
			return &Secret{md5: strings.ToLower(digits)}, nil
		}
		return nil, ErrSecret
	}
	v, err := scram.Parse(text)
	if err != nil {
		return nil, ErrSecret
	}
	return &Secret{scram: v}, nil
}

// clear makes the secret of a password that is known.
func clear(user, password string, salt []byte) *Secret {
	return &Secret{scram: scram.New(password, salt, scram.Iterations), md5: hash(password, user)}
}

// Format and MarshalText keep secrets out of logs and error texts.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("***")) }

// MarshalText hides the secret from JSON, YAML and slog.
func (s *Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

func (s *Secret) equal(t *Secret) bool {
	if (s.scram == nil) != (t.scram == nil) || s.scram != nil && !s.scram.Equal(t.scram) {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(s.md5), []byte(t.md5)) == 1
}

// hash is the hexadecimal MD5 sum of two texts, PostgreSQL's only use of MD5.
func hash(text, salt string) string {
	sum := md5.Sum([]byte(text + salt))
	return hex.EncodeToString(sum[:])
}

// Found is what a login is checked against. The zero Found matches nothing.
type Found struct {
	secret *Secret
	mock   *scram.Verifier // what a user who does not exist, or has no such secret, is measured by
	known  bool
	cached bool
	asMD5  bool
}

// Known tells whether the user exists and may log in. It is for the log only:
// whoever decides by it tells strangers who exists.
func (f Found) Known() bool { return f.known }

// MD5 tells whether method md5 should ask for an MD5 hash; where only a SCRAM
// verifier is stored it uses SCRAM, as PostgreSQL does.
func (f Found) MD5() bool { return f.asMD5 }

// Verifier is what a SCRAM exchange is about. If doomed, it must fail in the end.
func (f Found) Verifier() (v *scram.Verifier, doomed bool) {
	if f.known && f.secret.scram != nil {
		return f.secret.scram, false
	}
	return f.mock, true
}

// Response checks the answer to an MD5 challenge.
func (f Found) Response(answer string, salt [4]byte) bool {
	stored, usable := "", f.known && f.secret.md5 != ""
	if usable {
		stored = f.secret.md5
	} else {
		stored = hash("nobody", "") // the same work, and no answer is right
	}
	want := "md5" + hash(stored, string(salt[:]))
	return subtle.ConstantTimeCompare([]byte(answer), []byte(want)) == 1 && usable
}

// Password checks a password sent in the clear. The key is nil where the secret is
// no SCRAM verifier.
func (f Found) Password(user, password string) (*scram.Key, bool) {
	v, doomed := f.Verifier()
	key, ok := v.Check(password) // always, so that all take as long
	digest := hash(password, user)
	if !doomed {
		return key, ok
	}
	ok = f.known && f.secret.md5 != "" && subtle.ConstantTimeCompare([]byte(digest), []byte(f.secret.md5)) == 1
	return nil, ok
}
