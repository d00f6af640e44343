package dump

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/program"
)

// Check finds what stands against a copy. It changes nothing.
func Check(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
	primary, err := run.Primary.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeConn(primary) }()
	target, err := run.Target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeConn(target) }()
	k, err := checkPrimary(ctx, primary, run)
	if err != nil {
		return nil, err
	}
	if err := k.versions(ctx, primary, target); err != nil {
		return nil, err
	}
	system, err := run.Primary.System(ctx, primary)
	if err != nil {
		return nil, err
	}
	if err := k.stranger(ctx, target, system); err != nil {
		return nil, err
	}
	if err := k.replica(ctx, target); err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "check the tables there", Err: err}
	}
	err = k.otherFeed(ctx, target)
	return k.problems, err
}

// checkPrimary begins with what every copy needs: tables, PostgreSQL's programs, and privileges.
func checkPrimary(ctx context.Context, primary *pgx.Conn, run *feed.Run) (*checking, error) {
	every, err := every(ctx, primary, run)
	if err != nil {
		return nil, err
	}
	chosen := selected(run, slices.Clone(every))
	k := &checking{run: run, tables: newTables(run, chosen)}
	if len(chosen) == 0 {
		k.add(run.Primary, "tables", "no table is selected by replicas[].tables", "", "")
	}
	k.inheritance(every)
	if _, err := program.Find(ctx, program.Major(primary.PgConn().ParameterStatus("server_version"))); err != nil {
		k.problems = append(k.problems, feed.Problem{Check: "programs", Blocks: true, What: err.Error()})
	}
	if err := k.primary(ctx, primary); err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "check privileges", Err: err}
	}
	return k, nil
}

// otherFeed looks whether the replica is fed another way.
func (k *checking) otherFeed(ctx context.Context, target *pgx.Conn) error {
	way, err := k.run.Way(ctx, target)
	if err == nil && way != "" && way != k.run.Replica.Feed {
		k.add(k.run.Target, "other_feed", fmt.Sprintf("it is fed by %s", way), "pgshunt feed drop --replica "+k.run.Replica.Name, "with the configuration of that feed")
	}
	if err != nil {
		return err
	}
	return k.others(ctx, target)
}

// others refuses a database that another feed has copied to: the journal of copies and what
// is staged are of the whole database, and one would take the other's away.
func (k *checking) others(ctx context.Context, conn *pgx.Conn) error {
	var have bool
	var names []string
	err := conn.QueryRow(ctx, `SELECT to_regclass('pgshunt.feeds') IS NOT NULL`).Scan(&have)
	if err == nil && have {
		err = conn.QueryRow(ctx, `SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM pgshunt.feeds WHERE name <> $1 AND way IN ('dump', 'fdw')`, k.run.Name).Scan(&names)
	}
	if err != nil {
		return &feed.Error{Server: k.run.Target.Name, Doing: "read the journal", Err: err}
	}
	for _, name := range names {
		k.add(k.run.Target, "other_feed", fmt.Sprintf("database %s is fed by %s as well, and a copy would take its copies out of the journal", k.run.Target.Database(), name),
			"DELETE FROM pgshunt.feeds WHERE name = "+feed.Literal(name)+";", "there, if that feed is no more; else drop it by its configuration, or feed another database")
	}
	return nil
}

// stranger refuses to put tables of one primary in the place of another's.
func (k *checking) stranger(ctx context.Context, target *pgx.Conn, system string) error {
	p, err := k.run.Stranger(ctx, target, system)
	if p != nil {
		k.problems = append(k.problems, *p)
	}
	return err
}

type checking struct {
	run      *feed.Run
	tables   []*table
	problems []feed.Problem
	told     []uint32 // tables of the replica whose rows have been told of
}

func (k *checking) add(server *feed.Server, check, what, remedy, note string) {
	k.problems = append(k.problems, feed.Problem{Server: server.Name, Check: check, Blocks: true, What: what, Remedy: remedy, Note: note})
}

// readable tells of a table whether the role may use its schema and read all of it, which
// columns it may not read, and whether it would see only some rows.
const readable = `SELECT has_schema_privilege(c.relnamespace, 'USAGE'), has_table_privilege(c.oid, 'SELECT'),
	coalesce((SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
		AND NOT has_column_privilege(c.oid, attnum, 'SELECT')), '{}'), row_security_active(c.oid) FROM pg_class c WHERE c.oid = $1`

func (k *checking) primary(ctx context.Context, conn *pgx.Conn) error {
	user := feed.Quote("", k.run.Primary.User())
	schemas := make(map[string]bool)
	for _, t := range k.tables {
		var usage, all, secured bool
		var hidden []string
		if err := conn.QueryRow(ctx, readable, t.OID).Scan(&usage, &all, &hidden, &secured); err != nil {
			return err
		}
		t.lockable = all
		if !usage && !schemas[t.Schema] {
			schemas[t.Schema] = true
			k.add(k.run.Primary, "usage", fmt.Sprintf("role %s may not use schema %s", user, t.Schema), "GRANT USAGE ON SCHEMA "+feed.Quote("", t.Schema)+" TO "+user+";", "")
		}
		hidden = slices.DeleteFunc(hidden, func(name string) bool { return !slices.Contains(t.columns, name) })
		switch {
		case !all && len(hidden) == len(t.columns) && !t.partial():
			k.add(k.run.Primary, "select", fmt.Sprintf("role %s may not read %s", user, t.Plain()), "GRANT SELECT ON "+t.Qualified()+" TO "+user+";", "")
		case len(hidden) > 0:
			k.add(k.run.Primary, "select", fmt.Sprintf("role %s may not read %s of %s", user, strings.Join(hidden, ", "), t.Plain()),
				"GRANT SELECT "+t.columnList()+" ON "+t.Qualified()+" TO "+user+";", "or feed fewer columns by replicas[].columns")
		}
		if secured {
			k.add(k.run.Primary, "row_security", fmt.Sprintf("row-level security of %s would hide rows from role %s", t.Plain(), user), "ALTER ROLE "+user+" BYPASSRLS;", "or leave the table out of replicas[].tables")
		}
		if t.where != "" && usage && len(hidden) == 0 && !secured {
			if _, err := conn.Exec(ctx, "SELECT FROM ONLY "+t.Qualified()+" WHERE ("+t.where+"\n) LIMIT 0"); err != nil {
				k.add(k.run.Primary, "where", fmt.Sprintf("the condition for %s is not usable: %s", t.Plain(), feed.Cause(err)), "", "correct replicas[].where")
			}
		}
	}
	return k.selection()
}

// selection looks for columns in the configuration that there are not.
func (k *checking) selection() error {
	for _, t := range k.tables {
		list := k.run.Selection.Columns(t.Schema, t.Name)
		for _, name := range list {
			if t.Column(name) == nil {
				k.add(k.run.Primary, "columns", fmt.Sprintf("%s has no column %q", t.Plain(), name), "", "correct replicas[].columns")
			}
		}
		if list != nil && t.inherits() {
			k.inherited(t, list)
		}
	}
	return nil
}

// definable looks whether pg_dump can write down a table that the replica lacks: it locks it,
// for which privileges on some columns are not enough.
func (k *checking) definable(t *table) {
	if t.lockable || !t.partial() {
		return
	}
	user := feed.Quote("", k.run.Primary.User())
	k.add(k.run.Primary, "definition", fmt.Sprintf("pg_dump, which brings the definition of %s, needs to lock the table, and role %s may only read columns of it", t.Plain(), user),
		"GRANT SELECT ON "+t.Qualified()+" TO "+user+";", "it is needed for the first copy and after changes of the definition only")
}

// there tells of a relation of the replica what it is, whether we own it, and what feeds it. A
// feed of foreign tables (package fdw) has this one copy some of them. Before PostgreSQL 14 not
// everybody may join pg_subscription itself.
const there = `SELECT c.relkind::text, pg_has_role(c.relowner, 'USAGE'), r.rolname::text,
	coalesce((SELECT s.subname::text FROM pg_subscription_rel p JOIN pg_stat_subscription s ON s.subid = p.srsubid WHERE p.srrelid = c.oid LIMIT 1), ''),
	coalesce((SELECT s.srvname::text FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid), ''), c.oid
	FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
	WHERE c.relname = $2 AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)`

func (k *checking) replica(ctx context.Context, conn *pgx.Conn) error {
	user := feed.Quote("", k.run.Target.User())
	var standby, create bool
	if err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE')`).Scan(&standby, &create); err != nil {
		return err
	}
	if standby {
		k.add(k.run.Target, "standby", "it is a standby, to which nothing can be copied", "", "name the server that it follows in replicas[].url, or another")
		return nil
	}
	if !create {
		k.add(k.run.Target, "create", fmt.Sprintf("role %s may not make schemas", user), "GRANT CREATE ON DATABASE "+feed.Quote("", k.run.Target.Database())+" TO "+user+";", "")
	}
	fed, err := k.run.Fed(ctx, conn)
	if err != nil {
		return err
	}
	kinds := map[string]string{"v": "a view", "m": "a materialised view", "f": "a foreign table", "S": "a sequence", "i": "an index"}
	for _, t := range k.tables {
		var kind, owner, subscription, server string
		var own bool
		var oid uint32
		err := conn.QueryRow(ctx, there, t.Schema, t.Name).Scan(&kind, &own, &owner, &subscription, &server, &oid)
		if err == pgx.ErrNoRows {
			k.definable(t)
			continue
		}
		if err != nil {
			return err
		}
		name := t.Plain()
		switch {
		case kind == "f" && k.run.Replica.Feed == configs.FeedFDW && server == k.run.Name && own:
			// It makes way for the copy.
		case kinds[kind] != "":
			k.add(k.run.Target, "kind", fmt.Sprintf("%s is %s there", name, kinds[kind]), "", "drop it, or leave the table out of replicas[].tables")
		case !own:
			k.add(k.run.Target, "owner", fmt.Sprintf("%s belongs to %s, and role %s cannot replace it", name, owner, user), "GRANT "+feed.Quote("", owner)+" TO "+user+";", "")
		case subscription != "":
			k.add(k.run.Target, "subscription", fmt.Sprintf("%s is fed by subscription %q", name, subscription), "", "drop the subscription, or leave the table out of replicas[].tables")
		default:
			if err := k.foreignRows(ctx, conn, t, oid, fed); err != nil {
				return err
			}
		}
	}
	return nil
}

// holders are the tables that hold the rows of one of the replica: itself or its partitions.
const holders = `SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind = 'r' AND (c.oid = $1 OR c.oid IN (SELECT relid FROM pg_partition_tree($1))) ORDER BY 2`

// foreignRows refuses a table that holds rows which no feed has brought: the swap would drop them.
func (k *checking) foreignRows(ctx context.Context, conn *pgx.Conn, t *table, oid uint32, fed map[uint32]bool) error {
	rows, err := conn.Query(ctx, holders, oid)
	if err != nil {
		return err
	}
	type holder struct {
		OID  uint32
		Name string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[holder])
	if err != nil {
		return err
	}
	for _, h := range all {
		if fed[h.OID] || slices.Contains(k.told, h.OID) {
			continue
		}
		var filled bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ONLY "+h.Name+")").Scan(&filled); err != nil {
			return fmt.Errorf("see whether %s holds rows: %w", h.Name, err)
		}
		if filled {
			k.told = append(k.told, h.OID)
			k.add(k.run.Target, "rows", fmt.Sprintf("%s holds rows there that no feed has brought, and a copy would take their place", h.Name),
				"TRUNCATE ONLY "+h.Name+";", "if nobody needs them; or rename it, or leave "+t.Plain()+" out of replicas[].tables")
		}
	}
	return nil
}
