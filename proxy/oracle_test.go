package proxy_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// neighbours is how many other sessions share the pool with the one that is
// compared; poolSize is how many backends there are for all of them.
const (
	neighbours = 8
	poolSize   = 4
)

// fewScripts is how many are compared when nobody asks for more.
const fewScripts = 40

// TestLikePostgreSQL plays random scripts directly and through the proxy, where
// noisy neighbours use the same backends, and compares every byte of the answers.
// PGSHUNT_SOAK=10m goes on for that long; another number of scripts is -rapid.checks.
func TestLikePostgreSQL(t *testing.T) {
	soak, err := time.ParseDuration(os.Getenv("PGSHUNT_SOAK"))
	until := time.Now().Add(soak)
	few := err != nil && flag.Lookup("rapid.checks").Value.String() == "100"
	if few && flag.Lookup("rapid.seed").Value.String() == "0" {
		// The same scripts every time, so that a failure is that of the change at hand;
		// others are found with PGSHUNT_SOAK.
		if err := flag.Set("rapid.seed", "2"); err != nil {
			t.Fatal(err)
		}
	}
	o := newOracle(t)
	f := start(t, setup{pool: pool.Config{Size: poolSize, Wait: time.Minute, Prepared: 6}})
	stop := o.disturb(t, f.addr)
	defer stop()

	for once := true; once || time.Now().Before(until) && !t.Failed(); once = false {
		rapid.Check(t, func(t *rapid.T) {
			if s := scripts(0).Draw(t, "script"); !few || o.compared < fewScripts || o.suspect {
				o.compare(t, s, f.addr)
			}
		})
	}
	t.Logf("%d scripts compared, %d messages of answers, %d scripts of neighbours", o.compared, o.messages, o.noise.Load())
}

// oracle knows what PostgreSQL answers.
type oracle struct {
	direct, proxied string // databases
	server          string // address of PostgreSQL
	admins          []*pgx.Conn
	compared        int
	messages        int
	suspect         bool // a difference has been found, which may depend on the neighbours
	noise           atomic.Int64
}

// newOracle makes two databases that are the same.
func newOracle(t *testing.T) *oracle {
	primary := pgtest.SharedPrimary(t)
	for actor := range neighbours + 1 {
		primary.Exec(t, fmt.Sprintf("CREATE ROLE oracle_%d", actor))
		t.Cleanup(func() { primary.Exec(t, fmt.Sprintf("DROP ROLE oracle_%d", actor)) })
	}
	o := &oracle{direct: primary.NewDatabase(t), proxied: primary.NewDatabase(t), server: address(primary)}
	for _, db := range []string{o.direct, o.proxied} {
		conn := primary.Super(t, db)
		o.exec(t, conn, `CREATE SCHEMA noise; CREATE TYPE mood AS ENUM ('sad', 'happy'); SET client_min_messages = error; SET lock_timeout = '20s';
			CREATE FUNCTION complain(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'complaint: %', what; RETURN what; END $$`)
		o.admins = append(o.admins, conn)
		for actor := range neighbours + 1 {
			o.exec(t, conn, tables(actor))
		}
	}
	return o
}

func (o *oracle) exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// compare plays s both ways. A script that is being made smaller is played a few
// times, since what goes wrong may take a neighbour.
func (o *oracle) compare(t *rapid.T, s *script, proxy string) {
	rounds := 1
	if o.suspect {
		rounds = 4
	}
	for range rounds {
		for _, conn := range o.admins {
			if _, err := conn.PgConn().Exec(t.Context(), tables(0)).ReadAll(); err != nil {
				t.Fatalf("tables: %v", err)
			}
		}
		want, counts := playScript(s, o.server, o.direct, nil)
		got, _ := playScript(s, proxy, o.proxied, counts)
		o.compared++
		o.messages += len(want)
		if disown(want, got); !slices.Equal(want, got) {
			o.suspect = true
			t.Fatalf("the script\n%s\n(-PostgreSQL +pgshunt):\n%s", s, cmp.Diff(readable(want), readable(got)))
		}
	}
}

// disturb runs the neighbours until the function returned is called.
func (o *oracle) disturb(t *testing.T, proxy string) (stop func()) {
	var all sync.WaitGroup
	var done atomic.Bool
	for actor := 1; actor <= neighbours; actor++ {
		all.Go(func() {
			for seed := actor; !done.Load(); seed += neighbours {
				s := scripts(actor).Example(seed)
				answer, _ := playScript(s, proxy, o.proxied, []int{})
				// PostgreSQL 13 waits itself after a goodbye in the middle of copy data.
				if slices.Contains(answer, "no answer") && !o.silent(s) {
					t.Errorf("neighbour %d, seed %d, is left without an answer:\n%s\n%q", actor, seed, s, readable(answer))
				}
				o.noise.Add(1)
			}
		})
	}
	return func() {
		done.Store(true)
		all.Wait()
	}
}

// Waits of a client. A pause decides only when the next messages are sent, and
// never what the right answer to them is.
const (
	pause    = 5 * time.Millisecond
	patience = 20 * time.Second
)

// silent tells whether PostgreSQL leaves s without an answer.
func (o *oracle) silent(s *script) bool {
	answer, _ := playScript(s, o.server, o.direct, []int{})
	return slices.Contains(answer, "no answer")
}

// playScript is one client that does what s says. It returns all messages that it has
// been sent, normalized, and how many had come at each wait. counts are those of
// another play to wait for; without any the client waits until nothing comes any more.
func playScript(s *script, addr, database string, counts []int) (answer []string, came []int) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return []string{err.Error()}, nil
	}
	defer conn.Close()
	params := map[string]string{"user": "postgres", "database": database}
	for i := 0; i < len(s.startup); i += 2 {
		params[s.startup[i]] = s.startup[i+1]
	}
	hello, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: params}).Encode(nil)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	_, _ = conn.Write(hello)
	from := listen(conn)
	for from.last != 'Z' && from.wait(patience) {
	}
	from.answer, from.ready = nil, 0
	ready := 0
	for i := range s.groups {
		g := &s.groups[i]
		ready += g.write(conn)
		if !g.wait {
			continue
		}
		switch {
		case counts == nil:
			for from.ready < ready && from.wait(pause) {
			}
		case len(came) < len(counts):
			for len(from.answer) < counts[len(came)] && from.wait(patience) {
			}
		}
		ready = from.ready
		came = append(came, len(from.answer))
	}
	if s.halfway {
		_ = conn.(*net.TCPConn).CloseWrite()
	} else {
		_, _ = conn.Write([]byte{'X', 0, 0, 0, 4})
	}
	for from.wait(patience) {
	}
	return from.answer, came
}

// write sends g and returns how many ReadyForQuery it asks for if all goes well.
func (g *scriptGroup) write(conn net.Conn) (ready int) {
	out := g.bytes()
	size := g.pieces
	if size == 0 {
		size = max(len(out), 1)
	}
	for piece := range slices.Chunk(out, size) {
		if _, err := conn.Write(piece); err != nil {
			break // what the server has said of it is read
		}
	}
	for _, m := range g.send {
		switch kind, _, _ := strings.Cut(m, " "); kind {
		case "Query", "Sync", "FunctionCall":
			ready++
		}
	}
	return ready
}

// listener collects what a server sends.
type listener struct {
	messages chan []byte
	answer   []string
	ready    int
	last     byte
}

func listen(conn net.Conn) *listener {
	l := &listener{messages: make(chan []byte, 64)}
	go func() {
		defer close(l.messages)
		var head [5]byte
		for {
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				return
			}
			m := make([]byte, 1+binary.BigEndian.Uint32(head[1:]))
			copy(m, head[:])
			if _, err := io.ReadFull(conn, m[5:]); err != nil {
				return
			}
			l.messages <- m
		}
	}()
	return l
}

// wait takes one message more; it reports false after the last and when none has come in time.
func (l *listener) wait(most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case m, ok := <-l.messages:
		if !ok {
			return false
		}
		l.answer, l.last = append(l.answer, string(normal(m))), m[0]
		if m[0] == 'Z' {
			l.ready++
		}
		return true
	case <-timer.C:
		if most == patience {
			l.answer = append(l.answer, "no answer")
		}
		return false
	}
}

// normal takes out of a message what differs between two databases or sessions:
// OIDs of what they contain, and process ids.
func normal(m []byte) []byte {
	mask := func(p []byte) {
		if binary.BigEndian.Uint32(p) >= firstNormalOID {
			copy(p, "\xff\xff\xff\xff")
		}
	}
	switch m[0] {
	case 'A':
		copy(m[5:9], "\x00\x00\x00\x00")
	case 't':
		for i := 7; i+4 <= len(m); i += 4 {
			mask(m[i:])
		}
	case 'T':
		for i := 7; i < len(m); {
			i += bytes.IndexByte(m[i:], 0) + 1
			mask(m[i:])
			mask(m[i+6:])
			i += 18
		}
	}
	return m
}

// disown makes equal what differs by right: the place in a source file, where an
// error is pgshunt's own; and what is wrong with a message that a failed transaction
// block refuses in any case, where PostgreSQL looks at a statement first that
// cannot be prepared on another server process any more.
func disown(want, got []string) {
	failed := false
	for i := range min(len(want), len(got)) {
		if want[i][0] == 'Z' {
			failed = want[i][5] == 'E'
		}
		if failed && want[i][0] == 'I' && strings.Contains(got[i], "\x00C25P02\x00") {
			want[i] = got[i]
		}
		if want[i][0] != 'E' || got[i][0] != 'E' || want[i] == got[i] {
			continue
		}
		if fields := strings.Split(want[i][5:], "\x00"); strings.HasPrefix(got[i][5:], strings.Join(fields[:min(4, len(fields))], "\x00")) && !strings.Contains(got[i], "\x00F") {
			want[i] = got[i]
		}
		if failed && (strings.Contains(got[i], "\x00C25P02\x00") || strings.Contains(got[i], "\x00C26000\x00")) {
			want[i] = got[i]
		}
	}
}

const firstNormalOID = 16384 // FirstNormalObjectId in access/transam.h

// readable renders messages for people.
func readable(answer []string) []string {
	var out []string
	for _, m := range answer {
		if m == "no answer" {
			out = append(out, m)
			continue
		}
		r := pgproto3.NewFrontend(strings.NewReader(m), nil)
		b, err := r.Receive()
		if err != nil {
			out = append(out, fmt.Sprintf("%q", m))
			continue
		}
		l := render(b)
		out = append(out, l.text+" |"+l.extra)
	}
	return out
}
