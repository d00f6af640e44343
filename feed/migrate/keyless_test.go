package migrate

import (
	"errors"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// A table without a key, all of whose columns tell its rows apart, loses no change that is written
// between the steps of a change of its columns.
func TestRowsThatAreToldApartByAllColumns(t *testing.T) {
	g := newRig(t, configs.FeedLogical, `CREATE TABLE logs (n int, body text, spare int NOT NULL DEFAULT 1); ALTER TABLE logs REPLICA IDENTITY FULL;
		INSERT INTO logs SELECT i, 'b' || i FROM generate_series(1, 40) i`)
	c := g.client()
	write := func(at int) {
		g.primary.Exec(t, sprintf("UPDATE logs SET n = n + 1000 WHERE n = %d; DELETE FROM logs WHERE n = %d", at, at+1))
	}
	for i, sql := range []string{"ALTER TABLE logs ADD level int NOT NULL DEFAULT 5", "ALTER TABLE logs RENAME body TO text", "ALTER TABLE logs ADD note text"} {
		l, err := c.begin(sql)
		if err != nil {
			t.Fatal(err)
		}
		write(4*i + 1)
		g.moves()
		if _, err := c.conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		write(4*i + 3)
		if err := l.Finish(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{"ALTER TABLE logs DROP spare", "ALTER TABLE logs ADD at timestamptz NOT NULL DEFAULT now()"} {
		if _, err := c.begin(sql); !errors.As(err, new(*Refusal)) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if err := Script(t.Context(), []*feed.Run{g.run(nil)}, read(t, "ALTER TABLE logs DROP spare"), Options{Recopy: true}); err != nil {
		t.Fatal(err)
	}
	write(30)
	g.equal()
}

// Whoever holds back a new column of such a table is killed, and the primary changes: the next run
// finds where rows with the column begin.
func TestAColumnOfAKeylessTableComesLate(t *testing.T) {
	g := newRig(t, configs.FeedLogical, `CREATE TABLE logs (n int, body text); ALTER TABLE logs REPLICA IDENTITY FULL; INSERT INTO logs SELECT i, 'b' || i FROM generate_series(1, 40) i`)
	c := g.client()
	const sql = "ALTER TABLE logs ADD level int NOT NULL DEFAULT 5"
	l, err := c.begin(sql)
	if err != nil {
		t.Fatal(err)
	}
	l.behind.stop()
	<-l.behind.done
	l.m.close()
	g.primary.Exec(t, "UPDATE logs SET n = n + 100 WHERE n < 10")
	if _, err := c.conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	g.primary.Exec(t, "UPDATE logs SET n = n + 100 WHERE n BETWEEN 10 AND 20; DELETE FROM logs WHERE n > 105; INSERT INTO logs VALUES (1)")
	if !pgtest.Eventually(func() bool { return strings.Contains(g.since(), "ERROR") }) {
		t.Error("the replica has not met the new column")
	}
	if err := Resume(t.Context(), []*feed.Run{g.run(nil)}); err != nil {
		t.Fatal(err)
	}
	g.settled()
}

// What changes a parent changes its heirs, which the replica has as tables of their own: that is
// refused, and replication goes on.
func TestColumnsThatHeirsHaveToo(t *testing.T) {
	g := newRig(t, configs.FeedLogical, `CREATE TABLE forms (id int PRIMARY KEY, v text NOT NULL, CONSTRAINT short CHECK (length(v) < 9)); CREATE TABLE letters (PRIMARY KEY (id)) INHERITS (forms)`)
	c := g.client()
	for _, sql := range []string{
		"ALTER TABLE forms ADD c int", "ALTER TABLE forms RENAME v TO w", "ALTER TABLE forms DROP v", "ALTER TABLE forms ALTER v DROP NOT NULL",
		"ALTER TABLE forms ALTER id TYPE bigint", "ALTER TABLE forms DROP CONSTRAINT short",
	} {
		if err := c.run(sql); !errors.As(err, new(*Refusal)) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if err := c.run("ALTER TABLE letters ADD stamp text"); err != nil {
		t.Error(err)
	}
	g.primary.Exec(t, "INSERT INTO letters VALUES (1, 'a')")
	g.equal()
}
