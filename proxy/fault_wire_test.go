package proxy_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/cluster"
	"pgshunt/internal/pgtest"
)

// client is a client that may do everything wrong.
type client struct {
	net.Conn
	t  testing.TB
	fe *pgproto3.Frontend
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return newClient(t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	_ = nc.SetDeadline(time.Now().Add(pgtest.Patience)) // a test must not hang
	return &client{nc, t, pgproto3.NewFrontend(nc, nc)}
}

// enter dials and logs in as postgres. Further parameters go by pairs.
func enter(t testing.TB, addr, database string, params ...string) *client {
	t.Helper()
	c := dial(t, addr)
	c.startup(append([]string{"user", "postgres", "database", database}, params...)...)
	if got := c.answer(); !slices.Equal(got[len(got)-1:], []string{"ready I"}) {
		t.Fatalf("login: %q", got)
	}
	return c
}

func (c *client) startup(params ...string) {
	m := &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{}}
	for i := 0; i < len(params); i += 2 {
		m.Parameters[params[i]] = params[i+1]
	}
	c.send(m)
}

func (c *client) send(messages ...pgproto3.FrontendMessage) {
	c.t.Helper()
	var out []byte
	for _, m := range messages {
		var err error
		if out, err = m.Encode(out); err != nil {
			c.t.Fatal(err)
		}
	}
	c.put(out)
}

// put writes bytes; the other side may have hung up already.
func (c *client) put(p []byte) { _, _ = c.Write(p) }

func (c *client) query(sql string) []string {
	c.t.Helper()
	c.send(&pgproto3.Query{String: sql})
	return c.answer()
}

// answer reads up to ReadyForQuery or the end of the connection, and says in a
// few words what came. ParameterStatus and notices are left out, and so are the
// keys and their like that differ from server to server.
func (c *client) answer() []string {
	c.t.Helper()
	var got []string
	for {
		line, end := c.receive()
		if line != "" {
			got = append(got, line)
		}
		if end {
			return got
		}
	}
}

// receive reads one message; end is set on ReadyForQuery and at the end of the connection.
func (c *client) receive() (line string, end bool) {
	c.t.Helper()
	m, err := c.fe.Receive()
	if err != nil {
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			c.t.Error("no answer came")
		}
		return "closed", true
	}
	switch m := m.(type) {
	case *pgproto3.ParameterStatus, *pgproto3.NoticeResponse, *pgproto3.BackendKeyData:
		return "", false
	case *pgproto3.ReadyForQuery:
		return "ready " + string(m.TxStatus), true
	case *pgproto3.ErrorResponse:
		return strings.Join([]string{m.Severity, m.Code, m.Message}, " "), false
	case *pgproto3.DataRow:
		row := make([]string, len(m.Values))
		for i, v := range m.Values {
			row[i] = string(v)
		}
		return "row " + strings.Join(row, ","), false
	case *pgproto3.CommandComplete:
		return string(m.CommandTag), false
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3."), false
}

// works checks that a session can still do what it is for.
func (c *client) works() {
	c.t.Helper()
	want := []string{"RowDescription", "row 42", "SELECT 1", "ready I"}
	if got := c.query("SELECT 42"); !slices.Equal(got, want) {
		c.t.Errorf("the session does not work: %q", got)
	}
}

// message is a message of any type and body, its length right.
func message(typ byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(body)+4)), body...)
}

// fakeServer is a server that follows the protocol as far as a login and a
// welcome go; after that a script says what it does.
type fakeServer struct {
	t      testing.TB
	l      net.Listener
	script func(c *fakeConn)
	work   sync.WaitGroup
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	// cancels counts the cancel requests that have come.
	cancels atomic.Int32
}

// fakeConn is a connection to a fakeServer after the welcome.
type fakeConn struct {
	net.Conn
	be     *pgproto3.Backend
	server *fakeServer
}

// startFake starts a fakeServer. The script runs for each connection when its
// first message after the welcome has come; the connection ends with it.
func startFake(t testing.TB, script func(c *fakeConn)) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeServer{t: t, l: l, script: script, conns: map[net.Conn]struct{}{}}
	f.work.Go(f.accept)
	t.Cleanup(f.close)
	return f
}

// server is f in the shape that fixtures take.
func (f *fakeServer) server() *pgtest.Server {
	return &pgtest.Server{Cluster: &cluster.Cluster{Port: f.l.Addr().(*net.TCPAddr).Port}}
}

func (f *fakeServer) close() {
	_ = f.l.Close()
	f.mu.Lock()
	for nc := range f.conns {
		_ = nc.Close()
	}
	f.mu.Unlock()
	f.work.Wait()
}

func (f *fakeServer) accept() {
	for {
		nc, err := f.l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns[nc] = struct{}{}
		f.mu.Unlock()
		f.work.Go(func() {
			defer nc.Close()
			f.serve(nc)
		})
	}
}

func (f *fakeServer) serve(nc net.Conn) {
	c := &fakeConn{nc, pgproto3.NewBackend(nc, nc), f}
	m, err := c.be.ReceiveStartupMessage()
	if err != nil {
		return
	}
	if _, ok := m.(*pgproto3.StartupMessage); !ok {
		f.cancels.Add(1)
		return
	}
	c.say(&pgproto3.AuthenticationOk{},
		&pgproto3.ParameterStatus{Name: "server_version", Value: "16.0"},
		&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"},
		&pgproto3.BackendKeyData{ProcessID: 77, SecretKey: []byte("abcd")},
		&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for {
		m, err := c.be.Receive()
		if err != nil {
			return
		}
		if q, ok := m.(*pgproto3.Query); ok && (q.String == "SHOW search_path" || strings.HasPrefix(q.String, "SHOW default_transaction_") || strings.Contains(q.String, "set_config")) {
			c.say(&pgproto3.RowDescription{}, &pgproto3.DataRow{Values: [][]byte{[]byte("public")}},
				&pgproto3.CommandComplete{CommandTag: []byte("SHOW")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
			continue
		}
		f.script(c)
		return
	}
}

// say sends messages.
func (c *fakeConn) say(messages ...pgproto3.BackendMessage) {
	var out []byte
	for _, m := range messages {
		var err error
		if out, err = m.Encode(out); err != nil {
			c.server.t.Error(err)
		}
	}
	_, _ = c.Write(out)
}

// await reads messages up to one of type T, or the end of the connection.
func await[T pgproto3.FrontendMessage](c *fakeConn) (m T, ok bool) {
	for {
		got, err := c.be.Receive()
		if err != nil {
			return m, false
		}
		if m, ok = got.(T); ok {
			return m, true
		}
	}
}

// count is how many rows a query gives on a server.
func count(t testing.TB, s *pgtest.Server, sql string, args ...any) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.SocketURL(s.Superuser(), "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var params [][]byte
	for _, a := range args {
		params = append(params, fmt.Append(nil, a))
	}
	r := conn.ExecParams(ctx, sql, params, nil, nil, nil).Read()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return len(r.Rows)
}

// running waits until a query with the text runs in a database, or no longer does.
func running(t testing.TB, s *pgtest.Server, database, text string, want bool) {
	t.Helper()
	ok := pgtest.Eventually(func() bool {
		n := count(t, s, `SELECT FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND query LIKE '%' || $2 || '%' AND pid <> pg_backend_pid()`, database, text)
		return n > 0 == want
	})
	if !ok {
		t.Errorf("%q is running: %v, which is not what was to be", text, !want)
	}
}

// code is the SQLSTATE of an error.
func code(err error) string {
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
		return pe.Code
	}
	return fmt.Sprint(err)
}

func joined(lines []string) string { return strings.Join(lines, "; ") }
