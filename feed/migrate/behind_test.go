package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// client is a client's session on the primary, whose schema changes are ordered.
type client struct {
	g    *rig
	conn *pgx.Conn
}

func (g *rig) client() *client { return &client{g, g.primary.Super(g.t, "postgres")} }

func (c *client) begin(sql string) (*Live, error) {
	return Begin(context.Background(), []*feed.Run{c.g.run(nil)}, read(c.g.t, sql)[0], Session{
		User: c.g.primary.Superuser(), Path: []string{"public"}, Alone: true, PID: c.conn.PgConn().PID(), Cancel: c.conn.PgConn().CancelRequest,
	})
}

// run is what the proxy does.
func (c *client) run(sql string) error {
	l, err := c.begin(sql)
	if err != nil {
		return err
	}
	_, err = c.conn.Exec(context.Background(), sql)
	if l == nil {
		return fmt.Errorf("%s is not ordered: %w", sql, err)
	}
	return errors.Join(err, l.Finish(context.Background(), true))
}

// names are those that the table docs and its key have had, of which one pair is right at a time.
var names = [][2]string{{"docs", "id"}, {"docs", "key"}, {"papers", "id"}, {"papers", "key"}, {"moved.docs", "id"}}

// scribble has two sessions write to docs in transactions of several statements until stop is
// called, by whatever name it and its key have. It returns how many have committed.
func (g *rig) scribble() (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	var count atomic.Int64
	for w := range 2 {
		conn := g.primary.Super(g.t, "postgres")
		work.Go(func() {
			name := 0
			for i := 0; ctx.Err() == nil; i++ {
				n := names[name]
				err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
					for _, sql := range []string{"SELECT n FROM %[1]s WHERE %[2]s = %[3]d", "UPDATE %[1]s SET n = n + 1 WHERE %[2]s = %[3]d", "INSERT INTO %[1]s (%[2]s, body) VALUES (%[4]d, 'new')", "DELETE FROM %[1]s WHERE %[2]s = %[4]d - 40"} {
						if _, err := tx.Exec(ctx, fmt.Sprintf(sql, n[0], n[1], i%300+1, 1000+2*i+w), pgx.QueryExecModeSimpleProtocol); err != nil {
							return err
						}
					}
					return nil
				})
				var pg *pgconn.PgError
				switch {
				case err == nil:
					count.Add(1)
				case errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42703"):
					name = (name + 1) % len(names)
				case ctx.Err() == nil && !conn.IsClosed():
					g.t.Errorf("scribble: %v", err)
					return
				default:
					return
				}
				if i%20 == 19 {
					g.near(ctx, conn)
				}
			}
		})
	}
	g.t.Cleanup(func() { cancel(); work.Wait() })
	return func() int64 { cancel(); work.Wait(); return count.Load() }
}

// A client's own statement renames a table, its key, or moves it to another schema, while
// others write to it: replication does not notice, and nothing is copied anew.
func TestNamesOfAClientUnderLoad(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "CREATE SCHEMA moved")
	g.cfg.Replicas[0].Tables = configs.Patterns{"public.*", "moved.*"}
	stop := g.scribble()
	g.moves()
	c := g.client()
	for round := range 3 {
		for _, sql := range []string{
			"ALTER TABLE docs RENAME TO papers", "ALTER TABLE papers RENAME id TO key", "ALTER TABLE papers RENAME TO docs",
			"ALTER TABLE docs RENAME COLUMN key TO id", "ALTER TABLE docs SET SCHEMA moved", "ALTER TABLE moved.docs SET SCHEMA public",
		} {
			if err := c.run(sql); err != nil {
				t.Fatalf("round %d, %s: %v", round, sql, err)
			}
			g.moves()
		}
	}
	t.Logf("%d transactions meanwhile", stop())
	g.equal()
	if log := g.since(); strings.Contains(log, "table synchronization worker") {
		t.Error("a table was copied anew")
	}
}

// What the primary refuses while its statement is held back is taken back.
func TestNamesThatAClientGetsNot(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "CREATE ROLE guest LOGIN; CREATE TYPE papers AS (a int)")
	c := g.client()
	if err := c.run("ALTER TABLE docs RENAME TO papers"); err == nil || !strings.Contains(err.Error(), "papers") {
		t.Errorf("a name that a type has: %v", err)
	}
	g.equal()
	// Others hold the table until the client's patience has ended.
	holder := g.primary.Super(t, "postgres")
	tx, err := holder.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "UPDATE docs SET n = 7 WHERE id = 1; SET LOCAL lock_timeout = 0")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.conn.Exec(t.Context(), "SET lock_timeout = '100ms'"); err != nil {
		t.Fatal(err)
	}
	var pg *pgconn.PgError
	if err := c.run("ALTER TABLE docs RENAME TO written"); !errors.As(err, &pg) || pg.Code != "55P03" {
		t.Errorf("a table that is held: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.equal()
}

// A replica that does not get on has the client's statement cancelled, and nothing changed.
func TestNamesWithAReplicaThatIsBehind(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	c := g.client()
	l, err := c.begin("ALTER TABLE docs RENAME TO papers")
	if err != nil {
		t.Fatal(err)
	}
	holder := g.super(g.replica)
	tx, err := holder.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "LOCK TABLE docs IN EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	g.primary.Exec(t, "UPDATE docs SET n = 8 WHERE id = 2")
	_, err = c.conn.Exec(t.Context(), "ALTER TABLE docs RENAME TO papers")
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "57014" {
		t.Errorf("the statement ends with %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Finish(t.Context(), true); !errors.Is(err, errSlow) {
		t.Errorf("it is said %v", err)
	}
	g.equal()
}

// Somebody who reads the table on the replica does not have the primary's locked for long.
func TestNamesWithAReplicaThatIsRead(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	reader, c := g.super(g.replica), g.client()
	if _, err := reader.Exec(t.Context(), "BEGIN; SELECT FROM docs"); err != nil {
		t.Fatal(err)
	}
	if err := c.run("ALTER TABLE docs RENAME TO papers"); !errors.Is(err, errInUse) {
		t.Errorf("a client's: %v", err)
	}
	if err := g.migrate("ALTER TABLE docs RENAME TO papers"); !errors.Is(err, errInUse) {
		t.Errorf("a script's: %v", err)
	}
	if waited := strings.Count(g.since(), "due to lock timeout"); waited > 2*restTries {
		t.Errorf("the lock was waited for %d times", waited)
	}
	if _, err := reader.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	g.settled()
}

// Whoever holds the statement back is killed, and the primary changes: the replica stands still
// until the next run, which finds the place where the new names begin.
func TestNamesAreChangedLate(t *testing.T) {
	for _, sql := range []string{"ALTER TABLE docs RENAME TO papers", "ALTER TABLE docs RENAME id TO key"} {
		t.Run(sql, func(t *testing.T) {
			g := newRig(t, configs.FeedLogical, "")
			stop := g.scribble()
			c := g.client()
			l, err := c.begin(sql)
			if err != nil {
				t.Fatal(err)
			}
			l.behind.stop()
			<-l.behind.done
			l.m.close()
			if _, err := c.conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			mark := g.replica.Mark(t)
			if !pgtest.Eventually(func() bool { log, _ := g.replica.Log(); return strings.Contains(log[mark:], "ERROR") }) {
				t.Error("the replica has not met the new name")
			}
			if err := Resume(t.Context(), []*feed.Run{g.run(nil)}); err != nil {
				t.Fatal(err)
			}
			stop()
			g.settled()
		})
	}
}

// A statement waits for us alone only when whoever wrote to the table has ended.
func TestWhereAStatementIs(t *testing.T) {
	s := pgtest.Primary(t)
	s.Exec(t, "CREATE TABLE public.t (a int)")
	own, writer, client := s.Super(t, "postgres"), s.Super(t, "postgres"), s.Super(t, "postgres")
	m := &migration{primary: s.Super(t, "postgres"), replicas: []*replica{{order: &Order{Lock: []string{"public.t"}}}}}
	b := &behind{m: m, own: int32(own.PgConn().PID()), s: Session{PID: client.PgConn().PID()}}
	at := func(want string) {
		t.Helper()
		where := ""
		if !pgtest.Eventually(func() bool { var err error; where, err = b.look(t.Context()); return err == nil && where == want }) {
			t.Errorf("the statement is %q, want %q", where, want)
		}
	}
	for conn, sql := range map[*pgx.Conn]string{own: "LOCK TABLE public.t IN SHARE UPDATE EXCLUSIVE MODE", writer: "SELECT FROM public.t"} {
		if _, err := conn.Exec(t.Context(), "BEGIN; "+sql); err != nil {
			t.Fatal(err)
		}
	}
	at("")
	done := make(chan error, 1)
	go func() {
		_, err := client.Exec(context.Background(), "ALTER TABLE public.t RENAME TO u")
		done <- err
	}()
	at("queued")
	// It has the table already, and so passes the statement in the queue.
	if _, err := writer.Exec(t.Context(), "INSERT INTO public.t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	at("queued")
	if _, err := writer.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	at("waits")
	if _, err := own.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.left.Store(true)
	m.replicas[0].order.Lock = []string{"public.u"}
	at("gone")
}

// However short transactions may be for the role of the primary, the lock is kept as long as it takes.
func TestTheLockIsKept(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "ALTER ROLE ALL SET idle_in_transaction_session_timeout = '1min'")
	if version(g.super(g.primary)) >= 170000 {
		g.primary.Exec(t, "ALTER ROLE ALL SET transaction_timeout = '2min'")
	}
	c := g.client()
	const sql = "ALTER TABLE docs RENAME TO papers"
	l, err := c.begin(sql)
	if err != nil {
		t.Fatal(err)
	}
	limits := ""
	const query = "SELECT coalesce(string_agg(name, ', '), '') FROM pg_settings WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout') AND setting <> '0'"
	if err := l.behind.tx.QueryRow(t.Context(), query).Scan(&limits); err != nil || limits != "" {
		t.Errorf("the lock is bounded by %s, %v", limits, err)
	}
	if _, err := c.conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	if err := l.Finish(t.Context(), true); err != nil {
		t.Error(err)
	}
	g.equal()
}
