package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/parser"
	"pgshunt/router"
)

// source reads one server's catalog of one database, in one transaction.
type source struct {
	server    *server
	index     int // in Fleet.Targets
	database  string
	conn      *pgx.Conn // nil where the server does not have the database
	signature string    // of what the catalog was made from
	version   string    // of PostgreSQL, the major one
	readers   readers
	failed    error // of one of its streams
	left      bool  // it is left out of the catalog
	// recorded is set where copies are recorded, those of a dump or of hot tables beside foreign ones.
	recorded bool
	// relations is how many there are, fed how many of them have the primary's rows, about.
	relations, fed int
	// parents are the primary's relations with children, by schema and name.
	parents map[string]parent
	// foreign are the primary's foreign tables, as parents.
	foreign map[string]bool
	// published is what the primary publishes in part, partial why a replica has only a part
	// of a relation, by schema and name with a dot between.
	published map[published]bool
	partial   map[string]string
	// builtins are the functions of the primary's pg_catalog, if somebody had to ask; lacking
	// those of them that a replica has not.
	builtins, lacking []string
	// barred are the schemas that somebody may not use here who may on the primary.
	barred map[string]bool
}

// parent has children: partitions, or tables that inherit.
type parent struct {
	partitioned bool
	children    string // their names
}

// codeNoDatabase is undefined_database.
const codeNoDatabase = "3D000"

// sources connects to the primary, which is the first, and to the healthy replicas. Those
// it returns are to be closed, with an error too.
func (w *Watcher) sources(ctx context.Context, database string) ([]*source, error) {
	seat := w.seat.Load()
	if seat == nil {
		return nil, errNoPrimary
	}
	var all []*source
	for i, s := range w.servers {
		at := ""
		if !s.Replica {
			at = seat.host.at
		} else if f := s.hosts[0].finding(); !f.done || f.err != nil {
			continue
		}
		src := &source{server: s, index: i, database: database}
		err := src.open(ctx, at)
		switch {
		case err == nil && s.Replica:
			all = append(all, src)
		case err == nil:
			all = append([]*source{src}, all...)
		case !s.Replica:
			return all, fmt.Errorf("primary: %w", err)
		default:
			w.cfg.Log.Debug("catalog of replica not read", "target", s.Name, "database", database, "error", err)
		}
	}
	return all, nil
}

// beginQuery makes names qualified in what the server prints, and the plans predictable. To
// print a view takes locks on what it reads, for the transaction: it neither waits behind a
// change of the schema for long, nor holds one up for longer than it takes.
const beginQuery = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
	SET LOCAL search_path = ''; SET LOCAL jit = off; SET LOCAL quote_all_identifiers = off;
	SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '2min'`

// signatureQuery tells cheaply whether anything has changed: the counters of changes to the
// system catalogs, which come some seconds late, and may be lost or reset; the tables that a
// subscription has brought. A standby has no counters; it follows the primary's.
const signatureQuery = `SELECT concat_ws(' ', pg_postmaster_start_time(),
	(SELECT sum(pg_stat_get_tuples_inserted(c) + pg_stat_get_tuples_updated(c) + pg_stat_get_tuples_deleted(c))
		FROM unnest('{pg_class,pg_attribute,pg_proc,pg_operator,pg_cast,pg_aggregate,pg_namespace,pg_policy,pg_trigger,pg_rewrite,pg_constraint,pg_inherits,pg_extension,pg_type,pg_authid,pg_auth_members,pg_subscription,pg_publication,pg_publication_rel}'::regclass[]) c),
	(SELECT concat_ws(',', count(*), count(*) FILTER (WHERE srsubstate = 'r'), sum(hashoid(srrelid)::bigint)) FROM pg_subscription_rel),
	(SELECT concat_ws(',', count(*), count(*) FILTER (WHERE subenabled)) FROM pg_subscription))`

func (s *source) open(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, s.server.w.cfg.Timeout)
	defer cancel()
	conn, err := s.server.connect(ctx, at, s.database)
	if err != nil {
		if pg := (*pgconn.PgError)(nil); s.server.Replica && errors.As(err, &pg) && pg.Code == codeNoDatabase {
			return nil // it is known what the server has: nothing
		}
		return err
	}
	s.conn = conn
	s.version, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	if err := conn.QueryRow(ctx, signatureQuery).Scan(&s.signature); err != nil {
		s.close()
		return err
	}
	return nil
}

func (s *source) close() {
	hangUp(s.conn)
	s.conn = nil
}

// prepare begins the transaction and reads what is small. The primary is prepared first.
func (s *source) prepare(ctx context.Context, primary *source) error {
	if s.conn == nil {
		return nil
	}
	if _, err := s.conn.PgConn().Exec(ctx, beginQuery).ReadAll(); err != nil {
		return err
	}
	if s.server.Feed == router.FeedDump || s.server.Feed == router.FeedFDW {
		if err := s.conn.QueryRow(ctx, recordedQuery).Scan(&s.recorded); err != nil {
			return err
		}
	}
	if s.server.Feed == router.FeedLogical && s.server.Replica {
		rows, err := s.conn.Query(ctx, subscriptionsQuery)
		if err != nil {
			return err
		}
		met, err := pgx.CollectRows(rows, pgx.RowToStructByPos[subscription])
		if err != nil {
			return err
		}
		s.server.hosts[0].learn(met)
	}
	var theirs *readers
	if s.server.Replica {
		theirs = &primary.readers
	}
	if err := s.readers.load(ctx, s.conn, theirs, s.server.Users); err != nil {
		return err
	}
	s.barred = make(map[string]bool)
	for schema := range s.readers.schemas {
		s.barred[schema] = s.server.Replica && s.readers.bars(schema, theirs)
	}
	_, count := s.queries()
	if err := s.conn.QueryRow(ctx, count).Scan(&s.relations, &s.fed); err != nil {
		return err
	}
	if s.server.Replica {
		if err := s.loadLacking(ctx, primary); err != nil {
			return err
		}
		return s.loadPartial(ctx, primary)
	}
	if err := s.loadPublished(ctx); err != nil {
		return err
	}
	s.parents, s.foreign = make(map[string]parent), make(map[string]bool)
	var schema, name string
	var p parent
	if err := each(ctx, s.conn, foreignQuery, []any{&schema, &name}, func() error {
		s.foreign[schema+"\x00"+name] = true
		return nil
	}); err != nil {
		return err
	}
	return each(ctx, s.conn, parentsQuery, []any{&schema, &name, &p.partitioned, &p.children}, func() error {
		s.parents[schema+"\x00"+name] = p
		return nil
	})
}

// facts is the source as router.NewCatalog wants it. known keeps what is parsed.
func (s *source) facts(ctx context.Context, primary *source, known *bodies) router.Source {
	return router.Source{
		Target: s.index, Few: s.server.Replica && 2*s.fed < primary.relations, Lacking: s.lacking,
		Relations: s.readRelations(ctx, primary, known), Functions: s.readFunctions(ctx, known),
	}
}

func (s *source) readRelations(ctx context.Context, primary *source, known *bodies) iter.Seq2[router.RelationFacts, error] {
	var f router.RelationFacts
	var kind, list, lists, children, conditions, definition string
	var owner uint32
	var fed bool
	query, _ := s.queries()
	into := []any{&f.Schema, &f.Name, &kind, &owner, &list, &f.Columns, &lists, &f.Absent, &fed, &children, &f.Security, &conditions, &f.Touches, &definition}
	return rowsOf(ctx, s, query, into, func() router.RelationFacts {
		row := f
		row.Columns = sorted(f.Columns)
		row.Readers, row.Barred = s.readers.of(f.Schema, list, lists, owner), s.barred[f.Schema]
		if kind == "v" || kind == "m" {
			if row.View = known.part(definition); row.View == nil {
				row.View = &parser.Part{Opaque: true}
			}
			if s.version == primary.version { // others write the same query in another way
				row.Definition = definition
			}
		}
		if conditions != "" {
			row.Policies = reaching(known.part("SELECT 1 WHERE " + conditions))
		}
		if f.Security != "" && len(s.readers.exempt) > 0 {
			row.Security += "\nnot for " + strings.Join(s.readers.exempt, ",")
		}
		if row.Absent == "" {
			row.Absent = s.partial[f.Schema+"."+f.Name]
		}
		if kind == "f" && s.server.Replica && s.server.Feed != router.FeedFDW && primary.foreign[f.Schema+"\x00"+f.Name] {
			row.Absent = "is a foreign table on the primary" // what it stands for may be another thing from here
		}
		row.Copied = fed && s.server.Feed == router.FeedFDW && kind != "f" && kind != "v"
		// A partitioned table that is itself subscribed has all rows, whatever its partitions.
		if p, ok := primary.parents[f.Schema+"\x00"+f.Name]; ok && s.server.Replica && row.Absent == "" &&
			kind != "f" && children != p.children && !(p.partitioned && fed) {
			row.Absent = "has other partitions there"
		}
		return row
	})
}

// reaching is the part of row-level security's conditions, nil where they are about the row
// and the session alone.
func reaching(p *parser.Part) *parser.Part {
	switch {
	case p == nil:
		return &parser.Part{Opaque: true}
	case len(p.Reads) > 0 || p.Volatile || slices.ContainsFunc(p.Calls, func(c parser.Call) bool { return !c.Builtin }):
		return p
	}
	return nil
}

func (s *source) readFunctions(ctx context.Context, known *bodies) iter.Seq2[router.FunctionFacts, error] {
	var f router.FunctionFacts
	var volatility, definition string
	into := []any{
		&f.Schema, &f.Name, &volatility, &f.Language, &definition, &f.Definition, &f.OfRow,
		&f.Hidden.Types, &f.Hidden.Relations, &f.Hidden.Explicit, &f.Hidden.Family,
	}
	return rowsOf(ctx, s, functionsQuery, into, func() router.FunctionFacts {
		row := f
		row.Volatility = volatility[0]
		if definition != "" {
			row.Body = known.part(definition)
		}
		return row
	})
}

// sorted sorts lines.
func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// rowsOf yields what row makes of each row of a query, once it has been scanned into into.
func rowsOf[T any](ctx context.Context, s *source, query string, into []any, row func() T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if s.conn == nil {
			return
		}
		rows, err := s.conn.Query(ctx, query)
		if err == nil {
			defer rows.Close()
			for rows.Next() {
				if err = rows.Scan(into...); err != nil {
					break
				}
				if !yield(row(), nil) {
					return
				}
			}
			err = errors.Join(err, rows.Err())
		}
		if err != nil {
			var none T
			s.failed = fmt.Errorf("%s: %w", s.server.Name, err)
			yield(none, s.failed)
		}
	}
}
