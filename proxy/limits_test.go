package proxy_test

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// ask logs in and says how that went; the connection ends with it.
func ask(t *testing.T, f *fixture, params ...string) string {
	t.Helper()
	c := dial(t, f.addr)
	defer c.Close()
	c.startup(params...)
	return joined(c.answer())
}

// entersSoon waits until one that has left is no longer counted.
func entersSoon(t *testing.T, f *fixture, params ...string) {
	t.Helper()
	var got string
	if !pgtest.Eventually(func() bool { got = ask(t, f, params...); return got == "AuthenticationOk; ready I" }) {
		t.Errorf("after one has left: %q", got)
	}
}

func TestLimitPerUser(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	primary.Exec(t, "CREATE ROLE limited LOGIN")
	t.Cleanup(func() { primary.Exec(t, "DROP ROLE limited") })
	pgtest.NoLeaks(t)
	f := start(t, setup{proxy: proxy.Config{Limits: proxy.Limits{PerUser: 1}}})
	c := enter(t, f.addr, "postgres")
	for range 3 { // a refusal takes no place
		if got := ask(t, f, "user", "postgres"); got != `FATAL 53300 too many connections for role "postgres"; closed` {
			t.Errorf("got %q", got)
		}
	}
	entersSoon(t, f, "user", "limited", "database", "postgres")
	_ = c.Close()
	entersSoon(t, f, "user", "postgres")
}

func TestLimitPerAddress(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{proxy: proxy.Config{Limits: proxy.Limits{PerAddress: 2}}})
	c, key := enterWithKey(t, f.addr, db)
	half := dial(t, f.addr)
	half.put([]byte{0, 0})
	if !pgtest.Eventually(func() bool {
		return ask(t, f, "user", "postgres") == "FATAL 53300 too many connections from this address; closed"
	}) {
		t.Error("a third connection got in")
	}
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, db, "pg_sleep", true)
	cancel(t, f.addr, key.ProcessID, key.SecretKey)
	if got := joined(c.answer()); !strings.HasSuffix(got, canceled) {
		t.Errorf("got %q", got)
	}
	_ = half.Close()
	entersSoon(t, f, "user", "postgres")
}

// Half-open connections take no place of those who are in, nor of one another
// beyond their own limit; and a cancel request passes them.
func TestLimitOfStartups(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{auth: scramAuth(t), proxy: proxy.Config{Limits: proxy.Limits{Clients: 3, Startups: 3}}})
	var flood []*client
	for i := range 3 {
		c := dial(t, f.addr)
		if i == 0 {
			c.put([]byte{0, 0, 0, 77}) // half a packet
		} else { // waits for its password
			c.startup("user", "postgres")
			if got, _ := c.receive(); got != "AuthenticationSASL" {
				t.Errorf("got %q", got)
			}
		}
		flood = append(flood, c)
	}
	if !pgtest.Eventually(func() bool {
		return ask(t, f, "user", "postgres") == "FATAL 53300 too many connections have not been authenticated yet; closed"
	}) {
		t.Error("one more startup was let in")
	}
	cancel(t, f.addr, 1, []byte("none")) // is read and dealt with
	for _, c := range flood {
		_ = c.Close()
	}
	if !pgtest.Eventually(func() bool {
		c := dial(t, f.addr)
		defer c.Close()
		c.startup("user", "postgres", "database", db)
		got, _ := c.receive()
		return got == "AuthenticationSASL"
	}) {
		t.Error("the places were not given back")
	}
}

// Beyond what is kept for cancel requests a connection is refused unread.
func TestLimitOfConnectionsBeyondTheLimits(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{proxy: proxy.Config{Limits: proxy.Limits{Startups: 1}}})
	var silent []*client
	for range 70 {
		silent = append(silent, dial(t, f.addr))
	}
	const unread = "FATAL 53300 too many connections have not been authenticated yet; closed"
	if got := joined(silent[69].answer()); got != unread {
		t.Errorf("got %q", got)
	}
	// Those that might have canceled have had their time for it.
	if got := joined(silent[10].answer()); got != "FATAL 57014 canceling authentication due to timeout; closed" {
		t.Errorf("got %q", got)
	}
	for _, c := range silent {
		_ = c.Close()
	}
	entersSoon(t, f, "user", "postgres")
}

// Whatever way a connection fails, its place is given back.
func TestLimitsAreGivenBack(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	limits := proxy.Limits{Clients: 1, PerUser: 1, PerAddress: 1, Startups: 1}
	f := start(t, setup{proxy: proxy.Config{
		Limits: limits, Databases: []string{db, "nowhere"},
		TLS: &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue("pgshunt")}},
	}})
	proven := start(t, setup{auth: scramAuth(t), proxy: proxy.Config{Limits: limits, StartupTimeout: 100 * time.Millisecond}})
	ways := map[string]func(c *client){
		"leaves at once": func(c *client) {},
		"no packet":      func(c *client) { c.put([]byte{0, 0, 0, 0}) },
		"half a packet":  func(c *client) { c.put([]byte{0, 0, 0, 99, 0}) },
		"old protocol":   func(c *client) { c.put(packet(2<<16, "\x00")) },
		"a broken handshake": func(c *client) {
			c.put(packet(80877103, ""))
			_, _ = c.Read(make([]byte, 1))
			c.put([]byte("no TLS at all"))
		},
		"no user":           func(c *client) { c.startup("database", db) },
		"unknown user":      func(c *client) { c.startup("user", "nobody", "database", db) },
		"unserved database": func(c *client) { c.startup("user", "postgres", "database", "postgres") },
		"unknown database":  func(c *client) { c.startup("user", "postgres", "database", "nowhere") },
		"wrong setting":     func(c *client) { c.startup("user", "postgres", "database", db, "work_mem", "much") },
		"replication of no database": func(c *client) {
			c.startup("user", "postgres", "database", "nowhere", "replication", "database")
		},
		"cancel request": func(c *client) { c.put(binary.BigEndian.AppendUint64(packet(80877102, "")[:8:8], 7)) },
		"a session that breaks the protocol": func(c *client) {
			c.startup("user", "postgres", "database", db)
			c.put([]byte("Y\x00\x00\x00\x00"))
		},
		"a session of replication": func(c *client) { c.startup("user", "postgres", "database", db, "replication", "database") },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				c := dial(t, f.addr)
				way(c)
				_ = c.Conn.(*net.TCPConn).CloseWrite()
				c.answer()
				_ = c.Close()
			}
			entersSoon(t, f, "user", "postgres", "database", db)
		})
	}
	silent := dial(t, proven.addr) // until its time is over
	silent.startup("user", "postgres")
	if got := joined(silent.answer()); got != "AuthenticationSASL; FATAL 57014 canceling authentication due to timeout; closed" {
		t.Errorf("got %q", got)
	}
	if !pgtest.Eventually(func() bool {
		c := dial(t, proven.addr)
		defer c.Close()
		c.startup("user", "postgres")
		got, _ := c.receive()
		return got == "AuthenticationSASL"
	}) {
		t.Error("the place of one that timed out was not given back")
	}
}

// Many at once never exceed a limit, and all places are free in the end.
func TestLimitsUnderARush(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	const most = 4
	f := start(t, setup{pool: pool.Config{Size: 8}, proxy: proxy.Config{Limits: proxy.Limits{Clients: most, PerUser: most, Startups: 50}}})
	var in, refused, entered atomic.Int64
	var work sync.WaitGroup
	for range 16 {
		work.Go(func() {
			for range 20 {
				c := dial(t, f.addr)
				c.startup("user", "postgres", "database", db)
				switch got := joined(c.answer()); {
				case got == "AuthenticationOk; ready I":
					if n := in.Add(1); n > most {
						t.Errorf("%d sessions at once", n)
					}
					entered.Add(1)
					c.works()
					in.Add(-1)
				case strings.HasPrefix(got, "FATAL 53300 "):
					refused.Add(1)
				default:
					t.Errorf("got %q", got)
				}
				_ = c.Close()
			}
		})
	}
	work.Wait()
	t.Logf("%d got in, %d were refused", entered.Load(), refused.Load())
	for range most {
		entersSoon(t, f, "user", "postgres", "database", db)
	}
	var all []*client
	if !pgtest.Eventually(func() bool {
		c := dial(t, f.addr)
		c.startup("user", "postgres", "database", db)
		if got := joined(c.answer()); got == "AuthenticationOk; ready I" {
			all = append(all, c)
		}
		return len(all) == most
	}) {
		t.Errorf("only %d places are free", len(all))
	}
}

func TestLimitOfMessages(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	primary.ExecIn(t, db, "CREATE TABLE t (x text)")
	pgtest.NoLeaks(t)
	const limit = 200000
	f := start(t, setup{proxy: proxy.Config{Limits: proxy.Limits{Message: limit}}})
	tooLarge := func(size int) string {
		return fmt.Sprintf("FATAL 54000 message of %d bytes is too large; closed", size)
	}
	// sized is a message of exactly so many bytes.
	sized := func(typ byte, size int, before, after string) []byte {
		return message(typ, before+strings.Repeat(" ", size-5-len(before)-len(after))+after)
	}
	for _, c := range []struct {
		name string
		sent []byte
		want string
	}{
		{"a query at the limit", sized('Q', limit, "SELECT 1", "\x00"), "RowDescription; row 1; SELECT 1; ready I"},
		{"a query beyond it", sized('Q', limit+1, "SELECT 1", "\x00"), tooLarge(limit + 1)},
		{"a statement beyond it", sized('P', limit+1, "\x00SELECT 1", "\x00\x00\x00"), tooLarge(limit + 1)},
		// Only the head is ever sent: the answer does not wait for the rest, nor is there room made for it.
		{"the head of a huge one", append(message('Q', strings.Repeat(" ", 20000))[:1], append([]byte{0x3f, 0xff, 0xff, 0xff}, make([]byte, 20000)...)...), tooLarge(1 << 30)},
		{"after a good one", append(message('Q', "SELECT 2\x00"), sized('Q', limit+1, "SELECT 1", "\x00")...), "RowDescription; row 2; SELECT 1; ready I; " + tooLarge(limit+1)},
		{"copy data", append(message('Q', "COPY t FROM STDIN\x00"), sized('d', limit+1, "x", "\n")...), "CopyInResponse; " + tooLarge(limit+1)},
		{"beyond PostgreSQL's own limit", append([]byte{'Q', 0x40, 0, 0, 1}, make([]byte, 20000)...), "FATAL 08P01 invalid message length; closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := enter(t, f.addr, db)
			go cl.put(c.sent)
			got := cl.answer()
			for strings.HasPrefix(c.want, strings.Join(got, "; ")+"; ") {
				got = append(got, cl.answer()...)
			}
			if joined(got) != c.want {
				t.Errorf("got %q, not %q", got, c.want)
			}
			_ = cl.Close()
		})
	}
	if n := count(t, primary, "SELECT FROM pg_stat_activity WHERE datname = $1 AND state LIKE '%transaction%'", db); n != 0 {
		t.Errorf("%d transactions were left behind", n)
	}
}
