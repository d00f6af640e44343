package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// authority makes certificates for one test.
type authority struct {
	*pgtest.Authority
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := pgtest.NewAuthority(t)
	return &authority{a, a.Pool}
}

func (a *authority) issue(name string) tls.Certificate { return a.Issue(name) }

// connect connects by pgconn; tlsConfig nil means no TLS.
func connect(t testing.TB, url string, tlsConfig *tls.Config, direct bool) (*pgconn.PgConn, error) {
	t.Helper()
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig, cfg.Fallbacks = tlsConfig, nil
	if direct {
		cfg.SSLNegotiation = "direct"
	}
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	return pgconn.ConnectConfig(ctx, cfg)
}

func TestStartupTLS(t *testing.T) {
	pgtest.SharedPrimary(t)
	ca := newAuthority(t)
	offered := &tls.Config{Certificates: []tls.Certificate{ca.issue("pgshunt")}}
	verifying := offered.Clone()
	verifying.ClientCAs, verifying.ClientAuth = ca.pool, tls.RequireAndVerifyClientCert
	plain := (*tls.Config)(nil)
	trusting := &tls.Config{RootCAs: ca.pool, ServerName: "localhost"}
	withALPN := trusting.Clone()
	withALPN.NextProtos = []string{"postgresql"}
	otherALPN := trusting.Clone()
	otherALPN.NextProtos = []string{"http/1.1"}
	identified := withALPN.Clone()
	identified.Certificates = []tls.Certificate{ca.issue("postgres")}
	stranger := withALPN.Clone()
	stranger.Certificates = []tls.Certificate{newAuthority(t).issue("postgres")}
	allow, require, full := proxy.Config{TLS: offered}, proxy.Config{TLS: offered, RequireTLS: true}, proxy.Config{TLS: verifying, RequireTLS: true}
	for _, c := range []struct {
		name   string
		server proxy.Config
		client *tls.Config
		direct bool
		want   string // "" is success, else part of the error
	}{
		{"disabled, plain", proxy.Config{}, plain, false, ""},
		{"disabled, TLS", proxy.Config{}, trusting, false, "refused TLS"},
		{"disabled, direct TLS", proxy.Config{}, withALPN, true, "EOF"},
		{"allowed, plain", allow, plain, false, ""},
		{"allowed, TLS", allow, trusting, false, ""},
		{"allowed, TLS with ALPN", allow, withALPN, false, ""},
		{"allowed, direct TLS", allow, withALPN, true, ""},
		{"allowed, direct TLS without ALPN", allow, trusting, true, "08P01"},
		{"allowed, direct TLS with another ALPN", allow, otherALPN, true, "no application protocol"},
		{"required, plain", require, plain, false, "28000"},
		{"required, TLS", require, trusting, false, ""},
		{"verified, plain", full, plain, false, "28000"},
		{"verified, TLS without a certificate", full, trusting, false, "certificate"},
		{"verified, TLS with a stranger's certificate", full, stranger, false, "certificate"},
		{"verified, TLS with a certificate", full, identified, false, ""},
		{"verified, direct TLS with a certificate", full, identified, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			pgtest.NoLeaks(t)
			f := start(t, setup{proxy: c.server})
			conn, err := connect(t, f.url("postgres", "postgres"), c.client, c.direct)
			if err == nil {
				err = conn.Exec(t.Context(), "SELECT repeat('x', 1000000)").Close()
				_ = conn.Close(context.Background())
			}
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, not %s", err, c.want)
			}
		})
	}
}

// The bound on the startup is no bound on what comes after it.
func TestStartupTimeoutEndsWithTheStartup(t *testing.T) {
	pgtest.SharedPrimary(t)
	ca := newAuthority(t)
	const timeout = time.Second
	f := start(t, setup{proxy: proxy.Config{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("pgshunt")}}, StartupTimeout: timeout}})
	enter(t, f.addr, "postgres") // so that the server is known and a login takes no time
	for _, cfg := range []*tls.Config{nil, {RootCAs: ca.pool, ServerName: "localhost"}} {
		conn, err := connect(t, f.url("postgres", "postgres"), cfg, false)
		if err != nil {
			t.Fatal(err)
		}
		// The server sleeps past the bound before it answers with what fills every buffer.
		sql := "SELECT pg_sleep(1.1); SELECT repeat('x', 1000000) FROM generate_series(1, 10)"
		if err := conn.Exec(t.Context(), sql).Close(); err != nil {
			t.Errorf("TLS %v: %v", cfg != nil, err)
		}
		_ = conn.Close(context.Background())
	}
}

// Nothing that stands in the stream before the handshake is taken for encrypted.
func TestStartupBytesBeforeTheHandshake(t *testing.T) {
	pgtest.SharedPrimary(t)
	f := start(t, setup{proxy: proxy.Config{TLS: &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue("pgshunt")}}}})
	c := dial(t, f.addr)
	startup, _ := (&pgproto3.StartupMessage{ProtocolVersion: 3 << 16, Parameters: map[string]string{"user": "postgres"}}).Encode(nil)
	c.put(append([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"), startup...))
	if got := joined(c.answer()); got != "FATAL 08P01 received unencrypted data after SSL request; closed" {
		t.Errorf("got %q", got)
	}
	again := dial(t, f.addr)
	again.put([]byte("\x00\x00\x00\x08\x04\xd2\x16\x30"))
	var n [1]byte
	if _, _ = again.Read(n[:]); n[0] != 'N' {
		t.Errorf("GSS: %q", n)
	}
	again.put([]byte("\x00\x00\x00\x08\x04\xd2\x16\x30"))
	if got := joined(again.answer()); got != "FATAL 08P01 encryption requested twice; closed" {
		t.Errorf("GSS twice: %q", got)
	}
}
