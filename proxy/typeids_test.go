package proxy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
)

// Scenario 50: the OID of a type that is not built in means something on the server
// that the client has it from. It is not sent to another.
func TestTypesOfThePrimaryAreNotSentToReplicas(t *testing.T) {
	f, conn, other := besides(t, false)
	ctx := context.Background()
	db := conn.Config().Database
	f.primary.ExecIn(t, db, "CREATE TYPE feature AS (a real); CREATE DOMAIN project AS text")
	f.replicas[0].ExecIn(t, other, "CREATE DOMAIN project AS text")
	var oid uint32
	if err := conn.QueryRow(ctx, "SELECT 'project'::regtype::oid", pgx.QueryExecModeSimpleProtocol).Scan(&oid); err != nil {
		t.Fatal(err)
	}
	c := pgtest.Connect(t, f.url("postgres", db)).PgConn()
	const predict = "SELECT pgml.predict($1, ARRAY[7::real])::text"
	for _, name := range []string{"", "named"} {
		_, err := c.Prepare(ctx, name, predict, []uint32{oid})
		wantState(t, err, "0A000")
		if pe := (*pgconn.PgError)(nil); !errors.As(err, &pe) || !strings.Contains(pe.Message, "$1") || pe.Hint == "" || pe.Detail == "" {
			t.Errorf("the error does not say what to do: %+v", pe)
		}
	}
	for name, types := range map[string][]uint32{"open": nil, "text": {25}, "unspecified": {0}} {
		if _, err := c.Prepare(ctx, name, predict, types); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := c.ExecPrepared(ctx, name, [][]byte{[]byte("houses")}, nil, nil).Read()
		if r.Err != nil || string(r.Rows[0][0]) != "7500" {
			t.Errorf("%s: %v %v", name, r.Rows, r.Err)
		}
	}
	if _, err := c.Prepare(ctx, "here", "SELECT $1", []uint32{oid}); err != nil {
		t.Errorf("on the primary: %v", err)
	}
	if r := c.ExecPrepared(ctx, "here", [][]byte{[]byte("p")}, nil, nil).Read(); r.Err != nil || string(r.Rows[0][0]) != "p" {
		t.Errorf("on the primary: %v", r.Err)
	}
}
