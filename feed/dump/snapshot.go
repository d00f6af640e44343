package dump

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// snapshot is one moment of the primary, for as many connections as want it.
type snapshot struct {
	// guard holds the lock of a reader on every table, keeper the snapshot itself.
	guard, keeper *pgx.Conn
	// id is for other connections, visible is pg_current_snapshot().
	id, visible string
	tables      []*feed.Table
}

// lockPatience is how long a lock on the primary is waited for, lest others queue behind us.
const lockPatience = "5s"

// take locks the tables of a run and exports a snapshot. The locks come first: a table that
// was rewritten or truncated in between would look empty in an older snapshot.
func take(ctx context.Context, run *feed.Run) (s *snapshot, err error) {
	s = &snapshot{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.guard, err = run.Primary.Connect(ctx); err != nil {
		return nil, err
	}
	if s.keeper, err = run.Primary.Connect(ctx); err != nil {
		return nil, err
	}
	failed := func(doing string, err error) (*snapshot, error) {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: doing, Err: err, Next: "run it again; nothing has been changed"}
	}
	if _, err := s.guard.Exec(ctx, "BEGIN READ ONLY; SET LOCAL lock_timeout = '"+lockPatience+"'"); err != nil {
		return failed("begin", err)
	}
	for range 5 {
		before, err := choose(ctx, s.guard, run)
		if err != nil {
			return nil, err
		}
		for _, t := range before {
			// Reading no row of it locks it, whatever the role may read of it.
			if _, err := s.guard.Exec(ctx, "SELECT FROM ONLY "+t.Qualified()+" LIMIT 0"); err != nil {
				return failed("lock "+t.Plain()+" against changes of its definition", err)
			}
		}
		if s.tables, err = choose(ctx, s.guard, run); err != nil {
			return nil, err
		}
		same := func(a, b *feed.Table) bool { return a.OID == b.OID }
		if slices.EqualFunc(before, s.tables, same) {
			return s, s.export(ctx, run)
		}
	}
	return failed("look at its tables", errors.New("tables come and go"))
}

func (s *snapshot) export(ctx context.Context, run *feed.Run) error {
	_, err := s.keeper.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	if err == nil {
		err = s.keeper.QueryRow(ctx, "SELECT pg_export_snapshot(), pg_current_snapshot()::text").Scan(&s.id, &s.visible)
	}
	if err != nil {
		return &feed.Error{Server: run.Primary.Name, Doing: "take a snapshot", Err: err}
	}
	return nil
}

// join is what another connection says to read at the same moment.
func (s *snapshot) join() string {
	return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " + feed.Literal(s.id)
}

// close lets the primary go.
func (s *snapshot) close() {
	for _, conn := range []*pgx.Conn{s.guard, s.keeper} {
		if conn != nil {
			_ = closeConn(conn)
		}
	}
}

// describe fills in what only the primary knows of tables: their pages and which of them may
// go in binary form.
func (s *snapshot) describe(ctx context.Context, run *feed.Run, tables []*table, sameMajor bool) error {
	oids := make([]uint32, len(tables))
	byOID := make(map[uint32]*table)
	for i, t := range tables {
		oids[i], byOID[t.OID] = t.OID, t
	}
	rows, err := s.keeper.Query(ctx, pagesAndForms, oids)
	if err == nil {
		var oid uint32
		var blocks int64
		var unsafe []string
		_, err = pgx.ForEachRow(rows, []any{&oid, &blocks, &unsafe}, func() error {
			t := byOID[oid]
			t.blocks = blocks
			t.binary = sameMajor && !slices.ContainsFunc(t.columns, func(name string) bool { return slices.Contains(unsafe, name) })
			unsafe = nil
			return nil
		})
	}
	if err != nil {
		return &feed.Error{Server: run.Primary.Name, Doing: "measure the tables", Err: err}
	}
	return nil
}

// pagesAndForms tells the pages of tables, where they can be read by ranges of them (a role
// that may only read some columns may not read ctid), and the columns whose binary form another server may not understand: those of types
// that hold OIDs of this server (arrays and composites of types of its own, reg..), that
// an extension of another version may write otherwise, or that have no binary form.
var pagesAndForms = strings.NewReplacer("BUILTIN(b)", builtin("b"), "BUILTIN(e)", builtin("e")).Replace(`
	SELECT c.oid, CASE WHEN c.relkind = 'r' AND m.amname = 'heap' AND has_table_privilege(c.oid, 'SELECT') THEN pg_relation_size(c.oid) / current_setting('block_size')::bigint ELSE 0 END,
	coalesce((SELECT array_agg(a.attname::text) FROM pg_attribute a CROSS JOIN LATERAL (
		WITH RECURSIVE d AS (SELECT t.* FROM pg_type t WHERE t.oid = a.atttypid UNION ALL SELECT t.* FROM pg_type t JOIN d ON t.oid = d.typbasetype AND d.typtype = 'd')
		SELECT * FROM d WHERE typtype <> 'd') b LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		AND NOT CASE WHEN b.typtype = 'e' THEN true WHEN b.typcategory = 'A' THEN BUILTIN(e) ELSE BUILTIN(b) END), '{}')
	FROM pg_class c LEFT JOIN pg_am m ON m.oid = c.relam WHERE c.oid = ANY($1)`)

// builtin is whether a type is PostgreSQL's own, means the same everywhere and can be sent.
func builtin(t string) string {
	return "(" + t + ".oid < 10000 AND " + t + ".typtype IN ('b', 'r', 'm') AND " + t + ".typname !~ '^reg' AND " + t + ".typsend <> 0 AND " + t + ".typreceive <> 0 AND " + t + ".typname <> 'money')"
}
