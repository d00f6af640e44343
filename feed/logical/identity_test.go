package logical

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// version is a server's server_version_num.
func version(t *testing.T, s *pgtest.Server) int {
	t.Helper()
	n, err := strconv.Atoi(ask(t, s, "SHOW server_version_num"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// blockedBy are the problems that stand against the feed, by what they say.
func (r *rig) blockedBy(t *testing.T) (all []feed.Problem) {
	t.Helper()
	var blocked *feed.Blocked
	if err := Apply(limited(t), r.run(t)); !errors.As(err, &blocked) {
		t.Fatalf("nothing stands against it: %v", err)
	}
	for _, p := range blocked.Problems {
		if p.Blocks {
			all = append(all, p)
		}
	}
	return all
}

// Generated columns are not sent, so they tell no rows apart. PostgreSQL 18 refuses UPDATE and
// DELETE on the primary where an identity has one, FULL too.
func TestIdentitiesOfGeneratedColumnsAreRefused(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"*"} })
	r.primary.Exec(t, `CREATE TABLE keyed (a int NOT NULL, b int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY); INSERT INTO keyed VALUES (1);
		CREATE TABLE whole (id int NOT NULL UNIQUE, a int, b int GENERATED ALWAYS AS (a * 2) STORED); ALTER TABLE whole REPLICA IDENTITY FULL; INSERT INTO whole VALUES (1, 1)`)
	found := r.blockedBy(t)
	want := map[string]string{"public.keyed is identified by b, of which b is generated": ""}
	if version(t, r.primary) >= v18 {
		want["public.whole is identified by all its columns, of which b is generated"] = `ALTER TABLE "public"."whole" REPLICA IDENTITY USING INDEX "whole_id_key"`
	}
	if len(found) != len(want) {
		t.Errorf("%+v", found)
	}
	for _, p := range found {
		for what, remedy := range want {
			if strings.HasPrefix(p.What, what) && p.Remedy == remedy {
				delete(want, what)
			}
		}
		if p.Remedy != "" {
			r.primary.Exec(t, p.Remedy)
		}
	}
	if len(want) > 0 {
		t.Errorf("not said: %v", want)
	}
	r.cfg.Replicas[0].Tables = configs.Patterns{"whole"}
	r.apply(t)
	r.primary.Exec(t, "UPDATE whole SET a = 3 WHERE id = 1; INSERT INTO whole VALUES (2, 2)")
	r.equal(t)
	r.primary.Exec(t, "DELETE FROM whole WHERE id = 1")
	r.equal(t)
}
