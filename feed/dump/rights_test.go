package dump

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// reads is what a role sees of table a by a login to the replica, "denied" if it may not.
func (b *bed) reads(t *testing.T, role string) (ids string) {
	t.Helper()
	config := b.replica.Config().Copy()
	config.User, config.Password = role, ""
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	err = conn.QueryRow(context.Background(), "SELECT coalesce(string_agg(id::text, ',' ORDER BY id), 'none') FROM a").Scan(&ids)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42501" {
		return "denied"
	}
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// Who has lost a privilege on the primary, or comes under row-level security there, does not read
// more by a login to the replica than there once the feed has been applied or refreshed, also where
// that happens while a copy is made. What the replica gives to a role of its own stays.
func TestRightsThatAreLostOnThePrimary(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.a"} })
	const gone = "DO $$ DECLARE r text; BEGIN FOREACH r IN ARRAY ARRAY['d_ann', 'd_own'] LOOP IF to_regrole(r) IS NOT NULL THEN EXECUTE 'DROP OWNED BY ' || r || '; DROP ROLE ' || r; END IF; END LOOP; END $$"
	t.Cleanup(func() {
		exec(t, b.primary, gone)
		exec(t, b.replica, gone)
	})
	exec(t, b.primary, "CREATE ROLE d_ann LOGIN; CREATE TABLE a (id int); INSERT INTO a VALUES (1), (2); GRANT SELECT ON a TO d_ann")
	exec(t, b.replica, "CREATE ROLE d_ann LOGIN; CREATE ROLE d_own LOGIN")
	apply := func() error { return Apply(context.Background(), b.Run) }
	refresh := func() error { return Refresh(context.Background(), b.Run) }
	for _, c := range []struct {
		name, primary, replica string
		drift                  bool
		do                     func() error
		during                 string // on the primary when the rows are copied
		ann, own               string
	}{
		{name: "the first copy", do: apply, ann: "1,2", own: "denied"},
		{name: "a role of the replica's own", replica: "GRANT SELECT ON a TO d_own", do: refresh, ann: "1,2", own: "1,2"},
		{name: "revoked, and applied", primary: "REVOKE SELECT ON a FROM d_ann", drift: true, do: apply, ann: "denied", own: "1,2"},
		{name: "granted again", primary: "GRANT SELECT ON a TO d_ann", drift: true, do: apply, ann: "1,2", own: "1,2"},
		{name: "revoked, and refreshed", primary: "REVOKE SELECT ON a FROM d_ann", drift: true, do: refresh, ann: "denied", own: "1,2"},
		{name: "given by hand", replica: "GRANT SELECT ON a TO PUBLIC", drift: true, do: refresh, ann: "denied", own: "1,2"},
		{name: "granted again, and refreshed", primary: "GRANT SELECT ON a TO d_ann", drift: true, do: refresh, ann: "1,2", own: "1,2"},
		{name: "revoked during a copy", do: refresh, during: "REVOKE SELECT ON a FROM d_ann", ann: "denied", own: "1,2"},
		{
			name: "row-level security", primary: "GRANT SELECT ON a TO d_ann; ALTER TABLE a ENABLE ROW LEVEL SECURITY; CREATE FUNCTION mine(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 = 2'; CREATE POLICY p ON a USING (mine(id))",
			drift: true, do: refresh, ann: "2", own: "2",
		},
		{name: "another policy", primary: "ALTER POLICY p ON a USING (id = 1)", drift: true, do: apply, ann: "1", own: "1"},
		{name: "no policy", primary: "DROP POLICY p ON a", drift: true, do: refresh, ann: "none", own: "none"},
	} {
		if c.primary != "" {
			exec(t, b.primary, c.primary)
		}
		if c.replica != "" {
			exec(t, b.replica, c.replica)
		}
		if c.name != "the first copy" {
			found, err := schema.Drift(context.Background(), b.Run)
			if err != nil || (len(found) > 0) != c.drift {
				t.Errorf("%s: drift %v, %v", c.name, found, err)
			}
		}
		b.hear = func(e feed.Event) {
			if c.during != "" && e.Status == feed.StatusDone && strings.HasPrefix(e.Step, "copy the rows") {
				exec(t, b.primary, c.during)
			}
		}
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff([]string{c.ann, c.own}, []string{b.reads(t, "d_ann"), b.reads(t, "d_own")}); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if left, err := schema.Drift(context.Background(), b.Run); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", c.name, left, err)
		}
	}
	b.tidy(t)
}
