package proxy_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// badInput is what a client may send after its login, and the answer.
var badInput = []struct {
	name string
	sent []byte
	want string
	// same: PostgreSQL gives the same answer. Where it hangs up without a word, we say why.
	same bool
}{
	{"unknown type", message('z', "abc"), "FATAL 08P01 invalid frontend message type 122; closed", true},
	{"type of a server", message('R', "\x00\x00\x00\x00"), "FATAL 08P01 invalid frontend message type 82; closed", true},
	{"password after the login", message('p', "secret\x00"), "FATAL 08P01 invalid frontend message type 112; closed", true},
	{"length below four", []byte("Q\x00\x00\x00\x03"), "FATAL 08P01 invalid message length; closed", false},
	{"length negative", []byte("Q\xff\xff\xff\xff"), "FATAL 08P01 invalid message length; closed", false},
	{"length beyond a gigabyte", []byte("d\x40\x00\x00\x00"), "FATAL 08P01 invalid message length; closed", false},
	{"Sync too large", message('S', strings.Repeat("x", 9997)), "FATAL 08P01 invalid message length; closed", false},
	{"Close too large", message('C', strings.Repeat("x", 200_000)), "FATAL 08P01 invalid message length; closed", false},
	{"query without its end", message('Q', "SELECT 1"), "ERROR 08P01 invalid string in message; ready I", true},
	{"query with bytes after its end", message('Q', "SELECT 1\x00SELECT 2\x00"), "ERROR 08P01 invalid message format; ready I", true},
	{"bind cut short", append(append(message('P', "\x00SELECT 1\x00\x00\x00"), message('B', "\x00\x00\x00\x01")...), message('S', "")...), "ParseComplete; ERROR 08P01 insufficient data left in message; ready I", true},
	{"parse without its end", append(message('P', "a\x00SELECT"), message('S', "")...), "ERROR 08P01 invalid string in message; ready I", true},
	{"describe of nothing known", append(message('D', "Xabc\x00"), message('S', "")...), "ERROR 08P01 invalid DESCRIBE message subtype 88; ready I", true},
	{"close of nothing known", append(message('C', "Xabc\x00"), message('S', "")...), "ERROR 08P01 invalid CLOSE message subtype 88; ready I", true},
	{"execute cut short", append(message('E', "abc"), message('S', "")...), "ERROR 08P01 invalid string in message; ready I", true},
}

func TestFaultBadMessages(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		pgtest.NoLeaks(t)
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
		other := enter(t, f.addr, "postgres")
		for _, c := range badInput {
			t.Run(c.name, func(t *testing.T) {
				bad := enter(t, f.addr, "postgres")
				bad.put(c.sent)
				if got := joined(bad.answer()); got != c.want {
					t.Errorf("got %q, not %q", got, c.want)
				}
				if strings.HasSuffix(c.want, "ready I") {
					bad.works()
				}
				if c.same {
					direct := enter(t, address(primary), "postgres")
					direct.put(c.sent)
					if got := joined(direct.answer()); got != c.want {
						t.Errorf("PostgreSQL says %q", got)
					}
				}
				other.works()
			})
		}
		_ = other.Close()
	})
}

// The largest of the small messages is as large as PostgreSQL's.
func TestFaultSmallMessagesMayBeAsLargeAsInPostgreSQL(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	f := start(t, setup{})
	name := strings.Repeat("x", 10000-4-2)
	sent := append(message('C', "S"+name+"\x00"), message('S', "")...)
	var got []string
	for _, addr := range []string{address(primary), f.addr} {
		c := enter(t, addr, "postgres")
		c.put(sent)
		got = append(got, joined(c.answer()))
	}
	if got[0] != got[1] || got[0] != "CloseComplete; ready I" {
		t.Errorf("PostgreSQL and pgshunt say %q", got)
	}
}

func TestFaultRandomBytes(t *testing.T) {
	pgtest.SharedPrimary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 3}})
	other := enter(t, f.addr, "postgres")
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		p := make([]byte, random.IntN(400))
		for j := range p {
			p[j] = byte(random.Uint32())
		}
		if len(p) > 5 && i%3 > 0 { // a type and length that make sense, and then none
			p[0] = "QPBDECSHFdcfX"[random.IntN(13)]
			binary.BigEndian.PutUint32(p[1:], uint32(4+random.IntN(len(p))))
		}
		var c *client
		if i%2 == 0 {
			c = dial(t, f.addr)
		} else {
			c = enter(t, f.addr, "postgres")
		}
		c.put(p)
		_ = c.Close()
		if i%50 == 0 {
			other.works()
		}
	}
	other.works()
	_ = other.Close()
}

// A client that leaves in the middle of something takes it along.
func TestFaultClientVanishes(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		primary.ExecIn(t, db, "CREATE TABLE t (v text); INSERT INTO t VALUES ('a')")
		pgtest.NoLeaks(t)
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 2}})
		other := enter(t, f.addr, db)
		free := func(t *testing.T) { // neither lock nor query is left
			running(t, primary, db, "pg_sleep", false)
			if got := joined(other.query("SET lock_timeout = '20s'; LOCK t; SELECT count(*) FROM t; RESET lock_timeout")); !strings.Contains(got, "row 1") {
				t.Errorf("the next session is told %q", got)
			}
		}
		t.Run("in a transaction", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.query("BEGIN; LOCK t; INSERT INTO t VALUES ('b')")
			_ = c.Close()
			free(t)
		})
		t.Run("in a query", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Query{String: "LOCK t; SELECT pg_sleep(600)"})
			running(t, primary, db, "pg_sleep", true)
			_ = c.Close()
			free(t)
		})
		t.Run("in a query of a batch", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Parse{Query: "DELETE FROM t"}, &pgproto3.Bind{}, &pgproto3.Execute{},
				&pgproto3.Parse{Query: "SELECT pg_sleep(600)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{})
			running(t, primary, db, "pg_sleep", true)
			_ = c.Close()
			free(t)
		})
		t.Run("after a batch without Sync", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Parse{Query: "DELETE FROM t"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{})
			for line := ""; line != "DELETE 1"; line, _ = c.receive() {
			}
			_ = c.Close()
			free(t)
		})
		t.Run("in copy data", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Query{String: "COPY t FROM stdin"})
			if line, _ := c.receive(); line != "CopyInResponse" {
				t.Fatal(line)
			}
			c.send(&pgproto3.CopyData{Data: []byte("b\nc\n")})
			c.put([]byte("d\x00\x00\x10\x00half a message"))
			_ = c.Close()
			free(t)
		})
		t.Run("without reading copy data", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Query{String: "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO stdout"})
			running(t, primary, db, "generate_series", true)
			_ = c.Close()
			running(t, primary, db, "generate_series", false)
			free(t)
		})
		t.Run("in the middle of a large query", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.put([]byte("Q\x00\x10\x00\x00DELETE FROM t WHERE v = '" + strings.Repeat("x", 500_000)))
			_ = c.Close()
			free(t)
		})
		t.Run("half closed", func(t *testing.T) { // cannot be told from one that has gone
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Query{String: "BEGIN; LOCK t; SELECT pg_sleep(600)"})
			running(t, primary, db, "pg_sleep", true)
			if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := c.answer(); got[len(got)-1] != "closed" {
				t.Errorf("got %q", got)
			}
			free(t)
		})
		_ = other.Close()
	})
}

// A client that does not read its answer holds up nobody else, and its answer
// waits at the server and not in memory here.
func TestFaultClientThatNeverReads(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{pool: pool.Config{Size: 4}})
	other := enter(t, f.addr, db)
	other.works()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var lazy []*client
	for range 3 {
		c := enter(t, f.addr, db)
		c.send(&pgproto3.Query{String: "SELECT repeat('x', 100000) FROM generate_series(1, 10000)"}) // 1 GB
		lazy = append(lazy, c)
	}
	stuck := pgtest.Eventually(func() bool {
		return count(t, primary, "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'ClientWrite'", db) == 3
	})
	if !stuck {
		t.Error("the server is not held up, so somebody has taken the answer")
	}
	for range 100 {
		other.works()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before.HeapAlloc, after.HeapAlloc)
	}
	for _, c := range lazy {
		_ = c.Close()
	}
	running(t, primary, db, "repeat", false)
	_ = other.Close()
}

// A long pipeline without a Sync must not come to rest because everybody waits
// for somebody else: the server for a Flush, we for its answers, the client for us.
func TestFaultLongPipelineGetsThrough(t *testing.T) {
	pgtest.SharedPrimary(t)
	bind, execute, sync := &pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{}
	parse := &pgproto3.Parse{Query: "SELECT 1 WHERE false"}
	for name, c := range map[string]struct {
		repeated []pgproto3.FrontendMessage
		answer   string // of each round
		ready    int    // how often ReadyForQuery comes in 5,000 rounds
	}{
		"executes":   {[]pgproto3.FrontendMessage{bind, execute}, "SELECT 0", 1},
		"binds":      {[]pgproto3.FrontendMessage{bind}, "BindComplete", 1},
		"parses":     {[]pgproto3.FrontendMessage{parse}, "ParseComplete", 1},
		"batches":    {[]pgproto3.FrontendMessage{bind, execute, sync}, "SELECT 0", 5000},
		"bare syncs": {[]pgproto3.FrontendMessage{sync}, "ready I", 5000},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, session bool) {
				f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
				cl := enter(t, f.addr, "postgres")
				cl.send(&pgproto3.Parse{Name: "s", Query: "SELECT 1 WHERE false"}, sync)
				cl.answer()
				var out []byte
				for range 5000 {
					for _, m := range c.repeated {
						out, _ = m.Encode(out)
					}
				}
				if c.ready == 1 {
					out, _ = sync.Encode(out)
				}
				go cl.put(out)
				rounds, ready := 0, 0
				for ready < c.ready {
					line, end := cl.receive()
					if line == "closed" {
						t.Fatalf("closed after %d", rounds)
					}
					if line == c.answer {
						rounds++
					}
					if end {
						ready++
					}
				}
				if rounds != 5000 {
					t.Errorf("%d answers of 5000", rounds)
				}
				cl.works()
				_ = cl.Close()
			})
		})
	}
}

// A client may send its next batch, and many more, before it reads.
func TestFaultClientThatReadsLate(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	f := start(t, setup{})
	c := enter(t, f.addr, db)
	const n = 1000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range n {
			c.send(&pgproto3.Query{String: "SELECT repeat('x', 40000), '" + strings.Repeat("y", 40000) + "'"})
		}
	}()
	// The pipes are full when the server can write no more.
	pgtest.Eventually(func() bool {
		return count(t, primary, "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'ClientWrite'", db) == 1
	})
	for i := range n {
		if got := c.answer(); len(got) != 4 || got[3] != "ready I" {
			t.Fatalf("answer %d: %.200q", i, got)
		}
	}
	<-sent
	c.works()
}
