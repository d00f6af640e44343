package migrate

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/schema"
	"pgshunt/internal/pgtest"
)

// accessScript changes who may see what; each line is a statement.
const accessScript = `GRANT SELECT ON docs TO r_bob, r_far
REVOKE SELECT ON docs FROM r_bob
GRANT SELECT ON ALL TABLES IN SCHEMA public TO r_bob
REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM r_bob
GRANT SELECT (id, n) ON docs TO r_bob
REVOKE SELECT (n) ON docs FROM r_bob
GRANT SELECT ON docs TO PUBLIC
REVOKE ALL ON docs FROM PUBLIC
ALTER TABLE docs OWNER TO r_bob
ALTER TABLE docs OWNER TO CURRENT_USER
GRANT SELECT ON docs TO r_bob
ALTER TABLE docs ENABLE ROW LEVEL SECURITY
CREATE POLICY p ON docs USING (id < 8)
ALTER POLICY p ON docs USING (id BETWEEN 5 AND 10)
CREATE POLICY q ON docs AS RESTRICTIVE TO r_bob USING (id > 6)
ALTER POLICY q ON docs RENAME TO r
DROP POLICY r ON docs
DROP POLICY p ON docs
ALTER TABLE docs DISABLE ROW LEVEL SECURITY
REVOKE USAGE ON SCHEMA public FROM PUBLIC
GRANT USAGE ON SCHEMA public TO PUBLIC
DROP OWNED BY r_bob
ALTER TABLE docs OWNER TO r_bob
REASSIGN OWNED BY r_bob TO CURRENT_USER
GRANT SELECT (id) ON docs TO r_bob
ALTER TABLE other OWNER TO r_bob
DROP OWNED BY r_bob`

// seen is what r_bob sees by a login of its own, as bits of the ids below 11.
func (g *rig) seen(s *pgtest.Server) int {
	g.t.Helper()
	conn := s.Conn(g.t, "r_bob", "postgres")
	defer func() { _ = conn.Close(context.Background()) }()
	var bits int
	err := conn.QueryRow(context.Background(), "SELECT coalesce(sum(1 << id::int), 0)::int FROM docs WHERE id < 11").Scan(&bits)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && (pg.Code == "42501" || pg.Code == "42P01") {
		return 0
	}
	if err != nil {
		g.t.Error(err)
	}
	return bits
}

// A role never sees on the replica what the primary would not show it, at no step of any change,
// and sees the same afterwards.
func TestWhoMaySeeWhatIsOrdered(t *testing.T) {
	for _, way := range []configs.Feed{configs.FeedLogical, configs.FeedDump, configs.FeedFDW} {
		t.Run(string(way), func(t *testing.T) {
			g := newRig(t, way, "CREATE ROLE r_bob LOGIN; CREATE ROLE r_far")
			g.replica.Exec(t, "CREATE ROLE r_bob LOGIN")
			if way == configs.FeedFDW {
				g.replica.Exec(t, "CREATE USER MAPPING FOR r_bob SERVER source OPTIONS (user '"+g.primary.Superuser()+"', password_required 'false')")
			}
			at := ""
			run := g.run(func(e feed.Event) {
				if e.Status != feed.StatusDone {
					return
				}
				if here, there := g.seen(g.replica), g.seen(g.primary); here&^there != 0 {
					t.Errorf("%s: after %q r_bob sees %b and on the primary %b", at, e.Step, here, there)
				}
			})
			for i, sql := range strings.Split(accessScript, "\n") {
				if way != configs.FeedLogical && i > 3 && i < 10 {
					continue // the steps are the same
				}
				at = sql
				if err := Script(context.Background(), []*feed.Run{run}, read(t, sql), Options{}); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
				here, there := g.seen(g.replica), g.seen(g.primary)
				secured := way == configs.FeedFDW && strings.Contains(sql, "POLICY") // does not reach through
				if here != there && !secured || secured && here != 0 {
					t.Errorf("%s: r_bob sees %b and on the primary %b", sql, here, there)
				}
				if left, err := schema.Drift(context.Background(), run); err != nil || len(rightsIn(left)) > 0 {
					t.Errorf("%s: left %v, %v", sql, rightsIn(left), err)
				}
			}
		})
	}
}

func rightsIn(all []schema.Difference) (some []schema.Difference) {
	for _, d := range all {
		if d.OfAccess() {
			some = append(some, d)
		}
	}
	return some
}

// What the primary refuses is given back to those who have lost it meanwhile; what was done by
// hand is mended.
func TestRightsAreGivenBackAndMended(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "CREATE ROLE r_bob LOGIN; GRANT SELECT ON docs TO r_bob")
	g.replica.Exec(t, "CREATE ROLE r_bob LOGIN")
	if err := Repair(context.Background(), g.run(nil), Mending{}); err != nil {
		t.Fatal(err)
	}
	all := g.seen(g.primary)
	if here := g.seen(g.replica); here != all || all == 0 {
		t.Errorf("r_bob sees %b and on the primary %b", here, all)
	}
	var took bool
	run := g.run(func(e feed.Event) {
		took = took || e.Status == feed.StatusDone && strings.HasPrefix(e.Step, "close") && g.seen(g.replica) == 0
	})
	if err := Script(context.Background(), []*feed.Run{run}, read(t, "DROP POLICY nowhere ON docs"), Options{}); err == nil || !took {
		t.Errorf("closed: %v, %v", took, err)
	}
	if here := g.seen(g.replica); here != all {
		t.Errorf("r_bob has got back %b", here)
	}
	// The attack: who has lost the privilege on the primary reads the copy.
	g.primary.Exec(t, "REVOKE SELECT ON docs FROM r_bob")
	if g.seen(g.replica) != all {
		t.Error("there is nothing to mend")
	}
	if err := Repair(context.Background(), g.run(nil), Mending{}); err != nil {
		t.Fatal(err)
	}
	if here := g.seen(g.replica); here != 0 {
		t.Errorf("r_bob still sees %b", here)
	}
}

// Who loses a privilege on the primary with somebody else loses it on the replica no later.
func TestWhatIsTakenFromOthersIsTakenFirst(t *testing.T) {
	for name, c := range map[string]struct{ given, there, taken string }{
		"given on": {
			`CREATE ROLE r_bob LOGIN; CREATE ROLE r_ann; CREATE ROLE r_cat; GRANT SELECT ON docs TO r_ann WITH GRANT OPTION;
			SET ROLE r_ann; GRANT SELECT ON docs TO r_cat WITH GRANT OPTION; SET ROLE r_cat; GRANT SELECT ON docs TO r_bob; RESET ROLE`,
			"CREATE ROLE r_bob LOGIN", "REVOKE SELECT ON docs FROM r_ann CASCADE",
		},
		"by a group, and by itself on the replica": {
			"CREATE ROLE r_bob LOGIN; CREATE ROLE r_grp; GRANT r_grp TO r_bob; GRANT SELECT ON docs TO r_grp",
			"CREATE ROLE r_bob LOGIN; GRANT SELECT ON docs TO r_bob", "REVOKE SELECT ON docs FROM r_grp",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, configs.FeedLogical, c.given)
			g.replica.Exec(t, c.there)
			if err := Repair(context.Background(), g.run(nil), Mending{}); err != nil {
				t.Fatal(err)
			}
			if g.seen(g.replica) == 0 {
				t.Fatal("r_bob sees nothing from the beginning")
			}
			run := g.run(func(e feed.Event) {
				if here, there := g.seen(g.replica), g.seen(g.primary); e.Status == feed.StatusDone && here&^there != 0 {
					t.Errorf("after %q r_bob sees %b and on the primary %b", e.Step, here, there)
				}
			})
			if err := Script(context.Background(), []*feed.Run{run}, read(t, c.taken), Options{}); err != nil || g.seen(g.replica) != 0 {
				t.Errorf("r_bob sees %b, %v", g.seen(g.replica), err)
			}
		})
	}
}

// The copies of a feed of foreign tables show no more than its other tables.
func TestWhatIsTakenIsTakenOfCopiesToo(t *testing.T) {
	g := newRig(t, configs.FeedFDW, "CREATE ROLE r_bob LOGIN; GRANT SELECT ON docs TO r_bob")
	g.replica.Exec(t, "CREATE ROLE r_bob LOGIN; CREATE TABLE copy AS TABLE docs; DROP FOREIGN TABLE docs; ALTER TABLE copy RENAME TO docs; GRANT SELECT ON docs TO r_bob")
	run := g.run(func(e feed.Event) {
		if here, there := g.seen(g.replica), g.seen(g.primary); e.Status == feed.StatusDone && here&^there != 0 {
			t.Errorf("after %q r_bob sees %b and on the primary %b", e.Step, here, there)
		}
	})
	if err := run.Journal(context.Background(), g.replica.Super(t, "postgres")); err != nil {
		t.Fatal(err)
	}
	g.replica.Exec(t, "INSERT INTO pgshunt.copies (relation, copied_at, copied_rows, copied_bytes, partial, snapshot) VALUES ('public.docs', now(), 0, 0, false, '')")
	if g.seen(g.replica) == 0 {
		t.Fatal("r_bob sees nothing from the beginning")
	}
	if err := Script(context.Background(), []*feed.Run{run}, read(t, "REVOKE SELECT ON docs FROM r_bob"), Options{}); err != nil || g.seen(g.replica) != 0 {
		t.Errorf("r_bob sees %b, %v", g.seen(g.replica), err)
	}
}
