package proxy_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
	"pgshunt/router"
)

// heard is answer with the notices of pgshunt in their places.
func (c *client) heard() string {
	c.t.Helper()
	var got []string
	for {
		m, err := c.fe.Receive()
		if err != nil {
			c.t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.NoticeResponse:
			if m.Severity == "NOTICE" { // PostgresML itself says INFO
				got = append(got, "NOTICE "+m.Code+" "+m.Message)
			}
		case *pgproto3.DataRow:
			got = append(got, "row "+string(m.Values[0]))
		case *pgproto3.ErrorResponse:
			got = append(got, "ERROR "+m.Code)
		case *pgproto3.CommandComplete:
			got = append(got, string(m.CommandTag))
		case *pgproto3.ReadyForQuery:
			return strings.Join(append(got, string(m.TxStatus)), "; ")
		}
	}
}

// Each statement is announced once, before its own answer and after all earlier ones,
// in either protocol, also where the batch goes to two servers.
func TestExplainAnnouncesEachStatement(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		f, _, _ := besides(t, session)
		const (
			predict   = "SELECT pgml.predict('houses', ARRAY[7::real])::int"
			onReplica = "NOTICE 00000 pgshunt: replica ml1 (inference): pgml.predict is computed on PostgresML servers; "
			readHere  = "NOTICE 00000 pgshunt: primary (read): reads go to the primary; "
			about     = "NOTICE 00000 pgshunt: primary (session): the statement is about the session; "
			inBlock   = "NOTICE 00000 pgshunt: primary (transaction): the session is in a transaction; "
			pinned    = "NOTICE 00000 pgshunt: primary (pinned): session mode; "
		)
		here := func(notice string) string {
			if session {
				return pinned
			}
			return notice
		}
		c := enter(t, f.addr, "postgres", "options", "-c pgshunt.explain=on")
		step := func(want string, messages ...pgproto3.FrontendMessage) {
			t.Helper()
			c.send(messages...)
			if got := c.heard(); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		}
		query := func(sql string) pgproto3.FrontendMessage { return &pgproto3.Query{String: sql} }
		batch := func(texts ...string) (out []pgproto3.FrontendMessage) {
			for _, sql := range texts {
				out = append(out, &pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{})
			}
			return append(out, &pgproto3.Sync{})
		}
		step(here(about)+"row on; SHOW; I", query("SHOW pgshunt.explain"))
		step(here(readHere)+"row 1; SELECT 1; I", query("SELECT 1"))
		step(onReplica+"row 7500; SELECT 1; I", query(predict))
		step(here(readHere)+"row 1; SELECT 1; I", batch("SELECT 1")...)
		step(here(readHere)+"row 1; SELECT 1; "+onReplica+"row 7500; SELECT 1; "+inBlock+"row 2; SELECT 1; I",
			batch("SELECT 1", predict, "SELECT 2")...)
		step("NOTICE 00000 pgshunt: refused (offload): pgml.predict is needed together with what only the primary may do; ERROR 0A000; I",
			query("UPDATE houses SET price = pgml.predict('houses', ARRAY[rooms])"))
		step("NOTICE 00000 pgshunt: refused (offload): pgml.predict is needed together with what only the primary may do; ERROR 0A000; I",
			batch("UPDATE houses SET price = pgml.predict('houses', ARRAY[rooms])")...)
		step(here(readHere)+"ERROR 22012; I", batch("SELECT 1/0", "SELECT 2")...)
		step(here(about)+"BEGIN; T", query("BEGIN"))
		step(inBlock+"row 1; SELECT 1; T", query("SELECT 1"))
		step(onReplica+"row 7500; SELECT 1; T", batch(predict)...)
		step(inBlock+"ROLLBACK; I", query("ROLLBACK"))
		// A named statement is announced each time it is bound.
		step("I", &pgproto3.Parse{Name: "p", Query: predict}, &pgproto3.Describe{ObjectType: 'S', Name: "p"}, &pgproto3.Sync{})
		for range 2 {
			step(onReplica+"row 7500; SELECT 1; I", &pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{})
		}
		step(here(about)+"SET; I", query("SET pgshunt.explain = off"))
		step("row 1; SELECT 1; I", query("SELECT 1"))
		step("row off; SHOW; I", query("SHOW pgshunt.explain"))
		step("RESET; I", query("RESET pgshunt.explain")) // to what the client connected with
		step(here(readHere)+"row 1; SELECT 1; I", query("SELECT 1"))
		plain := enter(t, f.addr, "postgres")
		plain.send(query("SHOW pgshunt.explain"))
		if got := plain.heard(); got != "row off; SHOW; I" {
			t.Error(got)
		}
	})
}

// What is counted is the statements, not the messages; and the log has nothing of what
// they say.
func TestRoutesAreCounted(t *testing.T) {
	f, conn, _ := besides(t, false)
	ctx := context.Background()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
	} {
		var n float64
		if err := conn.QueryRow(ctx, "SELECT pgml.predict('houses', ARRAY[$1::real])", mode, float32(3)).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "SELECT id FROM houses WHERE id = $1", mode, 7654321); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "UPDATE houses SET price = pgml.predict('houses', ARRAY[rooms]) WHERE id = 7654321", mode); code(err) != "0A000" {
			t.Fatal(err)
		}
	}
	want := []proxy.RouteCount{
		{Target: "ml1", Rule: "inference", Reason: "is computed on PostgresML servers", Statements: 4},
		{Target: "primary", Rule: "read", Reason: "reads go to the primary", Statements: 4},
		{Target: "refused", Rule: "offload", Reason: "is needed together with what only the primary may do", Statements: 4},
		{Target: "ml1", Rule: "training", Reason: "runs on the project's home replica", Statements: 1},
	}
	if diff := cmp.Diff(want, f.server.Routes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
		rows, err := conn.Query(ctx, "SHOW pgshunt.routes", mode)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[proxy.RouteCount])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", mode, diff)
		}
	}
	log := f.log.String()
	if !strings.Contains(log, `role=replica target=ml1 class=inference rule=inference reason="pgml.predict is computed on PostgresML servers" kind=select`) {
		t.Errorf("there is no line for a decision:\n%s", f.log.tail())
	}
	for _, secret := range []string{"houses", "7654321"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q of a statement:\n%s", secret, f.log.tail())
		}
	}
}

// A statement that waits for a backend is decided about again when there is one, and
// counted once.
func TestRoutesAreCountedOnceInLine(t *testing.T) {
	pgtest.SharedPrimary(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	free := holdTheOnly(t, f)
	c := enter(t, f.addr, "postgres")
	c.send(&pgproto3.Query{String: "SELECT 1"})
	inLine(t, f, 1)
	other := enter(t, f.addr, "postgres")
	other.send(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	inLine(t, f, 2)
	free()
	if got := joined(c.answer()); got != "RowDescription; row 1; SELECT 1; ready I" {
		t.Fatal(got)
	}
	if got := joined(other.answer()); got != "ParseComplete; BindComplete; row 1; SELECT 1; ready I" {
		t.Fatal(got)
	}
	total := int64(0)
	for _, r := range f.server.Routes() {
		total += r.Statements
	}
	if total != 4 { // BEGIN, COMMIT and these
		t.Errorf("%d statements were counted: %+v", total, f.server.Routes())
	}
}

// Where another server has to take the place of the one that was said, that is said too.
func TestExplainAnnouncesTheServerThatAnswers(t *testing.T) {
	gone := startFake(t, func(*fakeConn) {})
	server := gone.server()
	gone.close()
	f := start(t, setup{replicas: []*pgtest.Server{server, pgtest.SharedReplica(t)}})
	c := enter(t, f.addr, "postgres", "options", "-c pgshunt.explain=on")
	const said = "(inference): pgml.embed is computed on PostgresML servers; "
	want := "NOTICE 00000 pgshunt: replica ml1 " + said + "NOTICE 00000 pgshunt: replica ml2 " + said + "row t; SELECT 1; I"
	c.send(&pgproto3.Query{String: "SELECT pgml.embed('intfloat/e5-small', 'x') IS NOT NULL"})
	if got := c.heard(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A setting that is on its way is in force for the statement behind it.
func TestAnnouncementsInAPipeline(t *testing.T) {
	f, _, db := questioned(t, 1, router.Config{})
	c := enter(t, f.addr, db)
	c.send(&pgproto3.Query{String: "SET pgshunt.explain = on"}, &pgproto3.Query{String: "SELECT 1"},
		&pgproto3.Query{String: "SET pgshunt.explain = off"}, &pgproto3.Query{String: "SELECT 1"})
	for i, want := range []bool{false, true, true, false} {
		if got := c.heard(); strings.HasPrefix(got, "NOTICE 00000 pgshunt: primary") != want {
			t.Errorf("answer %d: %q", i, got)
		}
	}
}
