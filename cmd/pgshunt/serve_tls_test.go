package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// authority issues certificates into a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.issue(name)
	return a
}

// file is the path of a certificate (.crt) or key (.key).
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes NAME.crt and NAME.key, for host localhost but not its address. The
// first is the authority's own.
func (a *authority) issue(name string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a.cert == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{"localhost"},
	}
	if a.cert == nil {
		a.cert, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// tlsPrimary is a server with TLS whose users differ in what it asks of them.
func tlsPrimary(t *testing.T, ca *authority) *pgtest.Server {
	t.Helper()
	s := pgtest.Primary(t, pgtest.Options{HBA: "" +
		"hostnossl all plain 127.0.0.1/32 trust\n" +
		"hostssl all encrypted 127.0.0.1/32 trust\n" +
		"hostssl all certified 127.0.0.1/32 cert\n" +
		"host all postgres 127.0.0.1/32 trust\n"})
	ca.issue("server")
	for to, from := range map[string]string{"server.crt": "server.crt", "server.key": "server.key", "root.crt": "authority.crt"} {
		text, err := os.ReadFile(ca.file(from))
		if err != nil {
			t.Fatal(err)
		}
		// The server itself writes the file, so that it is its own and secret.
		s.Exec(t, "COPY (SELECT unnest(string_to_array('"+strings.TrimSpace(string(text))+"', E'\\n'))) TO PROGRAM 'umask 077; cat > "+to+"'")
	}
	s.Exec(t, "ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
	s.Exec(t, "ALTER SYSTEM SET ssl = on")
	s.Exec(t, "CREATE ROLE plain LOGIN; CREATE ROLE encrypted LOGIN; CREATE ROLE certified LOGIN")
	s.Exec(t, "SELECT pg_reload_conf()")
	if !pgtest.Eventually(func() bool {
		conn, err := pgconn.Connect(t.Context(), "host=127.0.0.1 user=encrypted dbname=postgres sslmode=require port="+strconv.Itoa(s.Port))
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err == nil
	}) {
		t.Fatal("the server does not speak TLS")
	}
	return s
}

// behind starts a proxy whose primary has a URL, and returns a URL to the proxy.
func behind(t *testing.T, primary string, change func(*configs.Config)) string {
	t.Helper()
	c := configs.Default()
	c.Listen = "127.0.0.1:0"
	c.Auth.Method = configs.AuthTrust
	c.Primary.URL = configs.URL(primary)
	if change != nil {
		change(c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := startServing(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(pgtest.Patience); <-s.done })
	return "postgres://" + s.addr.String() + "/postgres"
}

// onTheServer asks through the proxy how the server is spoken to.
func onTheServer(t *testing.T, proxy, user string) string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), proxy+"?sslmode=disable&user="+user)
	if err != nil {
		return err.Error()
	}
	defer conn.Close(context.Background())
	r := conn.ExecParams(t.Context(), "SELECT CASE WHEN ssl THEN 'TLS ' || coalesce(client_dn, '') ELSE 'plain' END FROM pg_stat_ssl WHERE pid = pg_backend_pid()", nil, nil, nil, nil).Read()
	if r.Err != nil {
		return r.Err.Error()
	}
	return strings.TrimSpace(string(r.Rows[0][0]))
}

func TestTLSTowardsServers(t *testing.T) {
	ca, other := newAuthority(t, "authority"), newAuthority(t, "authority")
	ca.issue("certified")
	ca.issue("encrypted")
	other.issue("certified")
	with := tlsPrimary(t, ca)
	without := pgtest.Primary(t)
	right, wrong := "&sslrootcert="+ca.file("authority.crt"), "&sslrootcert="+other.file("authority.crt")
	showing := func(a *authority, name string) string {
		return "&sslcert=" + a.file(name+".crt") + "&sslkey=" + a.file(name+".key")
	}
	const (
		unreachable = "SQLSTATE 08001" // it has no word of the server's
		refused     = "SQLSTATE 28000"
	)
	direct := "TLS"
	if with.Binaries.Major() < 17 { // which takes it first
		direct = unreachable
	}
	for _, c := range []struct {
		server           *pgtest.Server
		host, mode, user string
		want             string
	}{
		{with, "127.0.0.1", "disable", "postgres", "plain"},
		{with, "127.0.0.1", "disable", "encrypted", refused},
		{with, "127.0.0.1", "allow", "postgres", "plain"},
		{with, "127.0.0.1", "allow", "encrypted", "TLS"},
		{with, "127.0.0.1", "prefer", "postgres", "TLS"},
		{with, "127.0.0.1", "prefer", "plain", "plain"},
		{with, "127.0.0.1", "require", "postgres", "TLS"},
		{with, "127.0.0.1", "require", "plain", refused},
		{with, "127.0.0.1", "require" + right, "postgres", "TLS"}, // as verify-ca
		{with, "127.0.0.1", "require" + wrong, "postgres", unreachable},
		{with, "127.0.0.1", "verify-ca" + right, "postgres", "TLS"},
		{with, "127.0.0.1", "verify-ca" + right, "plain", refused},
		{with, "127.0.0.1", "verify-ca" + wrong, "postgres", unreachable},
		{with, "localhost", "verify-full" + right, "postgres", "TLS"},
		{with, "127.0.0.1", "verify-full" + right, "postgres", unreachable},
		{with, "localhost", "verify-full" + wrong, "postgres", unreachable},
		{with, "127.0.0.1", "require", "certified", refused},
		{with, "127.0.0.1", "require" + showing(ca, "certified"), "certified", "TLS /CN=certified"},
		{with, "localhost", "verify-full" + right + showing(ca, "certified"), "certified", "TLS /CN=certified"},
		{with, "127.0.0.1", "require" + showing(ca, "encrypted"), "certified", refused},
		{with, "127.0.0.1", "require" + showing(other, "certified"), "certified", unreachable},
		{with, "127.0.0.1", "disable" + showing(ca, "certified"), "certified", refused},
		{without, "127.0.0.1", "disable", "postgres", "plain"},
		{without, "127.0.0.1", "allow", "postgres", "plain"},
		{without, "127.0.0.1", "prefer", "postgres", "plain"},
		{without, "127.0.0.1", "require", "postgres", unreachable},
		{without, "127.0.0.1", "verify-ca" + right, "postgres", unreachable},
		{without, "localhost", "verify-full" + right, "postgres", unreachable},
		{with, "127.0.0.1", "require&sslnegotiation=direct", "postgres", direct},
	} {
		name := c.server.Name + " " + c.host + " " + strings.ReplaceAll(strings.ReplaceAll(c.mode, ca.dir, "right"), other.dir, "wrong") + " " + c.user
		t.Run(strings.ReplaceAll(name, "/", ":"), func(t *testing.T) {
			primary := "postgres://" + net.JoinHostPort(c.host, strconv.Itoa(c.server.Port)) + "/postgres?sslmode=" + c.mode
			got := onTheServer(t, behind(t, primary, nil), c.user)
			if c.want == unreachable || c.want == refused {
				if !strings.Contains(got, c.want) {
					t.Errorf("got %s, not %s", got, c.want)
				}
			} else if got != c.want {
				t.Errorf("got %s, not %s", got, c.want)
			}
		})
	}
}

// A cancel request goes the way of the connection that it is about.
func TestTLSTowardsServersOfCancelRequests(t *testing.T) {
	ca := newAuthority(t, "authority")
	primary := tlsPrimary(t, ca)
	for mode, want := range map[string]uint32{
		"disable": 80877102, "allow": 80877102, "prefer": 80877103, "require": 80877103, "verify-full&sslrootcert=" + ca.file("authority.crt"): 80877103,
	} {
		t.Run(strings.SplitN(mode, "&", 2)[0], func(t *testing.T) {
			tp := newTap(t, primary.Port)
			_, port, _ := net.SplitHostPort(tp.l.Addr().String())
			conn, err := pgconn.Connect(t.Context(), behind(t, "postgres://localhost:"+port+"/postgres?sslmode="+mode, nil)+"?sslmode=disable&user=postgres")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			mark := primary.Mark(t)
			done := make(chan error, 1)
			go func() { done <- conn.Exec(t.Context(), "SELECT pg_sleep(600)").Close() }()
			primary.WaitStatement(t, mark, "pg_sleep")
			if err := conn.CancelRequest(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err == nil || !strings.Contains(err.Error(), "57014") {
				t.Errorf("got %v", err)
			}
			tp.mu.Lock()
			defer tp.mu.Unlock()
			if last := tp.begins[len(tp.begins)-1]; len(tp.begins) < 2 || last != want {
				t.Errorf("the connections began with %d, the last not with %d", tp.begins, want)
			}
		})
	}
}

// Servers of version 17 and pgshunt itself take TLS without a request for it.
func TestTLSTowardsServersDirect(t *testing.T) {
	ca := newAuthority(t, "authority")
	ca.issue("server")
	primary := pgtest.Primary(t)
	server := behind(t, primary.URL("postgres", "postgres"), func(c *configs.Config) {
		c.TLS = configs.TLS{Mode: configs.TLSRequire, Cert: ca.file("server.crt"), Key: ca.file("server.key")}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	got := onTheServer(t, behind(t, "postgres://localhost:"+u.Port()+"/postgres?sslnegotiation=direct&sslmode=verify-full&sslrootcert="+ca.file("authority.crt"), nil), "postgres")
	if got != "plain" { // as the last server of the chain sees it
		t.Errorf("got %s", got)
	}
}

func TestTLSTowardsClients(t *testing.T) {
	ca, other := newAuthority(t, "authority"), newAuthority(t, "authority")
	ca.issue("server")
	ca.issue("client")
	other.issue("client")
	primary := pgtest.Primary(t)
	showing := func(a *authority) string {
		return "&sslcert=" + a.file("client.crt") + "&sslkey=" + a.file("client.key")
	}
	full := "verify-full&sslrootcert=" + ca.file("authority.crt")
	for _, mode := range []struct {
		configs.TLSMode
		lets, refuses []string
	}{
		{configs.TLSDisable, []string{"disable", "prefer"}, []string{"require", full}},
		{configs.TLSAllow, []string{"disable", "require", full, full + showing(ca)}, []string{"require" + showing(other)}},
		{configs.TLSRequire, []string{"require", "prefer", full, full + "&sslnegotiation=direct", full + showing(ca)}, []string{"disable", "require" + showing(other)}},
		{configs.TLSVerifyFull, []string{full + showing(ca), full + showing(ca) + "&sslnegotiation=direct"}, []string{"disable", "require", full, full + showing(other)}},
	} {
		proxy := behind(t, primary.URL("postgres", "postgres"), func(c *configs.Config) {
			c.TLS = configs.TLS{Mode: mode.TLSMode, Cert: ca.file("server.crt"), Key: ca.file("server.key"), ClientCA: ca.file("authority.crt")}
		})
		proxy = strings.Replace(proxy, "127.0.0.1", "localhost", 1)
		for _, client := range append(mode.lets, mode.refuses...) {
			conn, err := pgconn.Connect(t.Context(), proxy+"?user=postgres&sslmode="+client)
			if err == nil {
				_ = conn.Close(context.Background())
			}
			if wanted := slices.Contains(mode.lets, client); wanted != (err == nil) {
				t.Errorf("mode %s, client %s: %v", mode.TLSMode, client, err)
			}
		}
	}
}

// A peer that demands a certificate of its clients is shown this instance's own.
func TestTLSTowardsPeers(t *testing.T) {
	ca, other := newAuthority(t, "authority"), newAuthority(t, "authority")
	ca.issue("server")
	primary := pgtest.Primary(t)
	instance := func(c *configs.Config, number int, peer configs.Peer) {
		c.Instance, c.Peers = number, []configs.Peer{peer}
		c.TLS = configs.TLS{Mode: configs.TLSVerifyFull, Cert: ca.file("server.crt"), Key: ca.file("server.key"), ClientCA: ca.file("authority.crt")}
	}
	second := behind(t, primary.URL("postgres", "postgres"), func(c *configs.Config) {
		instance(c, 1, configs.Peer{Instance: 0, Address: "localhost:1"})
	})
	u, err := url.Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	address := "localhost:" + u.Port()
	conn, err := pgconn.Connect(t.Context(), "postgres://postgres@"+address+"/postgres?sslmode=verify-full&sslrootcert="+
		ca.file("authority.crt")+"&sslcert="+ca.file("server.crt")+"&sslkey="+ca.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	done := make(chan error, 1)
	mark := primary.Mark(t)
	go func() { done <- conn.Exec(t.Context(), "SELECT pg_sleep(600)").Close() }()
	primary.WaitStatement(t, mark, "pg_sleep")
	for _, peer := range []configs.Peer{
		{TLS: configs.TLSVerifyFull, CA: other.file("authority.crt")}, // which does not get through
		{TLS: configs.TLSVerifyFull, CA: ca.file("authority.crt")},
	} {
		peer.Instance, peer.Address = 1, address
		first, err := url.Parse(behind(t, primary.URL("postgres", "postgres"), func(c *configs.Config) { instance(c, 0, peer) }))
		if err != nil {
			t.Fatal(err)
		}
		sendCancel(t, first.Host, conn)
		select {
		case err := <-done:
			if peer.CA != ca.file("authority.crt") || err == nil || !strings.Contains(err.Error(), "57014") {
				t.Errorf("by a peer that trusts %s: %v", peer.CA, err)
			}
			return
		default:
		}
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "57014") {
		t.Errorf("got %v", err)
	}
}

// sendCancel has a connection cancelled at an address, and waits until that is done.
func sendCancel(t *testing.T, address string, conn *pgconn.PgConn) {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(pgtest.Patience))
	out := binary.BigEndian.AppendUint32(nil, uint32(12+len(conn.SecretKey())))
	out = binary.BigEndian.AppendUint32(out, 80877102)
	out = binary.BigEndian.AppendUint32(out, conn.PID())
	if _, err := nc.Write(append(out, conn.SecretKey()...)); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v", err)
	}
}
