package migrate

import (
	"context"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Copies and foreign tables follow once the primary has changed.
func TestCopiesAndForeignTablesFollow(t *testing.T) {
	const script = `ALTER TABLE docs ADD score int DEFAULT 3;
		CREATE TYPE mood AS ENUM ('glad'); ALTER TABLE docs ADD mood mood;
		ALTER TABLE docs DROP extra;
		ALTER TABLE docs RENAME body TO content;
		ALTER TABLE docs ALTER n TYPE bigint;
		ALTER TABLE docs ALTER code SET NOT NULL;
		ALTER TABLE other RENAME TO others;
		CREATE TABLE fresh (id int)`
	for _, way := range []configs.Feed{configs.FeedDump, configs.FeedFDW} {
		t.Run(string(way), func(t *testing.T) {
			g := newRig(t, way, "")
			var notes []string
			run := g.run(func(e feed.Event) {
				if e.Status == feed.StatusNote {
					notes = append(notes, e.Step)
				}
			})
			if err := Script(context.Background(), []*feed.Run{run}, read(t, script), Options{}); err != nil {
				t.Fatal(err)
			}
			if len(notes) != 1 || !strings.Contains(notes[0], "public.fresh") {
				t.Errorf("of the new table it is said %q", notes)
			}
			query := "SELECT string_agg(concat_ws(' ', id, n, content, score, code), '; ' ORDER BY id) FROM docs"
			if way == configs.FeedFDW {
				query = "SELECT concat(count(score), count(content), max(n), (SELECT count(v) FROM others)) FROM docs"
			}
			var want, have string
			ctx := context.Background()
			if err := g.super(g.primary).QueryRow(ctx, query).Scan(&want); err != nil {
				t.Fatal(err)
			}
			if err := g.super(g.replica).QueryRow(ctx, query).Scan(&have); err != nil || have != want {
				t.Errorf("the replica has %.200s, the primary %.200s: %v", have, want, err)
			}
			err := Script(ctx, []*feed.Run{run}, read(t, "DROP TABLE others"), Options{})
			if _, gone := g.super(g.replica).Exec(ctx, "SELECT FROM others"); err != nil || gone == nil {
				t.Errorf("a dropped table is still there: %v", err)
			}
		})
	}
}

// Partitions come and go, a table is copied anew where that is allowed, and what is refused
// changes nothing.
func TestPartitionsCopiesAnewAndRefusals(t *testing.T) {
	g := newRig(t, configs.FeedLogical, `CREATE TABLE part (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
		CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
		INSERT INTO part VALUES (1, '2026-05-05'); CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TABLE moods (id int PRIMARY KEY, m mood);
		INSERT INTO moods VALUES (1, 'glad'), (2, 'sad')`)
	var would []string
	print := g.run(func(e feed.Event) {
		if e.Status == feed.StatusWould {
			would = append(would, e.Server+": "+e.SQL)
		}
	})
	print.Print = true
	was := g.contents(g.primary)["docs"] + g.contents(g.replica)["docs"]
	if err := Script(context.Background(), []*feed.Run{print}, read(t, "ALTER TABLE docs ADD c int, DROP extra"), Options{}); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(would, "\n"); !strings.Contains(text, `ml1: ALTER TABLE "public"."docs" ADD COLUMN "c" integer`) ||
		!strings.Contains(text, "primary: ALTER TABLE docs ADD c int, DROP extra") || !strings.Contains(text, `DROP COLUMN IF EXISTS "extra"`) {
		t.Errorf("it would do\n%s", text)
	}
	if g.contents(g.primary)["docs"]+g.contents(g.replica)["docs"] != was {
		t.Error("printing has changed something")
	}

	if err := g.migrate(`CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
		CREATE TABLE piece (id int, at date, PRIMARY KEY (id, at)); INSERT INTO piece VALUES (7, '2028-01-01');
		ALTER TABLE part ATTACH PARTITION piece FOR VALUES FROM ('2028-01-01') TO ('2029-01-01'); INSERT INTO part VALUES (8, '2028-02-02');
		INSERT INTO part VALUES (2, '2027-05-05'); ALTER TABLE part ADD note text DEFAULT 'none'; INSERT INTO part VALUES (3, '2027-06-06', 'x');
		ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'; INSERT INTO moods VALUES (3, 'blue');
		DROP TABLE part_1; ALTER TABLE part RENAME note TO notes; INSERT INTO part VALUES (4, '2027-07-07', 'y')`); err != nil {
		t.Fatal(err)
	}
	g.equal()
	before := g.contents(g.primary)
	for _, script := range []string{
		"ALTER TABLE part ADD u uuid DEFAULT gen_random_uuid()", "ALTER TABLE docs ALTER n TYPE text", "ALTER TABLE docs DROP id",
		"ALTER TABLE docs SET UNLOGGED", "BEGIN; ALTER TABLE docs ADD x int; COMMIT", "ALTER TABLE docs ADD CONSTRAINT never CHECK (n < 0)",
	} {
		if err := g.migrate(script); err == nil {
			t.Errorf("%s is not refused", script)
		}
	}
	for name, has := range g.contents(g.primary) {
		if before[name] != has {
			t.Errorf("%s has changed", name)
		}
	}
	err := Script(context.Background(), []*feed.Run{g.run(nil)}, read(t, `ALTER TABLE docs ADD u uuid NOT NULL DEFAULT gen_random_uuid();
		ALTER TABLE docs ALTER n TYPE text USING 'n' || n; INSERT INTO docs (id) VALUES (9999)`), Options{Recopy: true})
	if err != nil {
		t.Fatal(err)
	}
	g.equal()
}

// A replica that cannot be reached is an error before anything has changed.
func TestAReplicaThatIsDown(t *testing.T) {
	g := newRig(t, configs.FeedDump, "")
	if err := g.replica.Stop(); err != nil {
		t.Fatal(err)
	}
	before := g.contents(g.primary)
	if err := g.migrate("ALTER TABLE docs ADD c int"); err == nil || !strings.HasPrefix(err.Error(), "ml1: connect") {
		t.Errorf("the error is %v", err)
	}
	l, err := Begin(context.Background(), []*feed.Run{g.run(nil)}, read(t, "ALTER TABLE docs ADD c int")[0], Session{User: "postgres", Path: []string{"public"}, Alone: true})
	if err == nil || l != nil {
		t.Errorf("a client's statement is let through: %v", err)
	}
	if l, err = Begin(context.Background(), []*feed.Run{g.run(nil)}, read(t, "CREATE TABLE pg_temp.x (a int)")[0], Session{User: "postgres", Path: []string{"public"}, Alone: true}); err != nil || l != nil {
		t.Errorf("a statement that is of no concern waits for the replica: %v", err)
	}
	if after := g.contents(g.primary); after["docs"] != before["docs"] {
		t.Error("the primary has changed")
	}
}
