package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/auth"
	"pgshunt/internal/hba"
	"pgshunt/internal/pgerr"
	"pgshunt/internal/scram"
	"pgshunt/internal/wire"
)

// Auth is how clients prove who they are.
type Auth struct {
	// Method is for everybody where there are no Rules.
	Method hba.Method
	// Rules are a pg_hba.conf file, or nil.
	Rules *hba.Rules
	// Store has the passwords; it may be nil where no method asks for one.
	Store *auth.Store
	// Keys is where the keys of clients go that have proven themselves; nil forgets them.
	Keys *auth.Keys
}

// authenticate has the client prove who it is.
func (s *session) authenticate() error {
	rule, err := s.authRule()
	if err != nil {
		return err
	}
	var cert *x509.Certificate
	if rule.ClientCert != hba.NoCert {
		if cert = s.verifiedCert(); cert == nil {
			return pgerr.Fatal(pgerr.InvalidAuth, "connection requires a valid client certificate").In("authenticate")
		}
	}
	var key *scram.Key
	switch rule.Method {
	case hba.Trust, hba.Cert:
	case hba.Password:
		key, err = s.askPassword()
	case hba.MD5:
		key, err = s.askMD5()
	case hba.SCRAM:
		key, err = s.askSCRAM(nil)
	default:
		err = pgerr.Fatal(pgerr.Internal, "no authentication method is configured").In("authenticate")
	}
	if err != nil {
		return err
	}
	if rule.ClientCert == hba.VerifyFull && cert.Subject.CommonName != s.who.user {
		return s.notWho(rule.Method, errors.New("the certificate is another user's"))
	}
	if key != nil && s.by.auth.Keys != nil {
		s.by.auth.Keys.Put(s.who.user, key)
	}
	return nil
}

// authRule finds out what is asked of this client.
func (s *session) authRule() (*hba.Rule, error) {
	a := &s.by.auth
	if a.Rules == nil {
		rule := &hba.Rule{Method: a.Method}
		if a.Method == hba.Cert {
			rule.ClientCert = hba.VerifyFull
		}
		return rule, nil
	}
	q := hba.Request{
		TLS: s.client.TLS() != nil, User: s.who.user, Database: s.who.database, Replication: s.who.replication == physicalReplication,
	}
	if ap, err := netip.ParseAddrPort(s.client.RemoteAddr().String()); err == nil {
		q.Address = ap.Addr().Unmap()
	}
	rule := a.Rules.Match(q)
	switch {
	case rule == nil:
		return nil, notAllowed(&q, false)
	case rule.Method == hba.Reject:
		return nil, notAllowed(&q, true)
	}
	s.log.Debug("authentication rule found", "rule", rule.Line, "reason", string(rule.Method))
	return rule, nil
}

// notAllowed is the end of a client whom the rules do not let try, in PostgreSQL's words.
func notAllowed(q *hba.Request, rejected bool) error {
	from := "no pg_hba.conf entry for"
	switch {
	case rejected && q.Replication:
		from = "pg_hba.conf rejects replication connection for"
	case rejected:
		from = "pg_hba.conf rejects connection for"
	case q.Replication:
		from = "no pg_hba.conf entry for replication connection from"
	}
	database, encryption := "", "no encryption"
	if !q.Replication {
		database = fmt.Sprintf(", database %q", q.Database)
	}
	if q.TLS {
		encryption = "SSL encryption"
	}
	return pgerr.Fatal(pgerr.InvalidAuth, "%s host %q, user %q%s, %s", from, q.Address.WithZone(""), q.User, database, encryption).In("authenticate")
}

// verifiedCert is the client's certificate if our authority has issued it.
func (s *session) verifiedCert() *x509.Certificate {
	state := s.client.TLS()
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.PeerCertificates[0]
}

// notWho is the end of a client that is not who it says. The texts are
// PostgreSQL's; why is for the log.
func (s *session) notWho(m hba.Method, why error) error {
	switch m {
	case hba.Trust:
		return pgerr.Fatal(pgerr.InvalidAuth, "%q authentication failed for user %q", m, s.who.user).Because(why).In("authenticate")
	case hba.Cert:
		return pgerr.Fatal(pgerr.InvalidAuth, "certificate authentication failed for user %q", s.who.user).Because(why).In("authenticate")
	}
	return pgerr.Fatal(pgerr.InvalidPassword, "password authentication failed for user %q", s.who.user).Because(why).In("authenticate")
}

// Why a password was not taken, for the log.
var (
	errNoSecret = errors.New("no such user, or one without a valid password")
	errOnlyMD5  = errors.New("only an MD5 hash is stored, which SCRAM cannot check")
	errMismatch = errors.New("the password does not match")
)

func whyNot(f auth.Found) error {
	if !f.Known() {
		return errNoSecret
	}
	return errMismatch
}

// findSecret finds what the client is checked against.
func (s *session) findSecret() (auth.Found, error) {
	s.turn.Block()
	ctx, cancel := context.WithTimeoutCause(s.srv.ctx, s.by.startupTimeout, errStartupTimeout)
	defer cancel()
	return s.by.auth.Store.Lookup(ctx, s.who.user)
}

// refreshSecret asks anew after a failure; ok is false where nothing has changed.
func (s *session) refreshSecret(old auth.Found) (auth.Found, bool, error) {
	s.turn.Block()
	ctx, cancel := context.WithTimeoutCause(s.srv.ctx, s.by.startupTimeout, errStartupTimeout)
	defer cancel()
	return s.by.auth.Store.Refresh(ctx, s.who.user, old)
}

// askPassword checks a password in the clear against whatever is stored.
func (s *session) askPassword() (*scram.Key, error) {
	if err := s.sendStartup(&pgproto3.AuthenticationCleartextPassword{}); err != nil {
		return nil, err
	}
	body, err := s.passwordText()
	if err != nil {
		return nil, err
	}
	found, err := s.findSecret()
	if err != nil {
		return nil, err
	}
	key, ok := found.Password(s.who.user, body)
	if !ok {
		again, changed, err := s.refreshSecret(found)
		if err != nil {
			return nil, err
		}
		if changed {
			key, ok = again.Password(s.who.user, body)
		}
	}
	if !ok {
		return nil, s.notWho(hba.Password, whyNot(found))
	}
	return key, nil
}

// askMD5 is method md5: an MD5 challenge, or SCRAM where only a SCRAM verifier is
// stored, as in PostgreSQL.
func (s *session) askMD5() (*scram.Key, error) {
	found, err := s.findSecret()
	if err != nil {
		return nil, err
	}
	if !found.MD5() {
		return s.askSCRAM(&found)
	}
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails, see crypto/rand
	if err := s.sendStartup(&pgproto3.AuthenticationMD5Password{Salt: salt}); err != nil {
		return nil, err
	}
	answer, err := s.passwordText()
	if err != nil {
		return nil, err
	}
	ok := found.Response(answer, salt)
	if !ok {
		again, changed, err := s.refreshSecret(found)
		if err != nil {
			return nil, err
		}
		ok = changed && again.Response(answer, salt)
	}
	if !ok {
		return nil, s.notWho(hba.MD5, whyNot(found))
	}
	return nil, nil
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

// Bounds of messages before the client is known. That of SASL is PostgreSQL's
// (PG_MAX_SASL_MESSAGE_LENGTH); passwords are shorter here than there.
const (
	maxSASL     = 1024
	maxPassword = 4096
)

// passwordText reads a PasswordMessage.
func (s *session) passwordText() (string, error) {
	body, err := s.passwordMessage(maxPassword, "password")
	if err != nil {
		return "", err
	}
	n := bytes.IndexByte(body, 0)
	switch {
	case n < 0 || n != len(body)-1:
		return "", pgerr.Fatal(pgerr.ProtocolViolation, "invalid password packet size").In("authenticate")
	case n == 0:
		return "", pgerr.Fatal(pgerr.InvalidPassword, "empty password returned by client").In("authenticate")
	}
	return string(body[:n]), nil
}

// passwordMessage reads the body of a 'p' message, valid until the next read.
func (s *session) passwordMessage(limit int, what string) ([]byte, error) {
	for {
		var m wire.Message
		ok, err := s.in.Next(&m)
		if err != nil {
			return nil, pgerr.Fatal(pgerr.ProtocolViolation, "invalid message length").Because(err).In("authenticate")
		}
		if !ok {
			if s.in.Buffered() > limit {
				return nil, pgerr.Fatal(pgerr.ProtocolViolation, "%s message too long", what).In("authenticate")
			}
			if err := s.fillStartup(); err != nil {
				return nil, err
			}
			continue
		}
		if m.Type != 'p' || !m.Whole() || len(m.Data) > limit {
			return nil, pgerr.Fatal(pgerr.ProtocolViolation, "expected %s response, got message type %d", what, m.Type).In("authenticate")
		}
		return m.Body(), nil
	}
}
