package proxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"

	"pgshunt/internal/pgerr"
)

// Auth is how clients prove who they are.
type Auth struct {
	// Trust lets everybody in as whoever they say.
	Trust bool
	// users holds what SCRAM-SHA-256 needs to know of each user's password.
	users map[string]scram.StoredCredentials
	// pepper makes up salts for users that do not exist, the same for the same name.
	pepper [32]byte
}

// scramIterations is PostgreSQL's own number (SCRAM_SHA_256_DEFAULT_ITERATIONS).
const scramIterations = 4096

const scramMechanism = "SCRAM-SHA-256"

// NewScramAuth returns an Auth for SCRAM-SHA-256 with clear-text passwords, of
// which only the verifiers are kept.
func NewScramAuth(passwords map[string]string) (Auth, error) {
	a := Auth{users: make(map[string]scram.StoredCredentials)}
	_, _ = rand.Read(a.pepper[:]) // never fails, see crypto/rand
	for user, password := range passwords {
		client, err := scram.SHA256.NewClient("", password, "")
		if err != nil { // a password that SASLprep refuses is used as it is, as in PostgreSQL
			client, err = scram.SHA256.NewClientUnprepped("", password, "")
		}
		if err != nil {
			return a, fmt.Errorf("password of user %q: %w", user, err)
		}
		salt := make([]byte, 16)
		_, _ = rand.Read(salt)
		stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: scramIterations})
		if err != nil {
			return a, fmt.Errorf("password of user %q: %w", user, err)
		}
		a.users[user] = stored
	}
	return a, nil
}

// lookup returns a user's verifier. An unknown user gets one that nothing
// matches, so that the exchange takes the same steps and the same work.
func (a *Auth) lookup(user string) (scram.StoredCredentials, bool) {
	if c, ok := a.users[user]; ok {
		return c, true
	}
	mac := hmac.New(sha256.New, a.pepper[:])
	mac.Write([]byte(user))
	sum := mac.Sum(nil)
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(sum[:16]), Iters: scramIterations},
		StoredKey:  sum, ServerKey: sum,
	}, false
}

// authenticate has the client prove who it is.
func (s *session) authenticate() error {
	if s.srv.cfg.Auth.Trust {
		return nil
	}
	stored, known := s.srv.cfg.Auth.lookup(s.who.user)
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return err
	}
	conv := server.NewConversation()
	if err := s.sendStartup(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramMechanism}}); err != nil {
		return err
	}
	body, err := s.passwordMessage()
	if err != nil {
		return err
	}
	var initial pgproto3.SASLInitialResponse
	if err := initial.Decode(body); err != nil {
		return malformedSASL(err)
	}
	if initial.AuthMechanism != scramMechanism {
		return pgerr.Fatal(pgerr.ProtocolViolation, "client selected an invalid SASL authentication mechanism").In("authenticate")
	}
	challenge, err := conv.Step(string(initial.Data))
	if err != nil {
		return malformedSASL(err)
	}
	if err := s.sendStartup(&pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)}); err != nil {
		return err
	}
	if body, err = s.passwordMessage(); err != nil {
		return err
	}
	final, err := conv.Step(string(body))
	if err != nil || !conv.Valid() || !known {
		return pgerr.Fatal(pgerr.InvalidPassword, "password authentication failed for user %q", s.who.user).Because(err).In("authenticate")
	}
	return s.sendStartup(&pgproto3.AuthenticationSASLFinal{Data: []byte(final)})
}

func malformedSASL(err error) error {
	return pgerr.Fatal(pgerr.ProtocolViolation, "malformed SCRAM message").Because(err).In("authenticate")
}

func (s *session) sendStartup(m pgproto3.BackendMessage) error {
	out, err := m.Encode(nil)
	if err != nil {
		return err
	}
	if _, err := s.client.WriteIn(s.turn, out); err != nil {
		return errors.Join(errLeft, err)
	}
	return nil
}

// maxSASL bounds a message before the client is known; PostgreSQL's own limit
// (PG_MAX_SASL_MESSAGE_LENGTH).
const maxSASL = 1024

// passwordMessage reads the body of a 'p' message, valid until the next read.
func (s *session) passwordMessage() ([]byte, error) {
	for {
		m, ok, err := s.in.Next()
		if err != nil {
			return nil, pgerr.Fatal(pgerr.ProtocolViolation, "invalid message length").Because(err).In("authenticate")
		}
		if !ok {
			if s.in.Buffered() > maxSASL {
				return nil, pgerr.Fatal(pgerr.ProtocolViolation, "SASL message too long").In("authenticate")
			}
			if err := s.fillStartup(); err != nil {
				return nil, err
			}
			continue
		}
		if m.Type != 'p' || !m.Whole() || len(m.Data) > maxSASL {
			return nil, pgerr.Fatal(pgerr.ProtocolViolation, "expected SASL response, got message type %d", m.Type).In("authenticate")
		}
		return m.Body(), nil
	}
}
