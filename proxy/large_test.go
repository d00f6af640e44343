package proxy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/pgtest"
	"pgshunt/internal/wire"
	"pgshunt/parser"
)

// No size of a text has a schema change pass unseen, and none has rows not pass.
func TestSchemaChangesInLargeTexts(t *testing.T) {
	c := newChanges()
	_, conn := startChanges(t, c)
	ctx := t.Context()
	if _, err := conn.Exec(ctx, "CREATE TABLE t (a text)"); err != nil {
		t.Fatal(err)
	}
	within(t, c.asked)
	within(t, c.finished)
	gathered, streamed := strings.Repeat("x; drop table t; ", wire.MaxWhole/8), strings.Repeat("x; drop table t; ", parser.MaxDefinition/8)
	simple, extended := pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec
	for _, size := range []string{gathered, streamed} {
		for _, mode := range []pgx.QueryExecMode{simple, extended} {
			for _, sql := range []string{"INSERT INTO t VALUES ('" + size + "')", "/* " + size + " */ SELECT 1", "CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS $f$SELECT '" + size + "'$f$"} {
				if _, err := conn.Exec(ctx, sql, mode); err != nil {
					t.Errorf("%.40s: %v", sql, err)
				}
			}
		}
		if _, err := conn.Exec(ctx, "INSERT INTO t VALUES ($1)", size); err != nil { // a large Bind
			t.Error(err)
		}
	}
	if len(c.asked) > 0 {
		t.Errorf("asked about %.60s", (<-c.asked).SQL)
	}
	for _, mode := range []pgx.QueryExecMode{simple, extended} {
		sql := "ALTER TABLE t ALTER a SET DEFAULT '" + gathered + "'"
		if _, err := conn.Exec(ctx, sql, mode); err != nil {
			t.Error(err)
		}
		if asked := within(t, c.asked); asked.SQL != sql || !asked.Alone || !within(t, c.finished) {
			t.Errorf("asked about %.40s, alone %t", asked.SQL, asked.Alone)
		}
	}
	sql := "INSERT INTO t VALUES ('" + gathered + "'); ALTER TABLE t ADD b int"
	if _, err := conn.Exec(ctx, sql, simple); err != nil {
		t.Error(err)
	}
	if asked := within(t, c.asked); asked.SQL != sql || asked.Alone || !within(t, c.finished) {
		t.Errorf("asked about %.40s, alone %t", asked.SQL, asked.Alone)
	}
	c.will(nil, pgerr.New(pgerr.FeatureNotSupported, "not in this order"))
	if _, err := conn.Exec(ctx, sql, simple); !hasCode(err, "0A000") {
		t.Errorf("what is refused is answered %v", err)
	}
	within(t, c.asked)
	c.will(nil, nil)
	tooLarge(t, conn, streamed)
	if len(c.asked) > 0 {
		t.Errorf("asked about %.60s", (<-c.asked).SQL)
	}
}

// tooLarge checks what cannot be looked at: it is refused, wherever in the text the change stands, and the
// session goes on.
func tooLarge(t *testing.T, conn *pgx.Conn, size string) {
	t.Helper()
	ctx := t.Context()
	for _, sql := range []string{
		"ALTER TABLE t ALTER a SET DEFAULT '" + size + "'",
		"INSERT INTO t VALUES ('" + size + "'); ALTER TABLE t ADD c int",
		"INSERT INTO t VALUES ('" + size + "'); ALTER TABLE t ADD c int; INSERT INTO t VALUES ('" + size + "')",
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
			if _, err := conn.Exec(ctx, sql, mode); !hasCode(err, "54000") || !strings.Contains(err.Error(), "too large to be ordered") {
				t.Errorf("%.40s: %v", sql, err)
			}
			var columns int
			if err := conn.QueryRow(ctx, "SELECT count(*) FROM information_schema.columns WHERE table_name = 't'").Scan(&columns); err != nil || columns != 2 {
				t.Errorf("%.40s: %d columns, %v", sql, columns, err)
			}
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); !hasCode(err, "54000") || conn.PgConn().TxStatus() != 'E' {
			t.Errorf("%.40s: in a transaction %v, status %c", sql, err, conn.PgConn().TxStatus())
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func hasCode(err error, code string) bool {
	pg := (*pgconn.PgError)(nil)
	return errors.As(err, &pg) && pg.Code == code
}

// Nor has a setting by which strings end elsewhere.
func TestSchemaChangesThatCannotBeRead(t *testing.T) {
	c := newChanges()
	_, conn := startChanges(t, c)
	ctx, simple := t.Context(), pgx.QueryExecModeSimpleProtocol
	run := func(want, sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql, simple); want == "" && err != nil || want != "" && !hasCode(err, want) {
			t.Errorf("%.60s: %v, want %q", sql, err, want)
		}
	}
	run("", "CREATE TEMP TABLE t (a text)")
	within(t, c.asked)
	run("", "SET standard_conforming_strings = off")
	for _, more := range []string{"", strings.Repeat("x", parser.DefaultMaxParse), strings.Repeat("x", wire.MaxWhole), strings.Repeat("x", parser.MaxDefinition)} {
		run("", `INSERT INTO t VALUES ('a\'; drop table t; `+more+`')`)
		want := "0A000"
		if len(more) > wire.MaxWhole {
			want = "54000"
		}
		run(want, `INSERT INTO t VALUES ('a\\`+more+`'); ALTER TABLE t ADD b int; SELECT '\''`)
	}
	if len(c.asked) > 0 {
		t.Errorf("asked about %.60s", (<-c.asked).SQL)
	}
	run("", "RESET standard_conforming_strings; SET client_encoding = 'SJIS'")
	run("", "INSERT INTO t VALUES ('\x83\x5c')")
	run("0A000", "ALTER TABLE t ADD \"\x83\x5c\" int")
	run("0A000", "INSERT INTO t VALUES (E'\xb1\\\\'); ALTER TABLE t ADD b int; SELECT E''") // katakana of one byte
}

// A large text may end a batch that has changed the schema, and all of it is sent before replicas follow.
func TestALargeTextAfterAChangeOfItsBatch(t *testing.T) {
	c := newChanges()
	_, conn := startChanges(t, c)
	client := conn.PgConn().Frontend()
	client.SendParse(&pgproto3.Parse{Query: "CREATE TABLE t (a text)"})
	client.SendBind(&pgproto3.Bind{})
	client.SendExecute(&pgproto3.Execute{})
	client.SendQuery(&pgproto3.Query{String: "INSERT INTO t VALUES ('" + strings.Repeat("x", 2*parser.MaxDefinition) + "')"})
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	for {
		switch m, err := conn.PgConn().ReceiveMessage(ctx); m.(type) {
		case *pgproto3.ReadyForQuery:
			if within(t, c.asked); !within(t, c.finished) {
				t.Error("the change is not known to be answered")
			}
			return
		default:
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
