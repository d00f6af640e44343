package pgtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Authority issues certificates for one test.
type Authority struct {
	// Pool trusts the authority and nobody else.
	Pool *x509.CertPool

	tb   testing.TB
	pair tls.Certificate // its own; empty while that is being made
}

// NewAuthority makes an authority.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, Pool: x509.NewCertPool()}
	a.pair = a.Issue("authority")
	a.Pool.AddCert(a.pair.Leaf)
	return a
}

// Issue makes a certificate with a common name, for localhost and for clients.
func (a *Authority) Issue(name string) tls.Certificate {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a.pair.Leaf == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, any(key)
	if a.pair.Leaf != nil {
		parent, signer = a.pair.Leaf, a.pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// WriteCA writes the authority's certificate to a file.
func (a *Authority) WriteCA(path string) {
	a.tb.Helper()
	a.write(path, "CERTIFICATE", a.pair.Certificate[0])
}

// Write issues a certificate and writes NAME.crt and NAME.key to a directory.
func (a *Authority) Write(dir, name, commonName string) {
	a.tb.Helper()
	pair := a.Issue(commonName)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		a.tb.Fatal(err)
	}
	a.write(filepath.Join(dir, name+".crt"), "CERTIFICATE", pair.Certificate[0])
	a.write(filepath.Join(dir, name+".key"), "PRIVATE KEY", der)
}

func (a *Authority) write(path, kind string, der []byte) {
	a.tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
}

// EnableTLS has the server offer TLS with a certificate of a, check the clients'
// certificates against a, and restarts it.
func (s *Server) EnableTLS(tb testing.TB, a *Authority) {
	tb.Helper()
	a.Write(s.Dir(), "server", "localhost")
	a.WriteCA(filepath.Join(s.Dir(), "ca.crt"))
	owner, err := os.Stat(filepath.Join(s.Dir(), "data", "PG_VERSION"))
	if err != nil {
		tb.Fatal(err)
	}
	for name, setting := range map[string]string{"server.crt": "ssl_cert_file", "server.key": "ssl_key_file", "ca.crt": "ssl_ca_file"} {
		path := filepath.Join(s.Dir(), name)
		if st, ok := owner.Sys().(*syscall.Stat_t); ok { // the server insists on owning its key
			if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
				tb.Fatal(err)
			}
		}
		s.Exec(tb, "ALTER SYSTEM SET "+setting+" = '"+path+"'")
	}
	s.Exec(tb, "ALTER SYSTEM SET ssl = on")
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := s.Restart(ctx); err != nil {
		tb.Fatal(err)
	}
}
