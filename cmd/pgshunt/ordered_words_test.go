package main

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What the primary can read and pgshunt cannot is refused where it may be about a fed table. Words
// that nobody can read are PostgreSQL's to answer, which before version 18 those of it are.
func TestWordsOfANewerPostgreSQL(t *testing.T) {
	b := startOrdered(t)
	conn := b.served.connect(t)
	var version int
	if err := b.super(t, b.primary).QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	refused, done := "0A000", ""
	if version < 180000 {
		refused, done = "42601", "42704"
	}
	for _, c := range []struct{ sql, code string }{
		{"ALTER TABLE items ADD twice int GENERATED ALWAYS AS (n * 2) VIRTUAL", refused},
		{"ALTER TABLE ONLY public.items ADD CONSTRAINT labelled NOT NULL label NOT VALID", refused},
		{"ALTER TABLE private.own ADD twice int GENERATED ALWAYS AS (a * 2) VIRTUAL", map[bool]string{true: "42601", false: ""}[version < 180000]},
		{"ALTER TABLE items FROB", "42601"},
		{"ALTER TABLE items DROP CONSTRAINT items_spare_not_null", done},
	} {
		_, err := conn.Exec(t.Context(), c.sql)
		var pg *pgconn.PgError
		if errors.As(err, &pg); err != nil && (pg == nil || pg.Code != c.code) || err == nil && c.code != "" {
			t.Errorf("%s: %v, want %q", c.sql, err, c.code)
		}
	}
	if version >= 180000 {
		b.primary.Exec(t, "UPDATE items SET spare = NULL WHERE id = 1")
	}
	b.equal(t, "items")
}
