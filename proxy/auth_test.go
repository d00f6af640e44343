package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/auth"
	"pgshunt/internal/hba"
	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

const password = "correct horse battery"

func scramAuth(t *testing.T) *proxy.Auth {
	t.Helper()
	return clearAuth(hba.SCRAM, map[string]string{"postgres": password, "unicode": "Passwörter ⅷ"})
}

// clearAuth is an Auth for users whose passwords are known.
func clearAuth(m hba.Method, passwords map[string]string) *proxy.Auth {
	var users []auth.User
	for user, pw := range passwords {
		users = append(users, auth.User{Name: user, Password: pw})
	}
	return &proxy.Auth{Method: m, Store: auth.NewStore(users, nil, nil)}
}

// Whether a user does not exist or a password is wrong is nobody's business: all
// that can be seen of the two is the same.
func TestAuthScram(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	primary.Exec(t, `CREATE ROLE "unicode" LOGIN`)
	t.Cleanup(func() { primary.Exec(t, `DROP ROLE "unicode"`) })
	pgtest.NoLeaks(t)
	f := start(t, setup{auth: scramAuth(t)})
	attempt := func(user, pw string) (seen []string, err error) {
		cfg, perr := pgconn.ParseConfig(f.url(user, "postgres"))
		if perr != nil {
			t.Fatal(perr)
		}
		cfg.Password = pw
		tr := &trace{}
		cfg.BuildFrontend = tr.frontend
		conn, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err == nil {
			err = conn.Exec(t.Context(), "SELECT 1").Close()
			_ = conn.Close(context.Background())
		}
		return tr.lines(), err
	}
	for user, pw := range map[string]string{"postgres": password, "unicode": "Passwo\u0308rter viii"} {
		if _, err := attempt(user, pw); err != nil {
			t.Errorf("user %s: %v", user, err)
		}
	}
	var shapes []string
	for _, c := range [][2]string{{"postgres", "wrong"}, {"nobody", "wrong"}, {"nobody", password}, {"postgres", ""}} {
		seen, err := attempt(c[0], c[1])
		if c[1] == "" { // libpq and pgx do not even begin
			continue
		}
		if code(err) != "28P01" {
			t.Errorf("user %s, password %q: %v", c[0], c[1], err)
		}
		shape := joined(seen)
		if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
			shape += fmt.Sprintf("; %+v", *pe)
		}
		shapes = append(shapes, strings.ReplaceAll(shape, c[0], "USER"))
	}
	for _, s := range shapes[1:] {
		if s != shapes[0] {
			t.Errorf("a wrong password looks like %q,\nan unknown user like %q", shapes[0], s)
		}
	}
	if !strings.Contains(shapes[0], `password authentication failed for user "USER"`) {
		t.Errorf("got %q", shapes[0])
	}
	log := f.log.String()
	for _, secret := range []string{password, "Passw", "wrong", "SCRAM-SHA-256$"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log contains %q", secret)
		}
	}
	if !strings.Contains(log, "level=DEBUG") {
		t.Error("the log does not go down to the debug level, so that proves nothing")
	}
}

// The salt of a user who does not exist stays what it was, as a real one's does.
func TestAuthSaltsAreStable(t *testing.T) {
	pgtest.SharedPrimary(t)
	f := start(t, setup{auth: scramAuth(t)})
	salt := func(user string) string {
		c := dial(t, f.addr)
		c.startup("user", user)
		if _, err := c.fe.Receive(); err != nil {
			t.Fatal(err)
		}
		c.send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=abcdefgh")})
		m, err := c.fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(m.(*pgproto3.AuthenticationSASLContinue).Data), ",")
		return parts[1] + "," + parts[2]
	}
	for _, user := range []string{"postgres", "nobody", "nobody else"} {
		if a, b := salt(user), salt(user); a != b || len(a) != len(salt("postgres")) {
			t.Errorf("user %s: %q, then %q", user, a, b)
		}
	}
	if salt("nobody") == salt("nobody else") {
		t.Error("users who do not exist share a salt")
	}
}

func TestAuthMalformed(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{auth: scramAuth(t)})
	initial := func(mechanism, data string) []byte {
		out, _ := (&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(data)}).Encode(nil)
		return out
	}
	for name, c := range map[string]struct {
		sent []byte
		want string
	}{
		"a query":                 {message('Q', "SELECT 1\x00"), "FATAL 08P01 expected SASL response, got message type 81"},
		"nothing in it":           {message('p', ""), "FATAL 08P01 malformed SCRAM message"},
		"other mechanism":         {initial("PLAIN", "x"), "FATAL 08P01 client selected an invalid SASL authentication mechanism"},
		"channel binding":         {initial("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=x"), "FATAL 08P01 client selected an invalid SASL authentication mechanism"},
		"nonsense":                {initial("SCRAM-SHA-256", "nonsense"), "FATAL 08P01 malformed SCRAM message"},
		"clear password":          {message('p', password+"\x00"), "FATAL 08P01 "},
		"too long":                {initial("SCRAM-SHA-256", strings.Repeat("x", 5000)), "FATAL 08P01 "},
		"announced as a gigabyte": {[]byte("p\x3f\xff\xff\xff" + strings.Repeat("x", 3000)), "FATAL 08P01 "},
		"impossible length":       {[]byte("p\x00\x00\x00\x01"), "FATAL 08P01 invalid message length"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := dial(t, f.addr)
			cl.startup("user", "postgres")
			cl.put(c.sent)
			got := joined(cl.answer())
			if !strings.HasPrefix(got, "AuthenticationSASL; "+c.want) || !strings.HasSuffix(got, "; closed") {
				t.Errorf("got %q", got)
			}
		})
	}
	if strings.Contains(f.log.String(), password) {
		t.Error("the log contains a password")
	}
}

// What is sent in place of a password, under the methods that ask for one.
func TestAuthMalformedPasswords(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	for _, method := range []hba.Method{hba.Password, hba.MD5} {
		f := start(t, setup{auth: clearAuth(method, map[string]string{"postgres": password})})
		asked := map[hba.Method]string{hba.Password: "AuthenticationCleartextPassword", hba.MD5: "AuthenticationMD5Password"}[method]
		for name, c := range map[string]struct {
			sent []byte
			want string
		}{
			"a query":           {message('Q', "SELECT 1\x00"), "FATAL 08P01 expected password response, got message type 81"},
			"no end":            {message('p', password), "FATAL 08P01 invalid password packet size"},
			"more than one end": {message('p', password+"\x00\x00"), "FATAL 08P01 invalid password packet size"},
			"nothing":           {message('p', ""), "FATAL 08P01 invalid password packet size"},
			"empty":             {message('p', "\x00"), "FATAL 28P01 empty password returned by client"},
			"wrong":             {message('p', "wrong\x00"), "FATAL 28P01 password authentication failed for user \"postgres\""},
			"too long":          {message('p', strings.Repeat("x", 10000)+"\x00"), "FATAL 08P01 "},
			"a gigabyte":        {[]byte("p\x3f\xff\xff\xff" + strings.Repeat("x", 5000)), "FATAL 08P01 "},
		} {
			t.Run(string(method)+" "+name, func(t *testing.T) {
				cl := dial(t, f.addr)
				cl.startup("user", "postgres")
				cl.put(c.sent)
				if got := joined(cl.answer()); !strings.HasPrefix(got, asked+"; "+c.want) || !strings.HasSuffix(got, "; closed") {
					t.Errorf("got %q", got)
				}
			})
		}
		if strings.Contains(f.log.String(), password) {
			t.Error("the log contains a password")
		}
	}
}

// A client that has not proven who it is learns nothing of databases.
func TestAuthComesBeforeDatabases(t *testing.T) {
	pgtest.SharedPrimary(t)
	f := start(t, setup{auth: scramAuth(t), proxy: proxy.Config{Databases: []string{"served"}}})
	for _, db := range []string{"served", "postgres", "nowhere"} {
		c := dial(t, f.addr)
		c.startup("user", "nobody", "database", db)
		if line, _ := c.receive(); line != "AuthenticationSASL" {
			t.Errorf("database %s: %q", db, line)
		}
	}
}

// trace notes what a login sees.
type trace struct{ seen strings.Builder }

func (tr *trace) frontend(r io.Reader, w io.Writer) *pgproto3.Frontend {
	fe := pgproto3.NewFrontend(r, w)
	fe.Trace(&tr.seen, pgproto3.TracerOptions{SuppressTimestamps: true, RegressMode: true})
	return fe
}

// lines are the messages by direction and type.
func (tr *trace) lines() []string {
	var out []string
	for line := range strings.Lines(tr.seen.String()) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		out = append(out, f[0]+" "+f[1])
	}
	return out
}
