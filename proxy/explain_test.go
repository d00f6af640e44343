package proxy_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
	"pgshunt/router"
)

// explainedRow is a row of EXPLAIN (ROUTE).
type explainedRow struct {
	Statement                                                       string
	Target, Place, Class, Rule, Reason                              string
	Project, Freshness, Candidates, SQLState, Message, Detail, Hint *string
}

func explained(t *testing.T, conn interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, sql string, args ...any,
) []explainedRow {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[explainedRow])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// unheard fails the test if a server has been sent anything with one of the texts.
func unheard(t *testing.T, f *fixture, marks map[*pgtest.Server]int, texts ...string) {
	t.Helper()
	for server, mark := range marks {
		for _, line := range server.LogLines(t, mark) {
			for _, text := range texts {
				if strings.Contains(line.Text, text) {
					t.Errorf("a server was told %q", line.Text)
				}
			}
		}
	}
}

func TestExplainRouteWithEveryWayOfPgx(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		f, conn, _ := besides(t, session)
		marks := map[*pgtest.Server]int{f.primary: f.primary.Mark(t), f.replicas[0]: f.replicas[0].Mark(t)}
		for _, mode := range []pgx.QueryExecMode{
			pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
			pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
		} {
			for range 2 { // the second time it is prepared
				got := explained(t, conn, "EXPLAIN (ROUTE) SELECT pgml.predict('houses', ARRAY[$1::real]) /* hush */", mode, float32(3))
				if len(got) != 1 || got[0].Target != "ml1" || got[0].Class != "inference" || got[0].Rule != "inference" ||
					!strings.Contains(got[0].Reason, "pgml.predict") || got[0].Project == nil || *got[0].Project != "houses" ||
					*got[0].Candidates != "ml1" || got[0].SQLState != nil {
					t.Fatalf("%v: %+v", mode, got)
				}
			}
			got := explained(t, conn, "SHOW ROUTE FOR 'UPDATE houses SET price = pgml.predict(''houses'', ARRAY[rooms]) /* hush */'", mode)
			if len(got) != 1 || got[0].Target != "refused" || *got[0].SQLState != "0A000" || got[0].Hint == nil {
				t.Fatalf("%v: %+v", mode, got)
			}
			got = explained(t, conn, "SHOW ROUTE FOR $$SELECT 1 /* hush */; DELETE FROM houses$$;", mode)
			if len(got) != 2 || got[0].Statement != "select" || got[1].Statement != "delete" || got[1].Target != "primary" ||
				got[0].Class != "read" || got[1].Class != "write" || got[1].Rule != map[bool]string{false: "multi", true: "pinned"}[session] {
				t.Fatalf("%v: %+v", mode, got)
			}
			var document []byte
			if err := conn.QueryRow(context.Background(), "EXPLAIN (ROUTE, FORMAT JSON) SELECT pgml.version() /* hush */", mode).Scan(&document); err != nil {
				t.Fatal(err)
			}
			var parsed []map[string]any
			if err := json.Unmarshal(document, &parsed); err != nil || len(parsed) != 1 || parsed[0]["target"] != "ml1" {
				t.Errorf("%v: %s, %v", mode, document, err)
			}
		}
		unheard(t, f, marks, "hush", "ROUTE")
	})
}

// The home of a project that only a parameter names is found by the parameter.
func TestExplainRouteReadsParameters(t *testing.T) {
	replicas := []*pgtest.Server{pgtest.SharedReplica(t), pgtest.SharedReplica(t)}
	f := start(t, setup{replicas: replicas})
	conn := pgtest.Connect(t, f.url("postgres", "postgres"))
	targets := map[string]bool{}
	for _, project := range []string{"a", "b", "c", "d", "e", "f"} {
		got := explained(t, conn, "EXPLAIN (ROUTE) SELECT * FROM pgml.train($1, 'regression', 't', 'y')", project)
		constant := explained(t, conn, "EXPLAIN (ROUTE) SELECT * FROM pgml.train('"+project+"', 'regression', 't', 'y')")
		if got[0].Target != constant[0].Target {
			t.Errorf("project %s: %s by parameter, %s by constant", project, got[0].Target, constant[0].Target)
		}
		targets[got[0].Target] = true
	}
	if len(targets) != 2 {
		t.Errorf("all projects have their home on one of two servers: %v", targets)
	}
}

func TestExplainRouteInTransactions(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		_, conn, _ := besides(t, session)
		ctx := context.Background()
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
			tx, err := conn.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(ctx, "UPDATE houses SET price = 1 WHERE id = 1", mode); err != nil {
				t.Fatal(err)
			}
			got := explained(t, tx, "EXPLAIN (ROUTE) SELECT count(*) FROM houses WHERE id < $1", mode, 3)
			if got[0].Target != "primary" || got[0].Place != "stay" || got[0].Rule != "transaction" {
				t.Errorf("%+v", got)
			}
			got = explained(t, tx, "EXPLAIN (ROUTE) SELECT pgml.predict('houses', ARRAY[rooms]) FROM houses", mode)
			if *got[0].SQLState != "0A000" || !strings.Contains(got[0].Reason, "uncommitted") {
				t.Errorf("%+v", got)
			}
			if _, err := tx.Exec(ctx, "SELECT 1/0", mode); code(err) != "22012" {
				t.Error(err)
			}
			for _, sql := range []string{"EXPLAIN (ROUTE) SELECT 1 AS failed", "SHOW ROUTE FOR 'SELECT 2'", "SHOW pgshunt.routes"} {
				_, err := tx.Exec(ctx, sql, mode)
				if code(err) != "25P02" {
					t.Errorf("%s in a failed block: %v", sql, err)
				}
				if status := conn.PgConn().TxStatus(); status != 'E' {
					t.Errorf("%s in a failed block: status %c", sql, status)
				}
			}
			if err := tx.Rollback(ctx); err != nil {
				t.Fatal(err)
			}
			var price float64
			if err := conn.QueryRow(ctx, "SELECT price FROM houses WHERE id = 1", mode).Scan(&price); err != nil || price != 1500 {
				t.Errorf("after the rollback: %v, %v", price, err)
			}
		}
	})
}

// explainPipeline is a batch with questions about routes in it, and its answer but for ReadyForQuery.
type explainPipeline struct {
	name string
	sent [][]pgproto3.FrontendMessage
	want string
}

func explainPipelines() []explainPipeline {
	const row = "row select,primary,primary,read,no-replicas,no PostgresML server is configured,,,,,,,"
	ask := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	one := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT 7"}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	bad := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT 1/0"}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	const asked, seven = "ParseComplete; BindComplete; " + row + "; EXPLAIN; ", "ParseComplete; BindComplete; row 7; SELECT 1; "
	const failed = "ParseComplete; ERROR 22012 division by zero; "
	return []explainPipeline{
		{"alone", [][]pgproto3.FrontendMessage{ask}, asked},
		{"first", [][]pgproto3.FrontendMessage{ask, one}, asked + seven},
		{"last", [][]pgproto3.FrontendMessage{one, ask}, seven + asked},
		{"between", [][]pgproto3.FrontendMessage{one, ask, one, ask}, seven + asked + seven + asked},
		{"after an error", [][]pgproto3.FrontendMessage{bad, ask}, failed},
		{"before an error", [][]pgproto3.FrontendMessage{ask, bad, one}, asked + failed},
		{"in portions", [][]pgproto3.FrontendMessage{{
			&pgproto3.Parse{Name: "s", Query: "SHOW ROUTE FOR 'SELECT 1; SELECT 2'"}, &pgproto3.Describe{ObjectType: 'S', Name: "s"},
			&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"}, &pgproto3.Describe{ObjectType: 'P', Name: "p"},
			&pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Execute{Portal: "p", MaxRows: 1},
			&pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Close{ObjectType: 'S', Name: "s"},
		}}, "ParseComplete; ParameterDescription; RowDescription; BindComplete; RowDescription; " +
			row + "; PortalSuspended; " + row + "; PortalSuspended; SHOW; CloseComplete; CloseComplete; "},
		{
			"wrong parameters",
			[][]pgproto3.FrontendMessage{{
				&pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT $1"}, &pgproto3.Bind{}, &pgproto3.Execute{},
			}},
			`ParseComplete; ERROR 08P01 bind message supplies 0 parameters, but prepared statement "" requires 1; `,
		},
		{
			"wrong formats",
			[][]pgproto3.FrontendMessage{{
				&pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT 1"}, &pgproto3.Bind{ResultFormatCodes: []int16{0, 1}},
			}},
			`ParseComplete; ERROR 08P01 bind message has 2 result formats but query has 13 columns; `,
		},
		{"name of a portal", [][]pgproto3.FrontendMessage{{
			&pgproto3.Parse{Query: "SELECT 7"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT 1"},
			&pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p"},
		}}, `ParseComplete; BindComplete; ParseComplete; ERROR 42P03 cursor "p" already exists; `},
		{"portal named before", [][]pgproto3.FrontendMessage{{
			&pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT 1"}, &pgproto3.Bind{DestinationPortal: "p"},
			&pgproto3.Parse{Query: "SELECT 7"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p"},
		}}, `ParseComplete; BindComplete; ParseComplete; ERROR 42P03 cursor "p" already exists; `},
		{"name that is free again", [][]pgproto3.FrontendMessage{{
			&pgproto3.Parse{Query: "SELECT 7"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Close{ObjectType: 'P', Name: "p"},
			&pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT 1"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p"},
		}}, "ParseComplete; BindComplete; CloseComplete; ParseComplete; BindComplete; " + row + "; EXPLAIN; "},
		{
			"name in use",
			[][]pgproto3.FrontendMessage{{
				&pgproto3.Parse{Name: "n", Query: "SELECT 1"}, &pgproto3.Parse{Name: "n", Query: "EXPLAIN (ROUTE) SELECT 1"},
			}},
			`ParseComplete; ERROR 42P05 prepared statement "n" already exists; `,
		},
		{
			"several statements",
			[][]pgproto3.FrontendMessage{{
				&pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT 1; SELECT 2"}, &pgproto3.Bind{}, &pgproto3.Execute{},
			}},
			`ParseComplete; BindComplete; ERROR 0A000 EXPLAIN (ROUTE) is about one statement; `,
		},
		{
			"a format that there is not",
			[][]pgproto3.FrontendMessage{{
				&pgproto3.Parse{Query: "EXPLAIN (ROUTE, FORMAT XML) SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{},
			}},
			`ParseComplete; BindComplete; ERROR 22023 EXPLAIN (ROUTE) has the formats text and json; `,
		},
	}
}

// Its messages may stand anywhere among others, and fail as PostgreSQL's would.
func TestExplainRouteInPipelines(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 1}})
		c := enter(t, f.addr, "postgres")
		for _, test := range explainPipelines() {
			for _, block := range []bool{false, true} {
				if block {
					c.query("BEGIN")
				}
				for _, messages := range test.sent {
					c.send(messages...)
				}
				c.send(&pgproto3.Sync{})
				want := test.want
				got := strings.ReplaceAll(joined(c.answer()), ",stay,", ",primary,") // in a block, and in session mode
				status := "I"
				switch {
				case block && strings.Contains(want, "ERROR"):
					status = "E"
				case block:
					status = "T"
				}
				if got != want+"ready "+status {
					t.Errorf("%s, block %v:\n got %q\nwant %q", test.name, block, got, want+"ready "+status)
				}
				if block {
					c.query("ROLLBACK")
				}
				c.query("DEALLOCATE ALL")
			}
		}
	})
}

// Its statements and portals end when PostgreSQL's would.
func TestExplainRouteEnds(t *testing.T) {
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 1}})
		c := enter(t, f.addr, "postgres")
		// The portal has gone with its transaction.
		c.send(&pgproto3.Parse{Query: "EXPLAIN (ROUTE) SELECT 1"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Sync{}, &pgproto3.Execute{Portal: "p"}, &pgproto3.Sync{})
		if got := joined(append(c.answer(), c.answer()...)); got != `ParseComplete; BindComplete; ready I; ERROR 34000 portal "p" does not exist; ready I` {
			t.Error(got)
		}
		// A Query ends the batch that it stands in.
		c.query("CREATE TEMP TABLE kept (v int)")
		c.send(&pgproto3.Parse{Query: "INSERT INTO kept VALUES (1)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Query{String: "EXPLAIN (ROUTE) SELECT 1"})
		if got := joined(c.answer()); !strings.Contains(got, "INSERT 0 1; RowDescription; row select") || !strings.HasSuffix(got, "EXPLAIN; ready I") {
			t.Error(got)
		}
		c.query("ROLLBACK")
		if got := joined(c.query("SELECT * FROM kept")); !strings.Contains(got, "row 1;") {
			t.Error(got)
		}
		// Names that SQL drops, or runs.
		c.send(&pgproto3.Parse{Name: "mine", Query: "SHOW ROUTE FOR 'SELECT 1'"}, &pgproto3.Sync{})
		c.answer()
		if got := joined(c.query("EXECUTE mine")); !strings.Contains(got, "ERROR 42601") {
			t.Error(got)
		}
		if got := joined(c.query("DEALLOCATE mine")); got != "DEALLOCATE; ready I" {
			t.Error(got)
		}
	})
}

func TestExplainRouteWithPsqlAndPsycopg(t *testing.T) {
	f, _, _ := besides(t, false)
	const db = "postgres"
	psql := filepath.Join(f.primary.Binaries.Dir, "psql")
	out := program(t, f, db, psql, "-X", "-A", "-t", "-c", "EXPLAIN (ROUTE) SELECT pgml.predict('houses', ARRAY[1])", "-c", "SHOW ROUTE FOR 'SELECT 1'",
		"-c", `SET pgshunt.explain = on`, "-c", "SELECT 5", "-c", "SHOW pgshunt.explain")
	for _, want := range []string{
		"select|ml1|replica|inference|inference|", "select|primary|primary|read|read|reads go to the primary",
		"NOTICE:  pgshunt: primary (read): reads go to the primary\n5\n", "\non\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("psql does not show %q:\n%s", want, out)
		}
	}
	const script = `
import psycopg
conn = psycopg.connect("", autocommit=True)
notices = []
conn.add_notice_handler(lambda d: notices.append(d.message_primary))
for n in range(8): # from the fifth on it is prepared
    row = conn.execute("EXPLAIN (ROUTE) SELECT pgml.embed(%s, %s)", ("m", n)).fetchone()
    assert row[1] == "ml1", row
    assert conn.execute("SHOW ROUTE FOR 'SELECT 1'", binary=bool(n % 2)).fetchone()[1] == "primary"
conn.execute("SET pgshunt.explain = on")
conn.execute("SELECT %s::int", (1,))
assert notices == ["pgshunt: primary (read): reads go to the primary"], notices
conn.execute("RESET pgshunt.explain")
notices.clear()
conn.execute("SELECT %s::int", (1,))
assert not notices
print("done")
`
	if out := program(t, f, db, "/usr/bin/python3", "-c", script); !strings.Contains(out, "done") {
		t.Error(out)
	}
}

// A replica in the proxy's own zone comes before others.
func TestReplicasOfTheOwnZoneArePreferred(t *testing.T) {
	replica := pgtest.SharedReplica(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica, replica}, proxy: proxy.Config{Routing: proxy.Routing{Zone: "b"}}})
	fleet := &router.Fleet{Targets: []router.Target{{Name: "primary", Healthy: true}}}
	for _, name := range []string{"ml1", "ml2"} {
		fleet.Targets = append(fleet.Targets, router.Target{
			Name: name, Replica: true, Healthy: true, Inference: true, Zone: map[string]string{"ml1": "a", "ml2": "b"}[name],
		})
	}
	f.server.SetFleet(fleet)
	conn := pgtest.Connect(t, f.url("postgres", "postgres"))
	for range 20 {
		if got := explained(t, conn, "EXPLAIN (ROUTE) SELECT pgml.embed('m', 'x')"); got[0].Target != "ml2" || *got[0].Candidates != "ml1, ml2" {
			t.Fatalf("%+v", got)
		}
	}
}

// A replica with a backend at hand comes before others, whose first answer takes a login and
// a model's way into memory.
func TestWarmReplicasArePreferred(t *testing.T) {
	replica := pgtest.SharedReplica(t)
	f := start(t, setup{replicas: []*pgtest.Server{replica, replica}})
	target := func() string {
		return explained(t, pgtest.Connect(t, f.url("postgres", "postgres")), "EXPLAIN (ROUTE) SELECT pgml.embed('m', 'x')")[0].Target
	}
	if got := target(); got != "ml1" {
		t.Fatalf("of two that are cold: %s", got)
	}
	if _, err := pgtest.Connect(t, f.url("postgres", "postgres")).Exec(t.Context(), "/*+ pgshunt: replica:ml2 */ SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if !pgtest.Eventually(func() bool { return target() == "ml2" }) {
		t.Error("the one that is warm is not taken")
	}
}

// Hints count for users who may give them, however they give them, and are nothing to others.
func TestHintsAreForUsersWhoMay(t *testing.T) {
	replica := pgtest.SharedReplica(t)
	for _, may := range []bool{true, false} {
		users := router.Patterns{"!postgres"}
		want := "primary,primary,read,read,reads go to the primary"
		if may {
			users, want = router.Patterns{"post*"}, "ml1,replica,read,hint,is sent there by a hint"
		}
		f := start(t, setup{replicas: []*pgtest.Server{replica}, policy: router.Config{HintUsers: users}})
		byOption := enter(t, f.addr, "postgres", "options", "-c pgshunt.route=replica:ml1")
		bySet := enter(t, f.addr, "postgres")
		bySet.query("SET pgshunt.route = 'replica:ml1'")
		byComment := enter(t, f.addr, "postgres")
		for name, got := range map[string][]string{
			"startup": byOption.query("EXPLAIN (ROUTE) SELECT 1"), "SET": bySet.query("EXPLAIN (ROUTE) SELECT 1"),
			"comment": byComment.query("/*+ pgshunt: replica:ml1 */ EXPLAIN (ROUTE) SELECT 1"),
		} {
			if !strings.HasPrefix(got[1], "row select,"+want) {
				t.Errorf("by %s, allowed %v: %q", name, may, got)
			}
		}
		for c, value := range map[*client]string{byOption: "replica:ml1", bySet: "replica:ml1", byComment: ""} {
			if got := c.query("SHOW pgshunt.route"); got[1] != "row "+value {
				t.Errorf("SHOW pgshunt.route: %q, expected %q", got, value)
			}
		}
	}
}
