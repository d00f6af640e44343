package proxy_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

const lost = `FATAL 08006 connection to server "primary" was lost`

var (
	column   = &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("c"), DataTypeOID: 25}}}
	ready    = &pgproto3.ReadyForQuery{TxStatus: 'I'}
	selected = &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
)

func row(s string) *pgproto3.DataRow { return &pgproto3.DataRow{Values: [][]byte{[]byte(s)}} }

func bytesOf(messages ...pgproto3.BackendMessage) []byte {
	var out []byte
	for _, m := range messages {
		out, _ = m.Encode(out)
	}
	return out
}

// A server that dies or lies in its answer to a query. What came whole before it
// did is passed on; then the client is told, unless it stands inside a message.
func TestFaultServerDiesOrLies(t *testing.T) {
	whole := bytesOf(column, row("x"))
	large := bytesOf(row(strings.Repeat("x", 300_000)))
	for _, c := range []struct {
		name   string
		answer []byte
		want   string
	}{
		{"says nothing", nil, lost + "; closed"},
		{"dies after a row", whole, "RowDescription; row x; " + lost + "; closed"},
		{"dies in a row", append(slices.Clone(whole), large[:100]...), "RowDescription; row x; " + lost + "; closed"},
		{"dies in a header", append(slices.Clone(whole), "D\x00\x00"...), "RowDescription; row x; " + lost + "; closed"},
		{"dies in a large row", append(slices.Clone(whole), large[:200_000]...), "RowDescription; row x; closed"},
		{"dies before ReadyForQuery", bytesOf(column, row("x"), selected), "RowDescription; row x; SELECT 1; " + lost + "; closed"},
		{
			"says that it dies", bytesOf(column, &pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "bye"}),
			"RowDescription; FATAL 57P01 bye; closed",
		},
		{"unknown type", append(slices.Clone(whole), message('x', "abc")...), "RowDescription; row x; " + lost + "; closed"},
		{"type of a client", append(slices.Clone(whole), message('Q', "SELECT 1\x00")...), "RowDescription; row x; " + lost + "; closed"},
		{"length below four", append(slices.Clone(whole), "D\x00\x00\x00\x03"...), "RowDescription; row x; " + lost + "; closed"},
		{"length beyond a gigabyte", append(slices.Clone(whole), "D\x7f\xff\xff\xff"...), "RowDescription; row x; " + lost + "; closed"},
		{"ReadyForQuery without a status", message('Z', ""), lost + "; closed"},
		{"ReadyForQuery with a wrong status", message('Z', "x"), lost + "; closed"},
		{"huge ReadyForQuery", message('Z', strings.Repeat("I", 200_000)), "closed"},
		{"ParseComplete for nothing", bytesOf(&pgproto3.ParseComplete{}), lost + "; closed"},
		{"authentication again", bytesOf(&pgproto3.AuthenticationOk{}), lost + "; closed"},
		{"random bytes", bytes.Repeat([]byte("\x93\x07\xff"), 1000), lost + "; closed"},
		{"malformed error", message('E', "nonsense"), "closed"},
		{"malformed parameter", message('S', "nonsense"), "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pgtest.NoLeaks(t)
			fake := startFake(t, func(fc *fakeConn) { _, _ = fc.Write(c.answer) })
			f := start(t, setup{primary: fake.server()})
			cl := enter(t, f.addr, "postgres")
			got := joined(cl.query("SELECT 1"))
			if !strings.HasSuffix(got, c.want) || !strings.HasPrefix(got, c.want[:min(4, len(c.want))]) && c.want != "closed" {
				t.Errorf("got %.300q, not %q", got, c.want)
			}
			enter(t, f.addr, "postgres") // others are let in as before
		})
	}
}

// A server may complete an answer and go wrong in the same breath. What was
// complete is the client's, and its session goes on with another backend.
func TestFaultServerDiesOrLiesAfterItsAnswer(t *testing.T) {
	for name, after := range map[string][]byte{
		"dies":                            nil,
		"says that it dies":               bytesOf(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "bye"}),
		"garbage":                         []byte("\x00\x01\x02\x03\x04\x05"),
		"impossible length":               []byte("D\x00\x00\x00\x00"),
		"ReadyForQuery once more":         bytesOf(ready),
		"a row that nobody has asked for": bytesOf(row("y")),
	} {
		t.Run(name, func(t *testing.T) {
			pgtest.NoLeaks(t)
			fake := startFake(t, func(fc *fakeConn) {
				_, _ = fc.Write(append(bytesOf(column, row("x"), selected, ready), after...))
			})
			f := start(t, setup{primary: fake.server()})
			cl := enter(t, f.addr, "postgres")
			const whole = "RowDescription; row x; SELECT 1; ready I"
			if got := joined(cl.query("SELECT 1")); got != whole {
				t.Errorf("got %q", got)
			}
			// The next one may be on its way to the same server before its end is known.
			got := joined(cl.query("SELECT 1"))
			if got != whole && got != lost+"; closed" && got != "FATAL 57P01 bye; closed" {
				t.Errorf("next: got %q", got)
			}
		})
	}
}

// What the server says to a message of ours is nobody's business but ours.
func TestFaultServerDiesAtAnInjectedMessage(t *testing.T) {
	pgtest.NoLeaks(t)
	fake := startFake(t, func(fc *fakeConn) {
		if _, ok := await[*pgproto3.Parse](fc); ok {
			fc.say(&pgproto3.CloseComplete{}) // to the Close before the Parse; then it dies
		}
	})
	f := start(t, setup{primary: fake.server()})
	cl := enter(t, f.addr, "postgres")
	cl.send(&pgproto3.Parse{Name: "s", Query: "SELECT 1"}, &pgproto3.Sync{})
	if got := joined(cl.answer()); got != lost+"; closed" {
		t.Errorf("got %q", got)
	}
}

// terminate ends the server processes of a database, as an administrator would.
func terminate(t *testing.T, s *pgtest.Server, database string) {
	t.Helper()
	n := count(t, s, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
	if n == 0 {
		t.Error("there was no server process to end")
	}
	gone := pgtest.Eventually(func() bool { return count(t, s, "SELECT FROM pg_stat_activity WHERE datname = $1", database) == 0 })
	if !gone {
		t.Error("the server processes have not ended")
	}
}

const terminated = "FATAL 57P01 terminating connection due to administrator command; closed"

func TestFaultServerProcessTerminated(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		primary.ExecIn(t, db, "CREATE TABLE t (v text)")
		pgtest.NoLeaks(t)
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
		t.Run("idle", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.works()
			terminate(t, primary, db)
			if session { // it was this session's own
				if got := joined(c.answer()); got != terminated {
					t.Errorf("got %q", got)
				}
				return
			}
			c.works()
		})
		t.Run("idle in a transaction", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.query("BEGIN; INSERT INTO t VALUES ('lost')")
			terminate(t, primary, db)
			if got := joined(c.answer()); got != terminated {
				t.Errorf("got %q", got)
			}
		})
		t.Run("in a query", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
			running(t, primary, db, "pg_sleep", true)
			terminate(t, primary, db)
			if got := joined(c.answer()); got != "RowDescription; "+terminated {
				t.Errorf("got %q", got)
			}
		})
		t.Run("in copy data from the client", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Query{String: "COPY t FROM stdin"})
			if line, _ := c.receive(); line != "CopyInResponse" {
				t.Fatal(line)
			}
			c.send(&pgproto3.CopyData{Data: []byte("lost\n")})
			terminate(t, primary, db)
			if got := joined(c.answer()); got != terminated {
				t.Errorf("got %q", got)
			}
		})
		t.Run("in copy data to the client", func(t *testing.T) {
			c := enter(t, f.addr, db)
			c.send(&pgproto3.Query{String: "COPY (SELECT 1, pg_sleep(CASE i WHEN 500 THEN 600 ELSE 0 END) FROM generate_series(1, 1000) i) TO stdout"})
			running(t, primary, db, "pg_sleep", true)
			terminate(t, primary, db)
			got := c.answer()
			if last := joined(got[max(0, len(got)-2):]); last != terminated {
				t.Errorf("got %q at the end", last)
			}
		})
		c := enter(t, f.addr, db)
		if got := joined(c.query("SELECT count(*) FROM t")); got != "RowDescription; row 0; SELECT 1; ready I" {
			t.Errorf("got %q", got)
		}
		_ = c.Close()
	})
}

// The machine of the primary is lost, and comes back.
func TestFaultPrimaryKilledAndBack(t *testing.T) {
	primary := pgtest.Primary(t)
	pgtest.NoLeaks(t)
	f := start(t, setup{primary: primary, pool: pool.Config{Size: 3}})
	idle, busy, inBlock := enter(t, f.addr, "postgres"), enter(t, f.addr, "postgres"), enter(t, f.addr, "postgres")
	inBlock.query("BEGIN")
	busy.send(&pgproto3.Query{String: "SELECT pg_sleep(600)"})
	running(t, primary, "postgres", "pg_sleep", true)
	primary.Kill()
	for _, c := range []*client{busy, inBlock} {
		// A server process may still find the time to say why it ends.
		got := joined(c.answer())
		if !strings.HasSuffix(got, lost+"; closed") && !strings.HasSuffix(got, "FATAL 57P01 terminating connection due to unexpected postmaster exit; closed") {
			t.Errorf("got %q", got)
		}
	}
	if got := joined(idle.query("SELECT 1")); got != `ERROR 08001 could not connect to server "primary"; ready I` {
		t.Errorf("got %q", got)
	}
	fresh := dial(t, f.addr)
	fresh.startup("user", "postgres", "database", "template1") // not yet welcomed before
	if got := joined(fresh.answer()); got != `FATAL 08001 could not connect to server "primary"; closed` {
		t.Errorf("got %q", got)
	}
	if err := primary.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	idle.works()
	enter(t, f.addr, "template1").works()
}

// A replica is lost while it computes. Outside a transaction the statement fails
// and the session goes on; inside, the client's transaction fails as well.
func TestFaultReplicaLost(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	for name, end := range map[string]func(t *testing.T, replica *pgtest.Server){
		"terminated": func(t *testing.T, replica *pgtest.Server) {
			count(t, replica, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%embed%' AND pid <> pg_backend_pid()")
		},
		"killed": func(_ *testing.T, replica *pgtest.Server) { replica.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			replica := pgtest.Replica(t)
			db := primary.NewDatabase(t)
			primary.ExecIn(t, db, "CREATE TABLE t (v text)")
			pgtest.NoLeaks(t)
			f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: "postgres"})
			replica.Exec(t, "ALTER DATABASE postgres SET pgml_standin.embed_delay = '600'")
			slow := "SELECT pgml.embed('slow', 'x')"
			gone := `ERROR 08006 connection to server "ml1" was lost; `

			restart := false
			begin := func(t *testing.T, c *client, messages ...pgproto3.FrontendMessage) {
				t.Helper()
				if restart {
					if err := replica.Restart(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				restart = name == "killed"
				c.send(messages...)
				running(t, replica, "postgres", "embed", true)
				end(t, replica)
			}
			c := enter(t, f.addr, db)
			extended := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: slow}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}

			begin(t, c, &pgproto3.Query{String: slow})
			if got := joined(c.answer()); got != gone+"ready I" {
				t.Errorf("simple: got %q", got)
			}
			c.works()

			begin(t, c, extended...)
			if got := joined(c.answer()); !strings.HasSuffix(got, gone+"ready I") {
				t.Errorf("extended: got %q", got)
			}
			c.works()

			// What stands behind it in a pipeline is not concerned.
			begin(t, c, append(slices.Clone(extended), &pgproto3.Query{String: "SELECT 7"})...)
			if got := joined(c.answer()); !strings.HasSuffix(got, gone+"ready I") {
				t.Errorf("first of a pipeline: got %q", got)
			}
			if got := joined(c.answer()); got != "RowDescription; row 7; SELECT 1; ready I" {
				t.Errorf("second of a pipeline: got %q", got)
			}

			// With settings of the session on their way before the statement.
			set := enter(t, f.addr, db, "options", "-c extra_float_digits=0")
			begin(t, set, &pgproto3.Query{String: slow})
			if got := joined(set.answer()); got != gone+"ready I" {
				t.Errorf("with settings: got %q", got)
			}
			set.works()

			for kind, messages := range map[string][]pgproto3.FrontendMessage{
				"simple": {&pgproto3.Query{String: slow}}, "extended": extended,
			} {
				c.query("BEGIN; INSERT INTO t VALUES ('a')")
				begin(t, c, messages...)
				transactionHasFailed(t, c, kind, gone)
			}

			lossBeforeSync(t, c, gone, func() {
				begin(t, c, append(slices.Clone(extended[:3]), &pgproto3.Flush{})...)
			})
			if got := joined(c.query("SELECT count(*) FROM t")); !strings.Contains(got, "row 0;") {
				t.Errorf("rows of a failed transaction: %q", got)
			}
		})
	}
}

// transactionHasFailed checks what a client gets when the replica is lost beside
// its transaction: the error, status E, and a commit that rolls back.
func transactionHasFailed(t *testing.T, c *client, kind, gone string) {
	t.Helper()
	if got := joined(c.answer()); !strings.HasSuffix(got, gone+"ready E") {
		t.Errorf("%s, in a transaction: got %q", kind, got)
	}
	if got := joined(c.query("SELECT 1")); got != "ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block; ready E" {
		t.Errorf("%s: the transaction on the primary: %q", kind, got)
	}
	if got := joined(c.query("COMMIT")); got != "ROLLBACK; ready I" {
		t.Errorf("%s: commit: %q", kind, got)
	}
	c.works()
}

// lossBeforeSync checks a batch whose replica is lost before the client has sent
// its Sync, outside a transaction and in one.
func lossBeforeSync(t *testing.T, c *client, gone string, begin func()) {
	t.Helper()
	for _, block := range []string{"", "BEGIN; INSERT INTO t VALUES ('a')"} {
		status := "E"
		if c.query(block); block == "" {
			status = "I"
		}
		begin()
		for line, end := "", false; line+"; " != gone && !end; line, end = c.receive() {
		}
		c.send(&pgproto3.Parse{Query: "ignored up to the Sync"}, &pgproto3.Sync{})
		if got := joined(c.answer()); got != "ready "+status {
			t.Errorf("after %q: got %q", block, got)
		}
		c.query("ROLLBACK")
		c.works()
	}
}

// A server that is sent a message among copy data says that it is wrong, and some time
// later that it hangs up. A client that says goodbye meanwhile hears both.
func TestFaultServerHangsUpAfterGoodbye(t *testing.T) {
	pgtest.NoLeaks(t)
	fake := startFake(t, func(fc *fakeConn) {
		if _, ok := await[*pgproto3.Sync](fc); !ok {
			return
		}
		fc.say(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.CopyInResponse{})
		if _, ok := await[*pgproto3.Query](fc); !ok {
			return
		}
		fc.say(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "08P01", Message: "unexpected message"})
		if _, ok := await[*pgproto3.Sync](fc); ok { // pgshunt's own
			fc.say(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "synchronization was lost"})
		}
	})
	f := start(t, setup{primary: fake.server()})
	cl := enter(t, f.addr, "postgres")
	cl.send(&pgproto3.Parse{Query: "COPY t FROM STDIN"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{},
		&pgproto3.Query{String: "SELECT 1"}, &pgproto3.Terminate{})
	const want = "ParseComplete; BindComplete; CopyInResponse; ERROR 08P01 unexpected message; FATAL 08P01 synchronization was lost; closed"
	if got := joined(cl.answer()); got != want {
		t.Errorf("got %q", got)
	}
}
