package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// served is a proxy that runs from a configuration, and its log.
type served struct {
	port    int
	log     *syncBuffer
	file    string
	running *serving
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// serve runs pgshunt on a free port, with its log at the debug level.
func serve(t *testing.T, dir, config string) *served {
	t.Helper()
	file := filepath.Join(dir, "pgshunt.yaml")
	if err := os.WriteFile(file, []byte("log: {level: debug}\nshutdown: 1s\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := configs.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(config, "listen:") {
		cfg.Listen = "127.0.0.1:0"
	}
	s := &served{log: &syncBuffer{}, file: file}
	running, err := startServing(cfg, newLogger(s.log, cfg.Log))
	if err != nil {
		t.Fatal(err)
	}
	s.running = running
	s.port = running.addr.(*net.TCPAddr).Port
	t.Cleanup(func() {
		running.close(0)
		if t.Failed() {
			log := s.log.String()
			t.Logf("log of pgshunt:\n%s", log[max(0, len(log)-6000):])
		}
	})
	return s
}

// attempt is one login as pgx does it.
type attempt struct {
	host, user, password, database string
	tls                            *tls.Config
	binding                        string
	replication                    string
}

// login reports "in as USER", or the SQLSTATE and text of the refusal.
func (a attempt) login(t *testing.T, port int) string {
	t.Helper()
	got := a.try(t, port)
	if strings.Contains(got, "secret-") || strings.Contains(got, "SCRAM-SHA-256$") {
		t.Errorf("a secret is in the answer: %s", got)
	}
	return got
}

func (a attempt) try(t *testing.T, port int) string {
	t.Helper()
	if a.host == "" {
		a.host = "127.0.0.1"
	}
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s sslmode=disable", a.host, port, a.database))
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password, cfg.TLSConfig, cfg.ChannelBinding = a.user, a.password, a.tls, a.binding
	sql := "SELECT current_user || ' ' || session_user"
	if a.replication != "" {
		cfg.RuntimeParams["replication"] = a.replication
		sql = "SHOW application_name" // one of the few that physical replication knows
		cfg.RuntimeParams["application_name"] = a.user
	}
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
		return pe.Severity + " " + pe.Code + " " + pe.Message
	}
	if err != nil {
		return "client: " + err.Error()
	}
	defer conn.Close(ctx)
	got, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "in, but: " + err.Error()
	}
	return "in as " + string(got[0].Rows[0][0])
}

// psql runs a statement by PostgreSQL's own client, with the password in the environment.
func psql(t *testing.T, bin, conninfo, password, sql string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "psql"), "-X", "-A", "-t", "-w", "-c", sql, conninfo)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password, "PGPASSFILE=/dev/null", "PGCONNECT_TIMEOUT=20")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// makeRoles creates what logins are tried with. Their passwords are recognisable.
const makeRoles = `
CREATE ROLE scram LOGIN PASSWORD 'secret-scram';
CREATE ROLE "Ünï cöde" LOGIN PASSWORD 'secret-Passwörter ⅷ';
CREATE ROLE walker LOGIN REPLICATION PASSWORD 'secret-walker';
CREATE ROLE nopassword LOGIN;
CREATE ROLE expired LOGIN PASSWORD 'secret-expired' VALID UNTIL '2001-02-03';
CREATE ROLE unexpired LOGIN PASSWORD 'secret-unexpired' VALID UNTIL 'infinity';
SET password_encryption = md5;
CREATE ROLE md5 LOGIN PASSWORD 'secret-md5';
RESET password_encryption;
`

const shadowQuery = "SELECT usename, passwd, valuntil FROM pg_shadow WHERE usename = $1"

// certificates puts ca.crt, server.crt and server.key into a directory.
func certificates(t *testing.T, dir string) *pgtest.Authority {
	t.Helper()
	ca := pgtest.NewAuthority(t)
	ca.WriteCA(filepath.Join(dir, "ca.crt"))
	ca.Write(dir, "server", "localhost")
	return ca
}

// The file that both PostgreSQL and pgshunt follow. Each method has a database.
const oracleHBA = `# the same lines for both
local   all,replication all                 trust
host    db_trust    scram,nobody,"Ünï cöde" samehost        trust
host    db_reject   all                     127.0.0.1/32    reject
host    db_password all                     127.0.0.1 255.255.255.255 password
host    db_md5      all                     127.0.0.0/8     md5
host    db_scram    all                     localhost4      scram-sha-256
hostssl db_ssl      all                     all             scram-sha-256
hostnossl db_nossl  all                     all             scram-sha-256
hostssl db_cert     all                     all             cert
hostssl db_ca       all                     all             scram-sha-256 clientcert=verify-ca
hostssl db_full     all                     all             trust clientcert=verify-full
host    replication walker                  127.0.0.1/32    scram-sha-256
host    replication scram                   127.0.0.1/32    reject
host    sameuser    scram                   ::1/128         md5
host    "all"       scram                   all             trust
host    db_ten      all                     10.0.0.0/8      trust
`

// PostgreSQL is asked directly and through pgshunt, by the same users, under the
// same pg_hba.conf: who gets in, and what the others are told, is the same.
func TestAuthenticationIsPostgreSQLs(t *testing.T) {
	hba := strings.ReplaceAll(oracleHBA, "localhost4", "127.0.0.1/32")
	databases := []string{"db_trust", "db_reject", "db_password", "db_md5", "db_scram", "db_ssl", "db_nossl", "db_cert", "db_ca", "db_full", "scram", "db_ten"}
	dir := t.TempDir()
	ca := certificates(t, dir)
	server := pgtest.Primary(t, pgtest.Options{HBA: hba, Settings: map[string]string{"listen_addresses": "127.0.0.1,::1"}})
	server.Exec(t, makeRoles)
	for _, db := range databases {
		server.Exec(t, "CREATE DATABASE "+db)
	}
	server.EnableTLS(t, ca)
	if err := os.WriteFile(filepath.Join(dir, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		t.Fatal(err)
	}
	f := serve(t, dir, fmt.Sprintf(`
listen: "[::]:0"
primary: {url: "host=%s port=%d user=postgres dbname=postgres"}
tls: {cert: server.crt, key: server.key, client_ca: ca.crt}
auth:
  hba: pg_hba.conf
  query: "%s"
`, server.SocketDir(), server.Port, shadowQuery))

	plain, trusting := (*tls.Config)(nil), &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}
	as := func(name string) *tls.Config {
		cfg := trusting.Clone()
		cfg.Certificates = []tls.Certificate{ca.Issue(name)}
		return cfg
	}
	ways := map[string]*tls.Config{"plain": plain, "TLS": trusting, "certificate of scram": as("scram"), "certificate of md5": as("md5")}
	passwords := map[string][]string{
		"scram": {"secret-scram", "wrong"}, "md5": {"secret-md5", "wrong"}, "Ünï cöde": {"secret-Passwo\u0308rter viii"},
		"nopassword": {"wrong"}, "expired": {"secret-expired"}, "unexpired": {"secret-unexpired"}, "nobody": {"wrong"},
	}
	tried, in := 0, 0
	compare := func(what string, a attempt) {
		direct, through := a.login(t, server.Port), a.login(t, f.port)
		if server.Binaries.Major() < 14 { // the same in other words
			direct = strings.NewReplacer("SSL off", "no encryption", "SSL on", "SSL encryption").Replace(direct)
		}
		if direct != through {
			t.Errorf("%s: user %s, database %s: directly %q, through pgshunt %q", what, a.user, a.database, direct, through)
		}
		tried++
		if strings.HasPrefix(direct, "in as") {
			in++
		}
	}
	for _, db := range databases {
		for user, words := range passwords {
			for _, pw := range words {
				for what, cfg := range ways {
					if cfg != plain && strings.HasPrefix(what, "certificate") && !strings.HasPrefix(db, "db_c") && db != "db_full" {
						continue // a certificate that nobody asks for changes nothing
					}
					compare(what, attempt{user: user, password: pw, database: db, tls: cfg})
				}
			}
		}
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, db := range databases {
			compare("from "+host, attempt{host: host, user: "scram", password: "secret-scram", database: db})
		}
	}
	for _, user := range []string{"walker", "scram", "md5"} {
		for _, kind := range []string{"true", "database"} {
			for _, pw := range []string{"secret-" + user, "wrong"} {
				for what, cfg := range map[string]*tls.Config{"plain": plain, "TLS": trusting} {
					compare("replication "+kind+" "+what, attempt{user: user, password: pw, database: "db_scram", tls: cfg, replication: kind})
				}
			}
		}
	}
	compare("nobody's database", attempt{user: "scram", password: "secret-scram", database: "nowhere"})
	if tried < 150 || in < 30 {
		t.Errorf("%d logins tried, %d of them let in: too few to mean anything", tried, in)
	}
	t.Logf("%d logins compared, %d let in", tried, in)
	noSecrets(t, f.log.String())
}

// noSecrets looks for what no log may hold.
func noSecrets(t *testing.T, log string) {
	t.Helper()
	for _, secret := range []string{"secret-", "wrong", "SCRAM-SHA-256$", "md5md5"} {
		for line := range strings.Lines(log) {
			if strings.Contains(line, secret) {
				t.Errorf("the log has %q: %s", secret, line)
				break
			}
		}
	}
	if !strings.Contains(log, "msg=listening") {
		t.Error("there is no log, so that proves nothing")
	}
}

// pgError is the server's part of an error, or nil.
func pgError(err error) *pgconn.PgError {
	var e *pgconn.PgError
	errors.As(err, &e)
	return e
}
