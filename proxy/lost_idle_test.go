package proxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// A server that ends the connection after it has taken the session's role, and before the
// statement: whichever of the two the session sees first, it comes to an end.
func TestFaultServerDiesBetweenSettingAndStatement(t *testing.T) {
	pgtest.NoLeaks(t)
	fake := startFake(t, func(fc *fakeConn) {
		fc.say(&pgproto3.CommandComplete{CommandTag: []byte("SET")}, ready)
	})
	f := start(t, setup{primary: fake.server()})
	for range 100 {
		c := enter(t, f.addr, "postgres")
		if got := joined(c.query("SET ROLE other")); got != "SET; ready I" {
			t.Fatalf("got %q", got)
		}
		if got := joined(c.query("SELECT 1")); got != lost+"; closed" {
			t.Fatalf("got %q", got)
		}
		_ = c.Close()
	}
}

// The same of a replica, which is not the end of the session.
func TestFaultReplicaDiesBetweenSettingAndStatement(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	pgtest.NoLeaks(t)
	fake := startFake(t, func(fc *fakeConn) {
		fc.say(&pgproto3.CommandComplete{CommandTag: []byte("SET")}, ready)
	})
	f := start(t, setup{replicas: []*pgtest.Server{fake.server()}})
	c := enter(t, f.addr, db)
	c.query("SET ROLE postgres")
	const ask, gone = "SELECT pgml.version()", `ERROR 08006 connection to server "ml1" was lost; ready `
	for range 20 {
		for _, status := range []string{"I", "E"} {
			if got := joined(c.query(ask)); got != gone+status {
				t.Fatalf("simple: got %q", got)
			}
			if status == "E" {
				c.query("ROLLBACK; BEGIN")
			}
			c.send(&pgproto3.Parse{Query: ask}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			if got := joined(c.answer()); got != gone+status {
				t.Fatalf("extended: got %q", got)
			}
			c.query("ROLLBACK")
			if status == "I" {
				c.query("BEGIN")
			}
		}
		c.works()
	}
}
