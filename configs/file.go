package configs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// maxSecretFile and maxRulesFile bound what is read for one secret, or of a
// pg_hba.conf, since the name may be wrong.
const (
	maxSecretFile = 64 << 10
	maxRulesFile  = 1 << 20
)

// A fileReader resolves file names against the directory of the configuration and
// reads the secrets they hold.
type fileReader struct {
	dir                string
	findings, warnings []finding
}

func (r *fileReader) config(c *Config) {
	r.server("primary", &c.Primary)
	for i := range c.Replicas {
		r.server(fmt.Sprintf("replicas[%d]", i), &c.Replicas[i].Server)
		r.server(fmt.Sprintf("replicas[%d].source", i), &c.Replicas[i].Source)
	}
	for i := range c.Auth.Users {
		u := &c.Auth.Users[i]
		key := fmt.Sprintf("auth.users[%d]", i)
		if text, ok := r.secret(key, "password", string(u.Password), u.PasswordFile); ok {
			u.Password = Secret(text)
		}
	}
	c.Auth.HBA = r.path(c.Auth.HBA)
	if _, err := c.Auth.Rules(); err != nil {
		r.find("auth.hba", "%v", err)
	}
	c.TLS.Cert = r.path(c.TLS.Cert)
	c.TLS.Key = r.path(c.TLS.Key)
	c.TLS.ClientCA = r.path(c.TLS.ClientCA)
	if c.TLS.Cert != "" && c.TLS.Key != "" {
		if _, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key); err != nil {
			r.find("tls.cert", "cannot use this certificate with its key: %v", err)
		}
		r.private("tls.key", c.TLS.Key)
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		if p.CA = r.path(p.CA); p.CA == "" {
			continue
		}
		if _, err := certPool(p.CA); err != nil {
			r.find(fmt.Sprintf("peers[%d].ca", i), "%v", err)
		}
	}
	if c.TLS.ClientCA != "" {
		if _, err := certPool(c.TLS.ClientCA); err != nil {
			r.find("tls.client_ca", "%v", err)
		}
	}
}

func (r *fileReader) server(key string, s *Server) {
	if text, ok := r.secret(key, "url", string(s.URL), s.URLFile); ok {
		s.URL = URL(text)
	}
	if text, ok := r.secret(key, "password", string(s.Password), s.PasswordFile); ok {
		s.Password = Secret(text)
	}
}

// secret reads the file that stands for key.name, if there is one.
func (r *fileReader) secret(key, name, value, file string) (string, bool) {
	if file == "" {
		return "", false
	}
	key += "." + name + "_file"
	if value != "" {
		r.find(key, "%s is given too; leave one of the two out", name)
		return "", false
	}
	path := r.path(file)
	data, err := readUpTo(path, maxSecretFile)
	if err != nil {
		r.find(key, "cannot read it: %v", err)
		return "", false
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" || strings.ContainsAny(text, "\n\x00") {
		r.find(key, "%s must hold the %s as its only line", path, name)
		return "", false
	}
	r.private(key, path)
	return text, true
}

// private warns about a secret that other users of the machine can read.
func (r *fileReader) private(key, path string) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		r.warnings = append(r.warnings, finding{key, fmt.Sprintf(
			"%s is readable by others (mode %04o); chmod 600 it", path, info.Mode().Perm())})
	}
}

func (r *fileReader) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, name)
}

func (r *fileReader) find(key, format string, args ...any) {
	r.findings = append(r.findings, finding{key, fmt.Sprintf(format, args...)})
}

// readRules reads a pg_hba.conf or a file that it names.
func readRules(path string) ([]byte, error) { return readUpTo(path, maxRulesFile) }

// readUpTo reads a regular file of at most limit bytes. Devices and pipes are
// refused: reading one may never end.
func readUpTo(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, err
}

func certPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(path + " holds no certificate in PEM form")
	}
	return pool, nil
}

// ServerConfig returns what a listener needs to speak TLS with clients, nil when
// the mode is disable. It reads the files anew, so that a renewed certificate is
// taken up by a reload.
func (t *TLS) ServerConfig() (*tls.Config, error) {
	if t.Mode == TLSDisable || t.Mode == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert: %w", err)
	}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		// The protocol name of PostgreSQL, which direct TLS must agree on.
		NextProtos: []string{"postgresql"},
	}
	if t.ClientCA == "" {
		return cfg, nil
	}
	if cfg.ClientCAs, err = certPool(t.ClientCA); err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	if t.Mode == TLSVerifyFull {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

// ClientConfig returns what passing requests to the peer in TLS needs, nil when
// they go in the clear. It shows this instance's own certificate, if it has one, to a peer that
// demands one.
func (p *Peer) ClientConfig(own *TLS) (*tls.Config, error) {
	if p.TLS == TLSDisable || p.TLS == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(p.Address)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: p.TLS == TLSRequire}
	if p.CA != "" {
		if cfg.RootCAs, err = certPool(p.CA); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
	}
	if own.Cert != "" && own.Key != "" {
		cert, err := tls.LoadX509KeyPair(own.Cert, own.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}
