package fdw

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
)

// told fails unless the state is that, with a problem of a check that names what removes it.
func (b *bed) told(t *testing.T, want, check, remedy string) {
	t.Helper()
	s, err := State(t.Context(), b.run(t))
	if err != nil || s.State != want {
		t.Errorf("state %q, want %q (%v): %+v", s.State, want, err, s.Problems)
	}
	if !slices.ContainsFunc(s.Problems, func(p feed.Problem) bool { return p.Check == check && p.Remedy == remedy }) {
		t.Errorf("no problem %s with %q: %+v", check, remedy, s.Problems)
	}
}

// clear fails unless nothing is told.
func (b *bed) clear(t *testing.T) {
	t.Helper()
	s, err := State(t.Context(), b.run(t))
	if err != nil || s.State != "ready" || len(s.Problems) > 0 || slices.ContainsFunc(s.Tables, func(one feed.TableState) bool { return one.Drift != nil }) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWhatComesToAnEnumIsFollowed(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE a (m mood); INSERT INTO a VALUES ('sad'); GRANT SELECT ON a TO reader")
	b.apply(t)
	b.onPrimary(t, "ALTER TYPE mood ADD VALUE 'wild'; ALTER TYPE mood RENAME VALUE 'sad' TO 'sadder'")
	b.onPrimary(t, "INSERT INTO a VALUES ('wild')")
	b.apply(t)
	b.clear(t)
	if got := texts(t, b.conn(t, b.replica), "SELECT m::text FROM a ORDER BY m"); !slices.Equal(got, []string{"sadder", "wild"}) {
		t.Errorf("%q", got)
	}
}

// A copy that cannot be made anew stays and grows old; what stands against it is told, and what
// differs from the primary by then.
func TestACopyThatCannotFollowSaysWhatToDo(t *testing.T) {
	hot := func(schedule configs.Duration) func(*configs.Replica) {
		return func(r *configs.Replica) { r.FDW.Materialize, r.Schedule = configs.Patterns{"public.hot"}, schedule }
	}
	b := newBed(t, hot(1))
	b.onPrimary(t, "CREATE TABLE hot (id int PRIMARY KEY, n text); INSERT INTO hot VALUES (1, '5'); GRANT SELECT ON hot TO reader")
	b.apply(t)
	b.onReplica(t, "CREATE VIEW over AS SELECT n FROM hot")
	b.onPrimary(t, "ALTER TABLE hot ALTER n TYPE int USING n::int")
	b.told(t, "stale", "schedule", "pgshunt feed refresh --replica ml1")
	s, err := State(t.Context(), b.run(t))
	if want := []string{`column "n": type: integer on the primary, text here (pgshunt feed refresh --replica ml1 brings it)`}; err != nil || !slices.Equal(s.Tables[0].Drift, want) {
		t.Errorf("%+v, %v", s, err)
	}
	_, err = Renew(t.Context(), b.run(t), time.Nanosecond)
	if err == nil || !strings.Contains(err.Error(), "at CREATE OR REPLACE VIEW public.over AS SELECT hot.n FROM public.hot; drop what this would make, run it again, and make it anew") {
		t.Errorf("%v", err)
	}
	if got := texts(t, b.conn(t, b.replica), "SELECT n FROM over"); !slices.Equal(got, []string{"5"}) {
		t.Errorf("%q", got)
	}
	b.onReplica(t, "DROP VIEW over")
	b.configure(t, hot(configs.Duration(time.Hour)))
	if err := Refresh(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
	b.clear(t)
}

func TestAConnectionThatBreaksIsToldWithWhatMendsIt(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, "CREATE TABLE a (id int); INSERT INTO a VALUES (1); GRANT SELECT ON a TO reader")
	b.apply(t)
	const again = "pgshunt feed apply --replica ml1"
	name := b.run(t).Name
	b.onPrimary(t, "ALTER ROLE reader PASSWORD 'changed'")
	b.told(t, "broken", "connection", again)
	if err := Apply(t.Context(), b.run(t)); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("%v", err)
	}
	b.cfg.Replicas[0].Source.Password = "changed"
	b.told(t, "broken", "mapping", again)
	b.apply(t)
	b.clear(t)
	b.onReplica(t, "DROP USER MAPPING FOR PUBLIC SERVER "+name)
	b.told(t, "broken", "mapping", again)
	b.apply(t)
	b.clear(t)
}

// A query that is cut off, by the primary's restart or by the limit, is an error; the next one
// is not.
func TestAQueryThatIsCutOffIsAnError(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.FDW.StatementTimeout = configs.Duration(200 * time.Millisecond) })
	b.onPrimary(t, "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 20000); GRANT SELECT ON a TO reader")
	b.apply(t)
	replica := b.conn(t, b.replica)
	tx, err := replica.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "DECLARE c CURSOR FOR SELECT id FROM a; FETCH 1 FROM c"); err != nil {
		t.Fatal(err)
	}
	if err := b.primary.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var pg *pgconn.PgError
	if _, err := tx.Exec(t.Context(), "FETCH ALL FROM c"); !errors.As(err, &pg) {
		t.Errorf("half a table is no error: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, replica, "SELECT count(*)::text FROM a"); !slices.Equal(got, []string{"20000"}) {
		t.Errorf("afterwards %q", got)
	}
	b.clear(t)
	held, err := b.conn(t, b.primary).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(t.Context(), "LOCK TABLE a"); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.Exec(t.Context(), "SELECT FROM a"); !errors.As(err, &pg) || pg.Code != "57014" {
		t.Errorf("%v", err)
	}
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.clear(t)
}
