package migrate

import (
	"errors"
	"strings"
	"testing"

	"pgshunt/configs"
)

// PostgreSQL takes ALTER INDEX for a table, ALTER TABLE for an index, and ALTER VIEW and ALTER TYPE for a
// column of a table: what they rename counts, not the word.
func TestNewNamesByOtherWords(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	if err := g.migrate(`ALTER INDEX other RENAME TO others;
		ALTER VIEW others RENAME COLUMN v TO w;
		INSERT INTO others VALUES (1000, 'x');
		ALTER TYPE others RENAME ATTRIBUTE w TO v;
		ALTER MATERIALIZED VIEW others RENAME v TO x;
		INSERT INTO others VALUES (1001, 'x');
		CREATE UNIQUE INDEX docs_code ON docs (code);
		ALTER TABLE docs_code RENAME TO docs_unique;
		ALTER INDEX docs_pkey RENAME TO docs_key;
		DROP INDEX docs_unique;
		UPDATE docs SET code = 'same'`); err != nil {
		t.Fatal(err)
	}
	g.equal()
	var key string
	if err := g.super(g.replica).QueryRow(t.Context(), "SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE indrelid = 'docs'::regclass").Scan(&key); err != nil || key != "docs_key" {
		t.Errorf("the replica has the indexes %s, %v", key, err)
	}
	g.primary.Exec(t, `CREATE INDEX "docs's own" ON docs (code)`)
	g.replica.Exec(t, `CREATE TABLE "docs's own" (a int)`)
	c := g.client()
	var refusal *Refusal
	if err := c.run("ALTER INDEX others RENAME TO other"); !errors.As(err, &refusal) || !strings.Contains(refusal.Advice, `ALTER TABLE "public"."others" RENAME TO "other"`) {
		t.Errorf("through the proxy: %v", err)
	}
	for _, sql := range []string{`ALTER TABLE "public"."others" RENAME TO "other"`, "ALTER VIEW other RENAME x TO y", "ALTER TABLE docs_key RENAME TO docs_pkey", `ALTER INDEX "docs's own" RENAME TO docs_theirs`} {
		if err := c.run(sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	g.replica.Exec(t, `DROP TABLE "docs's own"`) // which is no index, and keeps its name
	g.primary.Exec(t, "INSERT INTO other VALUES (1002, 'z')")
	g.equal()
}
