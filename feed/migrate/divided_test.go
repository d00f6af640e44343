package migrate

import (
	"errors"
	"testing"

	"pgshunt/configs"
)

// Rows of a divided table carry the names of its partitions, so that its own name changes at once, through
// the proxy too, under writes; a partition's waits for rest as any table's. What is refused there is done by
// what the refusal says.
func TestNewNamesOfDividedTables(t *testing.T) {
	g := newRig(t, configs.FeedLogical, `CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE SCHEMA moved;
		CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (100); CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200); INSERT INTO part SELECT i, 'v' FROM generate_series(1, 150) i;
		CREATE TABLE moods (id int PRIMARY KEY, mood mood); INSERT INTO moods VALUES (1, 'sad')`)
	g.cfg.Replicas[0].Tables = configs.Patterns{"public.*", "moved.*"}
	c := g.client()
	for _, step := range [][2]string{
		{"ALTER TABLE part RENAME TO pieces", "UPDATE pieces SET v = 'named'; UPDATE part_1 SET v = v || '!'"},
		{"ALTER INDEX pieces RENAME TO parts", "INSERT INTO parts VALUES (150 + 1, 'more')"},
		{"ALTER TABLE part_1 RENAME TO piece_1", "UPDATE parts SET v = v || '?' WHERE id < 100; UPDATE piece_1 SET v = v || '.'"},
		{"ALTER TABLE parts SET SCHEMA moved", "DELETE FROM moved.parts WHERE id % 3 = 0"},
		{"ALTER TABLE moved.parts SET SCHEMA public", "INSERT INTO parts VALUES (3, 'again')"},
		{"ALTER TABLE part_2 SET SCHEMA moved", "UPDATE parts SET v = 'moved' WHERE id > 100"},
		{"ALTER TABLE moved.part_2 SET SCHEMA public", "UPDATE parts SET v = v || '!' WHERE id > 110"},
	} {
		if err := c.run(step[0]); err != nil {
			t.Fatalf("%s: %v", step[0], err)
		}
		g.primary.Exec(t, step[1])
	}
	g.equal()
	for _, step := range [][2]string{
		{"ALTER TABLE parts RENAME v TO w", "UPDATE parts SET w = w || '#'"},
		{"ALTER TABLE parts RENAME id TO key", "UPDATE parts SET w = w || '#' WHERE key < 50"},
		{"ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "INSERT INTO moods VALUES (2, 'blue')"},
	} {
		var refusal *Refusal
		if err := c.run(step[0]); !errors.As(err, &refusal) || refusal.Advice != `use "pgshunt feed migrate -f FILE"` {
			t.Errorf("%s through the proxy: %v", step[0], err)
		}
		if err := g.migrate(step[0]); err != nil {
			t.Errorf("%s: %v", step[0], err)
		}
		g.primary.Exec(t, step[1])
	}
	g.equal()
}
