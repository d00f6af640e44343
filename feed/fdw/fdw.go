package fdw

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
)

// work is one command on one feed: what the servers have, and connections to them. It
// belongs to one goroutine.
type work struct {
	run             *feed.Run
	primary, target *pgx.Conn
	// system is the primary's [feed.Server.System]; way, how the journal has it that the replica is fed.
	system string
	way    configs.Feed
	// version is the replica's server_version_num, super whether its role is a superuser.
	version int
	super   bool
	// fed are the primary's tables that are fed, with the columns that are; live those of
	// them that are foreign tables on the replica, hot those that are copied.
	fed, live, hot []*feed.Table
	// have are the replica's relations under the names of fed tables, and the foreign
	// tables of the feed's server, by schema and name with a dot between.
	have map[string]*relation
	// copied are the tables that this way has copied, in the same way.
	copied map[string]*copied
}

// relation is one relation of the replica.
type relation struct {
	schema, name string
	oid          uint32
	kind         rune
	// server is the foreign server of a foreign table, and remote the schema and name there.
	server, remote string
	// analyzed is set where the planner has statistics.
	analyzed bool
	// owned is set where the role of the replica's url may change it.
	owned bool
}

func (r *relation) plain() string { return r.schema + "." + r.name }

// ours tells whether it is a foreign table that the feed of that name made.
func (r *relation) ours(name string) bool { return r.server == name && r.remote == r.plain() }

// open connects to both servers and looks at them. The caller calls close, with an error too.
func open(ctx context.Context, run *feed.Run) (*work, error) {
	w := &work{run: run}
	errPrimary, errTarget := w.connectBoth(ctx)
	if err := cmp.Or(errTarget, errPrimary); err != nil {
		return w, err
	}
	return w, w.look(ctx)
}

// connectBoth connects to each server, whether or not the other answers.
func (w *work) connectBoth(ctx context.Context) (errPrimary, errTarget error) {
	w.target, errTarget = w.run.Target.Connect(ctx)
	w.primary, errPrimary = w.run.Primary.Connect(ctx)
	return errPrimary, errTarget
}

// close hangs up, which also gives up the lock of the feed.
func (w *work) close(ctx context.Context) {
	for _, conn := range []*pgx.Conn{w.primary, w.target} {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // nothing is lost with it
		}
	}
}

// look reads what both servers have.
func (w *work) look(ctx context.Context) error {
	err := w.target.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, rolsuper FROM pg_roles WHERE rolname = current_user`).Scan(&w.version, &w.super)
	if err != nil {
		return w.failed("look at the server", err)
	}
	if err := w.identify(ctx); err != nil {
		return err
	}
	all, err := feed.Tables(ctx, w.primary, w.run.Selection.Has)
	if err != nil {
		return &feed.Error{Server: w.run.Primary.Name, Doing: "read the tables", Err: err}
	}
	w.fed, w.live, w.hot = nil, nil, nil
	hot := w.heat(all)
	for _, t := range all {
		t = w.narrow(t)
		w.fed = append(w.fed, t)
		if hot[t.Plain()] {
			w.hot = append(w.hot, t)
		} else {
			w.live = append(w.live, t)
		}
	}
	if err := w.lookAtCopies(ctx); err != nil {
		return err
	}
	return w.lookAtRelations(ctx)
}

// narrow is the table with the columns that are fed.
func (w *work) narrow(t *feed.Table) *feed.Table {
	list := w.run.Selection.Columns(t.Schema, t.Name)
	if list == nil {
		return t
	}
	some := *t
	some.Columns = slices.DeleteFunc(slices.Clone(t.Columns), func(c feed.Column) bool { return !slices.Contains(list, c.Name) })
	return &some
}

// heat tells which tables are copied, by schema and name: those that fdw.materialize names, and
// the partitions of such.
func (w *work) heat(all []*feed.Table) map[string]bool {
	patterns := w.run.Replica.FDW.Materialize
	hot := make(map[string]bool)
	if len(patterns) == 0 {
		return hot
	}
	for _, t := range all {
		hot[t.Plain()] = patterns.MatchQualified(t.Schema, t.Name)
	}
	for again := true; again; { // partitions of partitions
		again = false
		for _, t := range all {
			if t.Partition() && !hot[t.Plain()] && hot[t.ParentSchema+"."+t.ParentName] {
				hot[t.Plain()], again = true, true
			}
		}
	}
	return hot
}

// relationsQuery knows of statistics by what they say; before PostgreSQL 14 an empty table's say
// nothing, and only when they were taken is known.
const relationsQuery = `SELECT n.nspname, c.relname, c.oid, c.relkind::text, coalesce(s.srvname, ''),
	coalesce((SELECT option_value FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'schema_name'), n.nspname)
		|| '.' || coalesce((SELECT option_value FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'table_name'), c.relname),
	c.reltuples > 0 OR c.reltuples = 0 AND current_setting('server_version_num')::int >= 140000 OR c.relpages > 0 OR EXISTS (SELECT FROM pg_stats p WHERE p.schemaname = n.nspname AND p.tablename = c.relname)
		OR pg_stat_get_last_analyze_time(c.oid) IS NOT NULL,
	pg_has_role(c.relowner, 'USAGE')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_foreign_table f ON f.ftrelid = c.oid LEFT JOIN pg_foreign_server s ON s.oid = f.ftserver
	WHERE s.srvname = $1 OR (n.nspname, c.relname) IN (SELECT * FROM unnest($2::name[], $3::name[]))`

func (w *work) lookAtRelations(ctx context.Context) error {
	schemas, names := make([]string, len(w.fed)), make([]string, len(w.fed))
	for i, t := range w.fed {
		schemas[i], names[i] = t.Schema, t.Name
	}
	rows, err := w.target.Query(ctx, relationsQuery, w.run.Name, schemas, names)
	if err != nil {
		return w.failed("read the relations", err)
	}
	w.have = make(map[string]*relation)
	var r relation
	var kind string
	_, err = pgx.ForEachRow(rows, []any{&r.schema, &r.name, &r.oid, &kind, &r.server, &r.remote, &r.analyzed, &r.owned}, func() error {
		one := r
		one.kind = rune(kind[0])
		w.have[one.plain()] = &one
		return nil
	})
	if err != nil {
		return w.failed("read the relations", err)
	}
	return nil
}

// failed wraps an error of the replica.
func (w *work) failed(doing string, err error) error {
	return &feed.Error{Server: w.run.Target.Name, Doing: doing, Err: err}
}

// patience is how long a command waits for a lock on the replica: training may hold one for
// hours, and whoever waits for one stronger keeps all others waiting.
const patience = "5s"

const codeLockNotAvailable = "55P03"

// in runs do in a transaction on the replica; when only printing, without one.
func (w *work) in(ctx context.Context, doing string, do func() error) error {
	if w.run.Print {
		return do()
	}
	tx, err := w.target.Begin(ctx)
	if err != nil {
		return w.failed(doing, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	if _, err = tx.Exec(ctx, "SET LOCAL lock_timeout = '"+patience+"'"); err == nil {
		err = do()
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err == nil {
		return nil
	}
	var told *feed.Error
	if !errors.As(err, &told) {
		told = &feed.Error{Server: w.run.Target.Name, Doing: doing, Err: err}
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == codeLockNotAvailable {
		told.Next = "a session of the replica uses it, as a training does; run the command again when that has ended"
	}
	return told
}
