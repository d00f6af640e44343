package fleet

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// soon is a wait that is meant to fail.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func (w *watching) position() uint64 {
	w.t.Helper()
	position, err := w.Position(patient(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	return position
}

func (w *watching) applied(position uint64) {
	w.t.Helper()
	if err := w.WaitApplied(patient(w.t), "ml1", position); err != nil {
		w.t.Fatal(err)
	}
}

func TestWhatIsAppliedCanBeRead(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	subscribe(t, primary, replica)
	w := watch(t, pair(primary, replica, router.FeedLogical))
	from, to := primary.Super(t, "postgres"), replica.Super(t, "postgres")
	write := func() {
		t.Helper()
		id := number(t, from, "INSERT INTO t (v) VALUES (1) RETURNING id")
		w.applied(w.position())
		if number(t, to, "SELECT count(*) FROM t WHERE id = $1", id) != 1 {
			t.Fatalf("row %d is said to be applied, and is not there", id)
		}
	}
	for range 10 { // by what the subscriber has flushed
		write()
	}
	primary.Exec(t, "GRANT pg_read_all_stats TO "+own)
	for range 100 { // by what it has committed
		write()
	}
	if _, err := from.Exec(t.Context(), "SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		write()
	}
	replica.Exec(t, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
		CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow(); ALTER TABLE t ENABLE ALWAYS TRIGGER slow`)
	for range 10 {
		write()
	}
}

func TestAnApplyThatIsHeldUpIsWaitedFor(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	subscribe(t, primary, replica)
	w := watch(t, pair(primary, replica, router.FeedLogical))
	for _, c := range []struct{ name, hold, release, reason string }{
		{"disabled", "ALTER SUBSCRIPTION feed DISABLE", "ALTER SUBSCRIPTION feed ENABLE", `its subscription "feed" is disabled`},
		{"locked", "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "COMMIT", ""},
		{"conflict", "INSERT INTO t (id, v) VALUES (1000000, 0)", "DELETE FROM t WHERE id = 1000000", `its subscription "feed" is not connected`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			holder := replica.Super(t, "postgres")
			if _, err := holder.Exec(t.Context(), c.hold); err != nil {
				t.Fatal(err)
			}
			mark := w.position()
			primary.Exec(t, "INSERT INTO t (id, v) VALUES (1000000, 1)")
			position := w.position()
			if position <= mark {
				t.Fatalf("position %d after a commit, %d before", position, mark)
			}
			var behind *Behind
			if !pgtest.Eventually(func() bool { // the look that sees why may be still to come
				err := w.WaitApplied(soon(t), "ml1", position)
				return errors.As(err, &behind) && errors.Is(err, context.DeadlineExceeded) && behind.Reason == c.reason
			}) || behind.Missing == 0 {
				t.Fatalf("got %#v: %v", behind, behind)
			}
			if _, err := holder.Exec(t.Context(), c.release); err != nil {
				t.Fatal(err)
			}
			w.applied(position)
			if n := number(t, holder, "SELECT v FROM t WHERE id = 1000000"); n != 1 {
				t.Errorf("the row there is %d", n)
			}
			primary.Exec(t, "DELETE FROM t WHERE id = 1000000")
			w.applied(w.position())
		})
	}
}

// Neither what an open transaction has written, nor the header of a page on which nothing
// is yet, keeps a quiet primary's subscribers from being up to date.
func TestAQuietPrimaryIsCaughtUpWith(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	subscribe(t, primary, replica)
	w := watch(t, pair(primary, replica, router.FeedLogical))
	conn := primary.Super(t, "postgres")

	mark := primary.Mark(t)
	if _, err := conn.Exec(t.Context(), "BEGIN; INSERT INTO t (v) VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	w.applied(w.position())
	if !primary.Saw(t, mark, flushQuery) {
		t.Log("the primary wrote its log out by itself")
	}
	if _, err := conn.Exec(t.Context(), "COMMIT; CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	w.applied(w.position())

	// Messages of growing length come upon the end of a page in the end.
	at := func() int64 { return number(t, conn, "SELECT pg_current_wal_insert_lsn() - '0/0'") }
	for length := 1; at()%8192 != 24; length = 1 + (length+8)%64 {
		if _, err := conn.Exec(t.Context(), "SELECT pg_logical_emit_message(false, 'x', repeat('x', $1))", length); err != nil {
			t.Fatal(err)
		}
	}
	if position := w.position(); position%8192 != 0 {
		t.Errorf("position %d has the header of a page before it", position)
	}
	w.applied(w.position())
}

func TestFeedsWithoutAPosition(t *testing.T) {
	primary, replica := sharedServers(t)
	for _, feed := range []router.Feed{router.FeedDump, router.FeedNone, "", router.FeedLogical} {
		w := watch(t, pair(primary, replica, feed))
		var unknown *NotMeasured
		if err := w.WaitApplied(patient(t), "ml1", w.position()); !errors.As(err, &unknown) || unknown.Target != "ml1" {
			t.Errorf("feed %q: %v", feed, err)
		}
		if err := w.WaitLag(patient(t), "ml1", time.Second); !errors.As(err, &unknown) {
			t.Errorf("feed %q: %v", feed, err)
		}
		if w.target("ml1").LagKnown {
			t.Errorf("feed %q: the lag is known", feed)
		}
		w.Close()
	}
	w := watch(t, pair(primary, replica, router.FeedFDW))
	if err := w.WaitApplied(patient(t), "ml1", w.position()); err != nil {
		t.Error(err)
	}
	if err := w.WaitLag(patient(t), "ml1", 0); err != nil {
		t.Error(err)
	}
	if got := w.target("ml1"); !got.LagKnown || got.Lag != 0 {
		t.Errorf("lag %v, %v", got.Lag, got.LagKnown)
	}
	if err := w.WaitApplied(patient(t), "nobody", 1); err == nil {
		t.Error("a replica that is not configured")
	}
}

func TestPositionOfADeadPrimaryIsAnError(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	w := watch(t, pair(primary, replica, router.FeedFDW))
	before := w.position()
	primary.Kill()
	var unreachable *Unreachable
	if !pgtest.Eventually(func() bool { // at first the connection may be reset, not refused
		_, err := w.Position(patient(t))
		return errors.As(err, &unreachable) && unreachable.Reason == troubleRefused
	}) {
		t.Errorf("got %v", unreachable)
	}
	if err := primary.Restart(patient(t)); err != nil {
		t.Fatal(err)
	}
	if after := w.position(); after < before {
		t.Errorf("%d after %d", after, before)
	}
	w.Close()
	if _, err := w.Position(t.Context()); err == nil {
		t.Error("a closed watcher answers")
	}
}

// Those who ask at the same time share questions, and no answer is older than its call.
func TestPositionsAreShared(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	database := primary.NewDatabase(t)
	cfg := Config{Servers: []Server{{Name: "primary", Login: func(string) (*pgconn.Config, error) {
		return pgconn.ParseConfig(primary.URL("postgres", database))
	}}}}
	w := watch(t, cfg)
	w.position()
	mark := primary.Mark(t)
	const askers, times = 16, 20
	done := make(chan error)
	for range askers {
		conn := primary.Super(t, database)
		go func() {
			for range times {
				var own uint64
				if err := conn.QueryRow(t.Context(), "SELECT pg_logical_emit_message(false, '', '') - '0/0'").Scan(&own); err != nil {
					done <- err
					return
				}
				if position, err := w.Position(t.Context()); err != nil || position < own {
					done <- errors.Join(err, errors.New("a position before what was written before"))
					return
				}
			}
			done <- nil
		}()
	}
	for range askers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	questions := 0
	for _, s := range primary.Statements(t, mark) {
		if strings.Contains(s.SQL, "pg_current_wal_flush_lsn") {
			questions++
		}
	}
	if questions == 0 || questions >= askers*times {
		t.Errorf("%d questions for %d callers", questions, askers*times)
	}
}

// What a new subscription brings is waited for as soon as a catalog says that it is there,
// before the next look at the server.
func TestASubscriptionCountsOnceACatalogHasIt(t *testing.T) {
	primary, replica := primaryServer(t), replicaServer(t)
	subscribe(t, primary, replica)
	cfg := pair(primary, replica, router.FeedLogical)
	cfg.Interval = time.Hour
	w := watch(t, cfg)
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, "CREATE TABLE u (v int)")
	}
	primary.Exec(t, "CREATE PUBLICATION second FOR TABLE u")
	replica.Exec(t, "CREATE SUBSCRIPTION second CONNECTION '"+primary.URL(primary.Superuser(), "postgres")+"' PUBLICATION second")
	t.Cleanup(func() {
		replica.Exec(t, "ALTER SUBSCRIPTION second DISABLE")
		replica.Exec(t, "ALTER SUBSCRIPTION second SET (slot_name = NONE)")
		replica.Exec(t, "DROP SUBSCRIPTION second")
	})
	w.Want("postgres")
	w.Compare(patient(t), "postgres")
	replica.Exec(t, "ALTER SUBSCRIPTION second DISABLE")
	primary.Exec(t, "INSERT INTO u VALUES (1)")
	behind := (*Behind)(nil)
	if err := w.WaitApplied(soon(t), "ml1", w.position()); !errors.As(err, &behind) {
		t.Errorf("the row of a subscription that is disabled is said to be there: %v", err)
	}
}

// A comparison that found no primary is made up for.
func TestAComparisonThatFoundNobodyIsStillDue(t *testing.T) {
	w := New(Config{Servers: []Server{{Name: "primary", Login: func(string) (*pgconn.Config, error) { return nil, errors.New("nowhere") }}}})
	w.Close()
	w.catalogs.want("postgres")
	w.catalogs.compare("postgres")
	if !w.catalogs.wanted["postgres"].due {
		t.Error("it is forgotten")
	}
}
