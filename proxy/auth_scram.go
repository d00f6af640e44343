package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/auth"
	"pgshunt/internal/hba"
	"pgshunt/internal/pgerr"
	"pgshunt/internal/scram"
)

// askSCRAM is SCRAM-SHA-256, with channel binding over TLS where our certificate
// has one. Found is nil if nobody has looked yet.
//
// A client that fails by a verifier which has been replaced meanwhile cannot be
// asked again: its proof is about the old salt. The old one is forgotten, so that
// its next login meets the new one.
func (s *session) askSCRAM(found *auth.Found) (*scram.Key, error) {
	exchange := &scram.Server{}
	offer := []string{scram.Mechanism}
	if s.client.TLS() != nil {
		if exchange.Binding = ownBinding(s.by.tls); exchange.Binding != nil {
			offer = []string{scram.MechanismPlus, scram.Mechanism}
		}
	}
	if err := s.sendStartup(&pgproto3.AuthenticationSASL{AuthMechanisms: offer}); err != nil {
		return nil, err
	}
	body, err := s.passwordMessage(maxSASL, "SASL")
	if err != nil {
		return nil, err
	}
	var initial pgproto3.SASLInitialResponse
	if err := initial.Decode(body); err != nil {
		return nil, malformedSASL(err)
	}
	first := append([]byte(nil), initial.Data...)
	if found == nil { // not before the client has something to say: many only knock
		f, err := s.findSecret()
		if err != nil {
			return nil, err
		}
		found = &f
	}
	var doomed bool
	exchange.Verifier, doomed = found.Verifier()
	challenge, err := exchange.First(initial.AuthMechanism, first)
	if err != nil {
		return nil, malformedSASL(err)
	}
	if err := s.sendStartup(&pgproto3.AuthenticationSASLContinue{Data: challenge}); err != nil {
		return nil, err
	}
	if body, err = s.passwordMessage(maxSASL, "SASL"); err != nil {
		return nil, err
	}
	answer, key, err := exchange.Final(body)
	if err != nil {
		return nil, malformedSASL(err)
	}
	if key == nil || doomed {
		if _, _, err := s.refreshSecret(*found); err != nil {
			return nil, err
		}
		why := whyNot(*found)
		if doomed && found.Known() {
			why = errOnlyMD5
		}
		return nil, s.notWho(hba.SCRAM, why)
	}
	if err := s.sendStartup(&pgproto3.AuthenticationSASLFinal{Data: answer}); err != nil {
		return nil, err
	}
	return key, nil
}

func malformedSASL(err error) error {
	var m *scram.Malformed
	if !errors.As(err, &m) {
		return pgerr.Fatal(pgerr.ProtocolViolation, "malformed SCRAM message").Because(err).In("authenticate")
	}
	code := pgerr.ProtocolViolation
	switch {
	case m.Negotiation:
		code = pgerr.InvalidAuth
	case m.Unsupported:
		code = pgerr.FeatureNotSupported
	}
	e := pgerr.Fatal(code, "%s", m.Message).In("authenticate")
	e.Detail = m.Detail
	return e
}

// ownBinding is the channel binding of our certificate, or nil: where there is more
// than one to choose from, nobody can say afterwards which one a client was shown.
func ownBinding(cfg *tls.Config) []byte {
	if cfg == nil || len(cfg.Certificates) != 1 || cfg.GetCertificate != nil || cfg.GetConfigForClient != nil {
		return nil
	}
	leaf := cfg.Certificates[0].Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(cfg.Certificates[0].Certificate[0]); err != nil {
			return nil
		}
	}
	return scram.EndPoint(leaf)
}
