package migrate

import (
	"testing"

	"pgshunt/configs"
)

// A table that moves to another schema is read on the replica by those who may read it there on the
// primary, and by nobody else.
func TestWhoMayReadATableThatMoves(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "CREATE ROLE app; CREATE SCHEMA shut; CREATE SCHEMA open; GRANT USAGE ON SCHEMA open TO app; GRANT SELECT ON docs TO app")
	g.cfg.Replicas[0].Tables = configs.Patterns{"public.*", "shut.*", "open.*"}
	g.replica.Exec(t, "CREATE ROLE app; CREATE SCHEMA shut; GRANT USAGE ON SCHEMA shut TO app; GRANT SELECT ON docs TO app")
	c := g.client()
	for _, m := range []struct {
		sql, table, schema string
		may                bool
	}{
		{"ALTER TABLE docs SET SCHEMA shut", "shut.docs", "shut", false},
		{"ALTER TABLE shut.docs SET SCHEMA open", "open.docs", "open", true},
	} {
		if err := c.run(m.sql); err != nil {
			t.Fatal(err)
		}
		var may bool
		if err := g.super(g.replica).QueryRow(t.Context(), "SELECT has_table_privilege('app', $1, 'SELECT') AND has_schema_privilege('app', $2, 'USAGE')", m.table, m.schema).Scan(&may); err != nil || may != m.may {
			t.Errorf("%s: app may read it: %t, %v", m.sql, may, err)
		}
	}
}
