package feed

import (
	"context"
	"errors"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
)

// JournalSchema is the schema on a replica that holds what feeds remember. Schemas
// whose names begin with it and an underscore hold copies that are being made.
const JournalSchema = "pgshunt"

// journalSQL makes the journal. copies tells the router what a dump has brought, and
// when: see router/fleet; snapshot is the primary's pg_current_snapshot() then, by which
// verify knows what has changed since. feeds tells which way each database was fed last. fed
// has the tables whose rows are a feed's, also of one that was dropped: others are the
// replica's own, and no feed may replace or empty them. Its lines follow a rename.
// installation has one row, which tells this database of this replica from all others; see [Run.Installation].
const journalSQL = `CREATE SCHEMA IF NOT EXISTS pgshunt;
CREATE TABLE IF NOT EXISTS pgshunt.feeds (
	name text PRIMARY KEY, way text NOT NULL, source text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS pgshunt.copies (
	relation text PRIMARY KEY, copied_at timestamptz NOT NULL, copied_rows bigint NOT NULL DEFAULT 0,
	copied_bytes bigint NOT NULL DEFAULT 0, partial boolean NOT NULL DEFAULT false, snapshot text);
CREATE TABLE IF NOT EXISTS pgshunt.fed (relation regclass PRIMARY KEY);
CREATE TABLE IF NOT EXISTS pgshunt.installation AS SELECT gen_random_uuid()::text AS id`

// Journal makes the journal on the replica, unless it is there.
func (r *Run) Journal(ctx context.Context, target *pgx.Conn) error {
	step := Step{On: r.Target, What: "make the journal in schema " + JournalSchema, SQL: journalSQL}
	if target != nil {
		var have bool
		err := target.QueryRow(ctx, `SELECT to_regclass('pgshunt.copies') IS NOT NULL AND to_regclass('pgshunt.feeds') IS NOT NULL AND to_regclass('pgshunt.fed') IS NOT NULL
			AND to_regclass('pgshunt.installation') IS NOT NULL`).Scan(&have)
		if err != nil {
			return &Error{Server: r.Target.Name, Doing: step.What, Err: err}
		}
		if have {
			return nil
		}
	}
	return r.Do(ctx, target, step)
}

// Applied records which way the replica is fed, in the transaction of target, if it has one.
func (r *Run) Applied(ctx context.Context, target *pgx.Conn) error {
	if r.Print {
		return nil
	}
	_, err := target.Exec(ctx, `INSERT INTO pgshunt.feeds (name, way, source) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET way = excluded.way, source = excluded.source, applied_at = now()`,
		r.Name, string(r.Replica.Feed), r.Primary.Database())
	if err != nil {
		return &Error{Server: r.Target.Name, Doing: "write the journal", Err: err}
	}
	return nil
}

// Brought records that the rows of these tables of the replica, by schema and name with a
// dot between, are a feed's. It belongs into the transaction of target that shows them, if
// it has one. The journal has to be there.
func (r *Run) Brought(ctx context.Context, target *pgx.Conn, tables []string) error {
	if r.Print {
		return nil
	}
	_, err := target.Exec(ctx, `DELETE FROM pgshunt.fed f WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = f.relation)`)
	if err == nil {
		_, err = target.Exec(ctx, `INSERT INTO pgshunt.fed SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname || '.' || c.relname = ANY ($1) AND c.relkind IN ('r', 'p') ON CONFLICT DO NOTHING`, tables)
	}
	if err != nil {
		return &Error{Server: r.Target.Name, Doing: "write the journal", Err: err}
	}
	return nil
}

// Fed are the tables of the replica, by OID, whose rows are a feed's; see [Run.Brought].
func (r *Run) Fed(ctx context.Context, target *pgx.Conn) (map[uint32]bool, error) {
	all := make(map[uint32]bool)
	var have bool
	err := target.QueryRow(ctx, `SELECT to_regclass('pgshunt.fed') IS NOT NULL`).Scan(&have)
	if err == nil && have {
		var rows pgx.Rows
		var oid uint32
		if rows, err = target.Query(ctx, `SELECT relation::oid FROM pgshunt.fed`); err == nil {
			_, err = pgx.ForEachRow(rows, []any{&oid}, func() error { all[oid] = true; return nil })
		}
	}
	if err != nil {
		return nil, &Error{Server: r.Target.Name, Doing: "read the journal", Err: err}
	}
	return all, nil
}

// Installation is what the replica's database is called where others must not take what is
// its own: a random text that was made with the journal, "" before that.
func (r *Run) Installation(ctx context.Context, target *pgx.Conn) (id string, err error) {
	var have bool
	err = target.QueryRow(ctx, `SELECT to_regclass('pgshunt.installation') IS NOT NULL`).Scan(&have)
	if err == nil && have {
		err = target.QueryRow(ctx, `SELECT coalesce(min(id), '') FROM pgshunt.installation`).Scan(&id)
	}
	if err != nil {
		return "", &Error{Server: r.Target.Name, Doing: "read the journal", Err: err}
	}
	return id, nil
}

// lockPatience is how long a command waits for another on the same replica: long enough
// for a server to notice that the process that held the lock was killed.
const lockPatience = 20 * time.Second

// ErrBusy means that another command works on the feed of this replica.
var ErrBusy = errors.New("another pgshunt feed command works on this replica; wait for its end")

// Lock keeps other commands away from the replica until target, a connection to it, is
// closed. It waits up to twenty seconds and returns ErrBusy then.
func (r *Run) Lock(ctx context.Context, target *pgx.Conn) error {
	if r.Print {
		return nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.Name))
	const space = 0x70677368 // "pgsh"
	ctx, cancel := context.WithTimeout(ctx, lockPatience+5*time.Second)
	defer cancel()
	_, err := target.Exec(ctx, `SET lock_timeout = '`+lockPatience.String()+`'`)
	if err == nil {
		_, err = target.Exec(ctx, "SELECT pg_advisory_lock($1, $2)", int32(space), int32(h.Sum32()))
	}
	if err == nil {
		_, err = target.Exec(ctx, "SET lock_timeout = 0")
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "55P03" {
		err = ErrBusy
	}
	if err != nil {
		return &Error{Server: r.Target.Name, Doing: "lock the feed", Err: err}
	}
	return nil
}

// Way is the way that the replica is fed by, as the journal has it; "" where it has none.
func (r *Run) Way(ctx context.Context, target *pgx.Conn) (configs.Feed, error) {
	var have bool
	var way string
	err := target.QueryRow(ctx, `SELECT to_regclass('pgshunt.feeds') IS NOT NULL`).Scan(&have)
	if err == nil && have {
		err = target.QueryRow(ctx, `SELECT coalesce((SELECT way FROM pgshunt.feeds WHERE name = $1), '')`, r.Name).Scan(&way)
	}
	if err != nil {
		return "", &Error{Server: r.Target.Name, Doing: "read the journal", Err: err}
	}
	return configs.Feed(way), nil
}

// Forgotten takes the feed out of the journal, in the transaction of target, if it has one.
func (r *Run) Forgotten(ctx context.Context, target *pgx.Conn) error {
	way, err := r.Way(ctx, target)
	if err != nil || way == "" || r.Print {
		return err
	}
	if _, err := target.Exec(ctx, `DELETE FROM pgshunt.feeds WHERE name = $1`, r.Name); err != nil {
		return &Error{Server: r.Target.Name, Doing: "write the journal", Err: err}
	}
	return nil
}
