package proxy_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// modes runs a test in both pool modes.
func modes(t *testing.T, test func(t *testing.T, session bool)) {
	t.Run("transaction", func(t *testing.T) { test(t, false) })
	t.Run("session", func(t *testing.T) { test(t, true) })
}

func TestStatementsOfAnApplication(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	modes(t, func(t *testing.T, session bool) {
		db := primary.NewDatabase(t)
		pgtest.NoLeaks(t)
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}})
		conn := pgtest.Connect(t, f.url("postgres", db))
		ctx := context.Background()
		if _, err := conn.Exec(ctx, "CREATE TABLE t (id int PRIMARY KEY, name text)"); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if _, err := conn.Exec(ctx, "INSERT INTO t VALUES ($1, $2)", i, "x"); err != nil {
				t.Fatal(err)
			}
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, "DELETE FROM t WHERE id = $1", 3); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
		n, err := conn.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{100, "a"}, {101, "b"}}))
		if err != nil || n != 2 {
			t.Fatalf("copied %d rows, %v", n, err)
		}
		var count int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&count); err != nil || count != 12 {
			t.Fatalf("count %d, %v", count, err)
		}
	})
}
