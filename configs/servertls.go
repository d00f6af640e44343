package configs

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pghosts"
)

// checkTLS refuses what libpq refuses and pgconn takes for something else: modes
// that verify without a root of trust, where pgconn would trust every public
// authority; direct TLS in a mode that also does without; and settings that pgconn
// does not know and would send to the server as parameters of the session.
func checkTLS(cfg *pgconn.Config) error {
	for _, name := range []string{"sslcrl", "sslcrldir", "ssl_min_protocol_version", "ssl_max_protocol_version", "sslcompression", "requirepeer", "gssencmode"} {
		if _, set := cfg.RuntimeParams[name]; set {
			return fmt.Errorf("%s is not supported; leave it out", name)
		}
	}
	switch cfg.SSLNegotiation {
	case "", "postgres", "direct":
	default:
		return fmt.Errorf("there is no sslnegotiation %q; write postgres or direct", cfg.SSLNegotiation)
	}
	for _, way := range pghosts.Ways(cfg) {
		network, _ := pgconn.NetworkAddress(way.Host, way.Port)
		switch t := way.TLSConfig; {
		case network == "unix":
		case t == nil && cfg.SSLNegotiation == "direct":
			return errors.New("sslnegotiation=direct needs sslmode require, verify-ca or verify-full")
		case t != nil && t.RootCAs == nil && (!t.InsecureSkipVerify || t.VerifyPeerCertificate != nil):
			return errors.New("sslmode verify-ca and verify-full need sslrootcert, the file of the authority's certificate, " +
				"or sslrootcert=system with verify-full")
		}
	}
	return nil
}

// demandALPN makes direct TLS sure that the other side speaks PostgreSQL's
// protocol, as libpq does: a server of another protocol may have the same certificate.
func demandALPN(cfg *pgconn.Config) {
	if cfg.SSLNegotiation != "direct" {
		return
	}
	for _, way := range pghosts.Ways(cfg) {
		if way.TLSConfig == nil {
			continue
		}
		way.TLSConfig.VerifyConnection = func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != "postgresql" {
				return errors.New("direct SSL connection was established without ALPN protocol negotiation extension")
			}
			return nil
		}
	}
}
