package migrate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
)

// Live is a statement that a client is about to send to the primary, or has. Its methods are
// for one goroutine at a time.
type Live struct {
	m *migration
	// behind is set where the statement waits behind a lock of ours.
	behind *behind
}

// Session is what is known of the client's session.
type Session struct {
	// User is who has logged in.
	User string
	// Path is its search_path, resolved.
	Path []string
	// Settings are its own.
	Settings Settings
	// Temporary are names of temporary relations that it has made; they may be gone.
	Temporary []string
	// Alone is set where the statement is a transaction of its own.
	Alone bool
	// PID is the process of the primary that the statement runs on; 0 is not known.
	PID uint32
	// Cancel has that process cancel the statement. It is called from a goroutine of its own,
	// and only before Finish has returned; nil where it cannot be done.
	Cancel func(context.Context) error
}

// Begin prepares the replicas for a client's statement; nil where it is of no concern to any.
// An error is a *Refusal where the statement cannot be ordered whoever tries; then, and on
// any other error, nothing is left changed. On success the client's statement must be sent,
// and Finish called.
func Begin(ctx context.Context, runs []*feed.Run, st Statement, s Session) (l *Live, err error) {
	m := &migration{runs: runs}
	defer func() {
		if l == nil {
			m.close()
		}
	}()
	concerned, err := m.concerns(ctx, &st, s)
	if err != nil || !concerned {
		return nil, err
	}
	if !s.Alone {
		return nil, refuse("this statement changes tables that PostgresML servers are fed from, and is not a transaction of its own",
			"send it by itself, outside of a transaction block, or use \"pgshunt feed migrate -f FILE\"")
	}
	for _, r := range m.replicas {
		if err := r.run.Lock(ctx, r.conn); err != nil {
			return nil, err
		}
		if err := makeJournal(ctx, r.run, r.conn); err != nil {
			return nil, err
		}
	}
	if err := m.resume(ctx); err != nil {
		return nil, err
	}
	// Until the lock was there others may have changed what the orders are made from.
	changes, err := m.plan(ctx, s.Path, s.Settings, st.Changes, s.locks())
	if err == nil {
		err = m.copying(ctx, changes)
	}
	if err != nil {
		return nil, err
	}
	table, err := renamed(ctx, m.primary, changes)
	if err != nil {
		return nil, m.onPrimary("look at the tables", err)
	}
	for _, r := range m.replicas {
		if err := r.begin(ctx, "", st.SQL, phaseBefore, plan{Order: r.order, Changes: changes, PID: s.PID, Table: table}); err != nil {
			return nil, err
		}
	}
	b, err := m.prepare(ctx, s)
	if err != nil {
		// Also where the client has given up: what is half done would stay.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, m.takeBack(ctx, err)
	}
	return &Live{m, b}, nil
}

// prepare carries out what comes before the statement, which may be sent then.
func (m *migration) prepare(ctx context.Context, s Session) (*behind, error) {
	for _, r := range m.replicas {
		if err := r.before(ctx); err != nil {
			return nil, err
		}
		if err := r.turn(ctx, phaseLive, len(r.order.Before)); err != nil {
			return nil, err
		}
	}
	if len(m.locked()) == 0 {
		return nil, nil
	}
	return m.holdBack(ctx, s)
}

// locks tells how tables of the primary can be brought to rest.
func (s *Session) locks() locks {
	if s.PID != 0 && s.Cancel != nil {
		return locksBehind
	}
	return locksNever
}

// concerns finds the replicas that a statement concerns, and connects to them alone. One
// that cannot be reached is an error where it may be concerned.
func (m *migration) concerns(ctx context.Context, st *Statement, s Session) (bool, error) {
	st.Changes = slices.DeleteFunc(slices.Clone(st.Changes), func(c Change) bool { return c.Action == local || c.Action == createType || !s.Alone && mayWait(&c) })
	if len(m.runs) == 0 || len(st.Changes) == 0 {
		return false, nil
	}
	var err error
	if m.primary, err = m.runs[0].Primary.Connect(ctx); err != nil {
		return false, err
	}
	if read, err := reads(ctx, m.primary, st.Unread); err != nil || !read {
		return false, m.onPrimary("have the statement read", err)
	}
	if st.Changes, err = s.lasting(ctx, m.primary, st.Changes); err != nil {
		return false, m.onPrimary("look for temporary relations", err)
	}
	changes, err := resolve(ctx, m.primary, s.Path, s.Settings, st.Changes)
	if errors.Is(err, errTheirs) {
		return false, nil
	}
	if err != nil {
		return false, m.onPrimary("resolve names", err)
	}
	may := false
	if slices.ContainsFunc(st.Changes, func(c Change) bool { return ofOwned(&c) }) {
		may, err = s.mayOwned(ctx, m.primary, st.Changes)
	} else {
		may, err = s.may(ctx, m.primary, changes)
	}
	if err != nil || !may {
		return false, m.onPrimary("look at owners", err)
	}
	for _, run := range m.runs {
		if !fedByUs(run) {
			continue
		}
		conn, err := run.Target.Connect(ctx)
		switch {
		case err == nil:
			m.replicas = append(m.replicas, &replica{run: run, conn: conn, primary: m.primary})
		case selected(run, changes):
			return false, err
		}
	}
	if _, err := m.plan(ctx, s.Path, s.Settings, st.Changes, s.locks()); err != nil {
		return false, err
	}
	var concerned []*replica
	for _, r := range m.replicas {
		if r.order.empty() {
			r.conn.Close(ctx)
		} else {
			concerned = append(concerned, r)
		}
	}
	m.replicas = concerned
	return len(concerned) > 0, nil
}

// reads tells whether a server can read statements, which it is not made to carry out.
func reads(ctx context.Context, conn *pgx.Conn, statements []string) (bool, error) {
	for _, sql := range statements {
		_, err := conn.Prepare(ctx, "", sql)
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42601" {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// lasting leaves out changes of the session's temporary relations, which stand before all
// others of their names. Within a transaction those cannot be seen, and the session is believed.
func (s *Session) lasting(ctx context.Context, primary *pgx.Conn, changes []Change) (out []Change, err error) {
	for _, c := range changes {
		if c.Schema == "" && slices.Contains(s.Temporary, c.Name) {
			have := "yes"
			if s.Alone {
				if have, err = find1(ctx, primary, "SELECT 'yes' FROM pg_class WHERE relpersistence = 't' AND relname = $1 LIMIT 1", c.Name); err != nil {
					return nil, err
				}
			}
			if have != "" {
				continue
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// may tells whether the session's user may make the changes, as far as ownership tells: it
// owns the tables and types, or is a member of who does. PostgreSQL refuses all others, and
// until then they must not be able to have anything done to a replica.
func (s *Session) may(ctx context.Context, primary *pgx.Conn, changes []Change) (bool, error) {
	const query = `SELECT 'no' FROM (SELECT c.relowner AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $2 AND c.relname = $3
		UNION ALL SELECT t.typowner FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $2 AND t.typname = $3 AND t.typtype IN ('e', 'd')) o
		WHERE NOT pg_has_role($1::name, o.owner, 'MEMBER') LIMIT 1`
	for i := range changes {
		c := &changes[i]
		if c.Action == membership {
			if may, err := mayGive(ctx, primary, s.User, c.Roles); err != nil || !may {
				return false, err
			}
			continue
		}
		if c.Name == "" && ofAccess(c) {
			if may, err := mayAll(ctx, primary, s.User, c.Schema); err != nil || !may {
				return false, err
			}
		}
		for _, name := range [][2]string{{c.Schema, c.Name}, {c.ParentSchema, c.ParentName}} {
			no, err := find1(ctx, primary, query, s.User, name[0], name[1])
			if err != nil || no != "" {
				return false, err
			}
		}
	}
	return true, nil
}

// selected tells whether a change may be about a table that the configuration feeds to a
// replica.
func selected(run *feed.Run, changes []Change) bool {
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Action == local || c.Action == createType || mayWait(c):
		case c.Name == "" || c.Action == addLabel || c.Action == renameLabel || c.Action == alterType || c.Action == dropType:
			return true
		case run.Selection.Has(c.Schema, c.Name), c.ParentName != "" && run.Selection.Has(c.ParentSchema, c.ParentName):
			return true
		}
	}
	return false
}

// Finish brings the replicas to where the primary is: further where it has changed, back where
// it has not. answered is set where the primary has answered the client's statement, so
// that nothing of it can still be under way. On an error the journal has what is left to
// do, for Resume.
func (l *Live) Finish(ctx context.Context, answered bool) error {
	defer l.m.close()
	errs := []error{l.behind.end(ctx, answered)}
	for _, r := range l.m.replicas {
		if answered {
			r.entry.plan.PID = 0
		}
		errs = append(errs, l.m.finish(ctx, r))
	}
	return errors.Join(errs...)
}

// idle waits until a process of the primary has no transaction any more, in which a change
// could still come: whoever has one holds a lock.
func idle(ctx context.Context, m *migration, pid uint32) error {
	const most = time.Minute
	for began := time.Now(); ; {
		busy, err := find1(ctx, m.primary, "SELECT 'yes' FROM pg_locks WHERE pid = $1 LIMIT 1", int32(pid))
		if err != nil || busy == "" {
			return err
		}
		if time.Since(began) > most {
			return errors.New("the client's statement still runs on the primary")
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
