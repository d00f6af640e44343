package migrate

import (
	"errors"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed/logical"
	"pgshunt/feed/program"
	"pgshunt/internal/pgtest"
)

// refused checks that a statement is refused with advice, by migrate and through the proxy.
func (g *rig) refused(sql, advice string) {
	g.t.Helper()
	var refusal *Refusal
	for by, err := range map[string]error{"migrate": g.migrate(sql), "the proxy": g.client().run(sql)} {
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Advice, advice) {
			g.t.Errorf("%s by %s: %v, want advice with %q", sql, by, err, advice)
		}
	}
}

// A column that "columns" or "where" names takes another name when they have that, and nothing is copied
// for it.
func TestNewNamesOfColumnsThatTheConfigurationHas(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	r := &g.cfg.Replicas[0]
	r.Columns = map[string][]string{"public.docs": {"id", "n", "body"}}
	r.Where = map[string]string{"public.other": "id % 2 = 0 -- even\n"}
	if min(program.Major(g.primary.Version), program.Major(g.replica.Version)) < 15 {
		if err := logical.Apply(t.Context(), g.run(nil)); err == nil {
			t.Error("a part of a table is fed before PostgreSQL 15")
		}
		return
	}
	if err := logical.Refresh(t.Context(), g.run(nil)); err != nil {
		t.Fatal(err)
	}
	g.refused("ALTER TABLE docs RENAME body TO content", "write content in place of body there first")
	g.refused("ALTER TABLE docs DROP body", "leave body out there first")
	g.refused("ALTER TABLE other RENAME id TO key", "write key in place of id there first")
	if err := g.migrate("ALTER TABLE docs RENAME code TO codes; ALTER TABLE docs RENAME codes TO code; ALTER TABLE other RENAME v TO w; ALTER TABLE other RENAME w TO v"); err != nil {
		t.Errorf("other columns: %v", err)
	}
	g.moves()
	mark := g.replica.Mark(t)

	r.Columns = map[string][]string{"public.docs": {"id", "n", "content"}}
	r.Where = map[string]string{"public.other": "key % 2 = 0"}
	if err := g.migrate("ALTER TABLE docs RENAME body TO content; INSERT INTO docs (id, content) VALUES (5000, 'new')"); err != nil {
		t.Error(err)
	}
	if err := g.client().run("ALTER TABLE other RENAME id TO key"); err != nil {
		t.Error(err)
	}
	g.primary.Exec(t, "INSERT INTO other VALUES (2000, 'even'), (2001, 'odd')")
	const rows = "SELECT (SELECT md5(string_agg(d::text, ' ' ORDER BY d::text)) FROM (SELECT id, n, content FROM docs) d) || (SELECT string_agg(o::text, ' ' ORDER BY key) FROM other o WHERE key % 2 = 0)"
	var want, have string
	if err := g.super(g.primary).QueryRow(t.Context(), rows).Scan(&want); err != nil {
		t.Fatal(err)
	}
	if !pgtest.Eventually(func() bool {
		err := g.super(g.replica).QueryRow(t.Context(), rows).Scan(&have)
		return err == nil && have == want
	}) {
		t.Error("the replica has other rows")
	}
	g.feed(configs.FeedLogical)
	log, err := g.replica.Log()
	if err != nil || strings.Contains(log[mark:], "table synchronization worker") || strings.Contains(log[mark:], "ERROR") {
		t.Errorf("a table is copied anew, or replication has stopped: %v\n%s", err, log[mark:])
	}
	g.refused("ALTER TABLE docs DROP content", "leave content out there first, run \"pgshunt feed refresh")
	r.Columns = map[string][]string{"public.docs": {"id", "n"}}
	if err := logical.Refresh(t.Context(), g.run(nil)); err != nil {
		t.Fatal(err)
	}
	if err := g.migrate("ALTER TABLE docs DROP content"); err != nil {
		t.Error(err)
	}
}

// A copy finds its columns at its next refresh.
func TestNewNamesOfColumnsThatACopyIsConfiguredBy(t *testing.T) {
	g := newRig(t, configs.FeedDump, "")
	r := &g.cfg.Replicas[0]
	r.Columns = map[string][]string{"public.docs": {"id", "body"}}
	r.Where = map[string]string{"public.other": `other."v" <> 'v1'`}
	g.refused("ALTER TABLE docs RENAME body TO content", "write content in place of body there first")
	g.refused("ALTER VIEW other RENAME v TO w", "write w in place of v there first")
	g.refused("ALTER TABLE other DROP v", "leave v out there first")
	r.Where = map[string]string{"public.other": "w <> 'v1'"}
	if err := g.migrate("ALTER TABLE other RENAME v TO w; ALTER TABLE other DROP id; ALTER TABLE docs RENAME code TO body_code"); err != nil {
		t.Error(err)
	}
}
