package proxy_test

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/hba"
	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

func TestStartupSilentClientIsEnded(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	ca := newAuthority(t)
	f := start(t, setup{auth: clearAuth(hba.SCRAM, map[string]string{"postgres": "secret"}), proxy: proxy.Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("pgshunt")}}, StartupTimeout: 250 * time.Millisecond,
	}})
	const ended = "FATAL 57014 canceling authentication due to timeout; closed"
	if got := joined(dial(t, f.addr).answer()); got != ended {
		t.Errorf("silent: got %q", got)
	}
	half := dial(t, f.addr)
	half.put([]byte("\x00\x00\x00\x20\x00\x03"))
	if got := joined(half.answer()); got != ended {
		t.Errorf("half a packet: got %q", got)
	}
	unproven := dial(t, f.addr)
	unproven.startup("user", "postgres")
	if got := joined(unproven.answer()); got != "AuthenticationSASL; "+ended {
		t.Errorf("without a password: got %q", got)
	}
	shaking := dial(t, f.addr) // in a TLS handshake there are no words for it
	shaking.put([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"))
	var answer [2]byte
	if n, _ := shaking.Read(answer[:]); string(answer[:n]) != "S" {
		t.Errorf("asked for TLS: %q", answer[:n])
	}
	if n, err := shaking.Read(answer[:]); n != 0 || isTimeout(err) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// Every answer here is PostgreSQL's own as well.
func TestStartupAnswersAsPostgreSQL(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	packet := func(code uint32, body string) []byte {
		out := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
		return append(binary.BigEndian.AppendUint32(out, code), body...)
	}
	params := func(p ...string) []byte { return packet(3<<16, strings.Join(p, "\x00")+"\x00\x00") }
	const entered = "AuthenticationOk; ready I"
	for _, c := range []struct {
		name string
		sent []byte
		want string // of PostgreSQL as well, but for those marked own
	}{
		{"plain", params("user", "postgres", "database", db), entered},
		{"database is the user by default", params("user", "postgres"), entered},
		{"unknown database", params("user", "postgres", "database", "nowhere"), `FATAL 3D000 database "nowhere" does not exist; closed`},
		{"unknown user", params("user", "nobody", "database", db), `FATAL 28000 role "nobody" does not exist; closed`},
		{"no user", params("database", db), "FATAL 28000 no PostgreSQL user name specified in startup packet; closed"},
		{"unknown parameter", params("user", "postgres", "no_such_thing", "1"), `FATAL 42704 unrecognized configuration parameter "no_such_thing"; closed`},
		{"invalid value", params("user", "postgres", "work_mem", "much"), `FATAL 22023 invalid value for parameter "work_mem": "much"; closed`},
		{"invalid value of an encoding", params("user", "postgres", "client_encoding", "KLINGON"), `FATAL 22023 invalid value for parameter "client_encoding": "KLINGON"; closed`},
		{"value of a wrong kind", params("user", "postgres", "enable_seqscan", "perhaps"), `FATAL 22023 parameter "enable_seqscan" requires a Boolean value; closed`},
		{"fixed parameter", params("user", "postgres", "server_version", "1"), `FATAL 55P02 parameter "server_version" cannot be changed; closed`},
		{"parameter of the server", params("user", "postgres", "shared_buffers", "1"), `FATAL 55P02 parameter "shared_buffers" cannot be changed without restarting the server; closed`},
		{"parameter with a class of its own", params("user", "postgres", "app.tenant", "a\\'b"), entered},
		{"options", params("user", "postgres", "options", "-c work_mem=77MB --enable-seqscan=off"), entered},
		{"options with an invalid value", params("user", "postgres", "options", "-c work_mem=much"), `FATAL 22023 invalid value for parameter "work_mem": "much"; closed`},
		{"options without a value", params("user", "postgres", "options", "-c work_mem"), "FATAL 42601 -c work_mem requires a value; closed"},
		{"options of another program", params("user", "postgres", "options", "nonsense"), "FATAL 42601 invalid command-line argument for server process: nonsense; closed"},
		{"no terminator", packet(3<<16, "user\x00postgres\x00"), "FATAL 08P01 invalid startup packet layout: expected terminator as last byte; closed"},
		{"value missing", packet(3<<16, "user\x00\x00"), "FATAL 08P01 invalid startup packet layout: expected terminator as last byte; closed"},
		{"bytes after the terminator", packet(3<<16, "user\x00postgres\x00\x00x\x00"), "FATAL 08P01 invalid startup packet layout: expected terminator as last byte; closed"},
		{"nothing at all", packet(3<<16, "\x00"), "FATAL 28000 no PostgreSQL user name specified in startup packet; closed"},
		{"own: old protocol", packet(2<<16, "user\x00postgres\x00\x00"), "FATAL 0A000 unsupported frontend protocol 2.0: server supports 3.0 to 3.0; closed"},
		{"protocol of the future", packet(4<<16, "user\x00postgres\x00\x00"), "FATAL 0A000 unsupported frontend protocol 4.0: server supports 3.0 to 3.0; closed"},
		{"newer minor protocol", packet(3<<16|99, "user\x00postgres\x00\x00"), "NegotiateProtocolVersion; " + entered},
		{"unknown protocol option", packet(3<<16, "user\x00postgres\x00_pq_.what\x001\x00\x00"), "NegotiateProtocolVersion; " + entered},
		{"bytes after a request for TLS", append(packet(80877103, ""), params("user", "postgres")...), "FATAL 08P01 received unencrypted data after SSL request; closed"},
		{"own: bytes after a request for GSS", append(packet(80877104, ""), params("user", "postgres")...), "FATAL 08P01 received unencrypted data after GSSAPI encryption request; closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for who, addr := range map[string]string{"PostgreSQL": address(primary), "pgshunt": f.addr} {
				if who == "PostgreSQL" && strings.HasPrefix(c.name, "own: ") {
					continue
				}
				cl := dial(t, addr)
				cl.put(c.sent)
				got := joined(cl.entered())
				got = strings.ReplaceAll(got, "to 3.2;", "to 3.0;")        // servers before 18 have no 3.2
				if who == "PostgreSQL" && primary.Binaries.Major() == 13 { // it still speaks 2.0, and says less before TLS
					got = strings.ReplaceAll(got, "supports 2.0", "supports 3.0")
					if c.name == "bytes after a request for TLS" && got == "closed" {
						continue
					}
				}
				// PostgreSQL looks at databases and settings after AuthenticationOk, pgshunt before it.
				got = strings.ReplaceAll(got, "AuthenticationOk; FATAL", "FATAL")
				if got != c.want {
					t.Errorf("%s: got %q, not %q", who, got, c.want)
				}
			}
		})
	}
}

// entered is answer for a login; the N of a server without TLS is passed over.
func (c *client) entered() []string {
	c.t.Helper()
	var first [1]byte
	n, _ := c.Read(first[:])
	if n == 1 && first[0] == 'N' {
		n, _ = c.Read(first[:])
	}
	nc := &prefixed{c.Conn, first[:n]}
	return newClient(c.t, nc).answer()
}

type prefixed struct {
	net.Conn
	prefix []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

func TestStartupImpossiblePackets(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{})
	for name, sent := range map[string][]byte{
		"length zero":     {0, 0, 0, 0},
		"length seven":    {0, 0, 0, 7},
		"length negative": {0xff, 0xff, 0xff, 0xff},
		"length 10,001":   {0, 0, 0x27, 0x11},
		"HTTP":            []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		c := dial(t, f.addr)
		c.put(sent)
		if got := joined(c.answer()); got != "FATAL 08P01 invalid length of startup packet; closed" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	c := dial(t, f.addr)
	c.put([]byte("\x16\x03\x01\x02\x00\x01")) // TLS, which is not offered
	if got := joined(c.answer()); got != "closed" {
		t.Errorf("TLS: got %q", got)
	}
}

func TestStartupLimitOfClients(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{proxy: proxy.Config{Limits: proxy.Limits{Clients: 2}}})
	first, second := enter(t, f.addr, "postgres"), enter(t, f.addr, "postgres")
	third := dial(t, f.addr)
	third.startup("user", "postgres")
	if got := joined(third.answer()); got != "FATAL 53300 sorry, too many clients already; closed" {
		t.Errorf("got %q", got)
	}
	first.works()
	second.works()
	_ = first.Close()
	var got string
	if !pgtest.Eventually(func() bool {
		c := dial(t, f.addr)
		defer c.Close()
		c.startup("user", "postgres")
		got = joined(c.answer())
		return got == "AuthenticationOk; ready I"
	}) {
		t.Errorf("after one has left: %q", got)
	}
}

// Settings of the startup packet are the session's, and RESET comes back to them.
func TestStartupOptionsAreTheSessions(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 1}})
		ask := "SELECT current_setting('work_mem'), current_setting('enable_seqscan'), current_setting('app.tenant', true), current_setting('search_path')"
		for range 3 {
			var got []string
			for _, addr := range []string{address(primary), f.addr} {
				c := enter(t, addr, "postgres", "options", `-c work_mem=77MB --enable-seqscan=off -c app.tenant=a\ b\\c -csearch_path=x,\"Y\ z\"`, "extra_float_digits", "0")
				lines := []string{joined(c.query(ask))}
				c.query("SET work_mem = '1MB'")
				c.query("RESET work_mem")
				lines = append(lines, joined(c.query(ask)))
				_ = c.Close()
				got = append(got, joined(lines))
			}
			if got[0] != got[1] {
				t.Errorf("PostgreSQL %q\npgshunt %q", got[0], got[1])
			}
			other := enter(t, f.addr, "postgres")
			if got := other.query("SHOW work_mem"); got[1] != "row 4MB" {
				t.Errorf("another session has %q", got)
			}
			_ = other.Close()
		}
	})
}

// What a client is told at its login, keys and the like aside, is what the server tells.
func TestStartupReportsTheServersParameters(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	f := start(t, setup{})
	var told []map[string]string
	for _, addr := range []string{address(primary), f.addr} {
		c := dial(t, addr)
		c.startup("user", "postgres", "application_name", "me", "DateStyle", "German", "client_encoding", "LATIN1")
		params := map[string]string{}
		for done := false; !done; {
			m, err := c.fe.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.ParameterStatus:
				params[m.Name] = m.Value
			case *pgproto3.ReadyForQuery:
				done = true
			}
		}
		told = append(told, params)
	}
	for name, value := range told[0] {
		if told[1][name] != value {
			t.Errorf("%s: PostgreSQL %q, pgshunt %q", name, value, told[1][name])
		}
	}
	if len(told[0]) != len(told[1]) {
		t.Errorf("PostgreSQL %v\npgshunt %v", told[0], told[1])
	}
}

func TestStartupUnservedDatabase(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	f := start(t, setup{proxy: proxy.Config{Databases: []string{db}}})
	enter(t, f.addr, db).works()
	c := dial(t, f.addr)
	c.startup("user", "postgres", "database", "postgres")
	if got := joined(c.answer()); got != `FATAL 3D000 database "postgres" does not exist; closed` {
		t.Errorf("got %q", got)
	}
}

// What a client asks for when it connects comes back after every kind of reset.
func TestStartupSettingsComeBack(t *testing.T) {
	pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
		c := enter(t, f.addr, "postgres", "application_name", "mine", "options", "-c statement_timeout=5s", "TimeZone", "Asia/Tokyo")
		ask := "SELECT current_setting('TimeZone'), current_setting('statement_timeout'), current_setting('application_name')"
		for _, reset := range []string{"RESET ALL", "DISCARD ALL"} {
			c.query("SET TimeZone = 'UTC'; SET statement_timeout = '7s'; SET application_name = 'other'")
			if got := c.query(ask); got[1] != "row UTC,7s,other" {
				t.Errorf("got %q", got)
			}
			c.query(reset)
			if got := c.query(ask); got[1] != "row Asia/Tokyo,5s,mine" {
				t.Errorf("after %s: %q", reset, got)
			}
		}
	})
}
