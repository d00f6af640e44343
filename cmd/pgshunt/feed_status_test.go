package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

// Status tells of a role that may read more than on the primary and of a change that was not
// finished, and a line feed in a name breaks no list; apply and migrate mend both.
func TestFeedStatusTellsWhatIsLeftToDo(t *testing.T) {
	s := pgtest.Primary(t)
	ours, theirs := s.NewDatabase(t), s.NewDatabase(t)
	s.ExecIn(t, ours, `CREATE ROLE bob; CREATE TABLE orders (id int PRIMARY KEY); GRANT SELECT ON orders TO bob; CREATE TABLE "two
lines" (id int PRIMARY KEY)`)
	pgshunt := inProcess(feedConfig(t, fmt.Sprintf("primary: {url: %q}\nreplicas:\n  - {name: ml1, url: %q, feed: dump}\n", s.URL(s.Superuser(), ours), s.URL(s.Superuser(), theirs))))
	script := filepath.Join(t.TempDir(), "change.sql")
	if err := os.WriteFile(script, []byte("ALTER TABLE orders ADD note text"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect := func(status int, args string, wants ...string) {
		t.Helper()
		out, got, err := pgshunt(t.Context(), strings.Fields(args)...)
		if err != nil || got != status {
			t.Fatalf("%s: status %d, %v\n%s", args, got, err, out)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", args, want, out)
			}
		}
		t.Log(out)
	}
	expect(0, "apply")
	expect(0, "migrate -f "+script)
	expect(0, "status", "\n  public.two\\nlines  ready")
	s.ExecIn(t, ours, "REVOKE SELECT ON orders FROM bob")
	s.ExecIn(t, theirs, "UPDATE pgshunt.changes SET done_at = NULL, phase = 'after', step = 0; CREATE TABLE own (id int)")
	expect(1, "status", `drift    public.orders: privileges of "bob": nothing on the primary, SELECT here (the replica gives more than the primary)`,
		"change   ALTER TABLE orders ADD note text: begun ", "the primary has changed, and 0 of 1 steps after it are done\n           -> pgshunt feed migrate finishes it")
	expect(0, "verify", "\n  public.two\\nlines  equal", "note     public.own: only the replica has it")
	expect(0, "migrate")
	expect(0, "apply")
	expect(0, "status")
}
