package migrate

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// primaryFacts are what one look at the primary finds, for all replicas.
type primaryFacts struct {
	tables  map[string]*feed.Table
	keys    map[string][]constraint
	indexes map[string]index
	users   map[string][]string
	parents map[string]bool
}

func everything(string, string) bool { return true }

func lookAtPrimary(ctx context.Context, conn *pgx.Conn) (*primaryFacts, error) {
	tables, err := feed.Tables(ctx, conn, everything)
	if err != nil {
		return nil, err
	}
	f := &primaryFacts{tables: feed.Index(tables), indexes: map[string]index{}, users: map[string][]string{}, parents: map[string]bool{}}
	if f.keys, err = keysOf(ctx, conn); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `SELECT n.nspname || '.' || i.relname, n.nspname || '.' || t.relname, x.indisunique, pg_get_indexdef(i.oid)
		FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = i.relnamespace
		WHERE n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.oid AND c.contype IN ('p', 'u', 'x'))`)
	if err != nil {
		return nil, err
	}
	var name, other string
	var i index
	if _, err = pgx.ForEachRow(rows, []any{&name, &i.table, &i.unique, &i.def}, func() error { f.indexes[name] = i; return nil }); err != nil {
		return nil, err
	}
	// Through arrays, and through domains over a type.
	rows, err = conn.Query(ctx, `SELECT tn.nspname || '.' || t.typname, cn.nspname || '.' || c.relname FROM pg_attribute a
		JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') JOIN pg_namespace cn ON cn.oid = c.relnamespace
		JOIN pg_type at ON at.oid = a.atttypid LEFT JOIN pg_type d ON d.oid = at.typbasetype
		JOIN pg_type t ON t.oid IN (at.oid, at.typelem, at.typbasetype, d.typelem) JOIN pg_namespace tn ON tn.oid = t.typnamespace
		WHERE a.attnum > 0 AND NOT a.attisdropped AND t.oid >= 16384 AND t.typtype IN ('e', 'd', 'c', 'r') GROUP BY 1, 2`)
	if err != nil {
		return nil, err
	}
	if _, err = pgx.ForEachRow(rows, []any{&name, &other}, func() error { f.users[name] = append(f.users[name], other); return nil }); err != nil {
		return nil, err
	}
	rows, err = conn.Query(ctx, `SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent AND c.relkind = 'r' JOIN pg_namespace n ON n.oid = c.relnamespace`)
	if err != nil {
		return nil, err
	}
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error { f.parents[name] = true; return nil })
	return f, err
}

// keysOf are the constraints of all tables of a server.
func keysOf(ctx context.Context, conn *pgx.Conn) (map[string][]constraint, error) {
	rows, err := conn.Query(ctx, `SELECT n.nspname || '.' || t.relname, c.conname, pg_get_constraintdef(c.oid), c.contype::text,
		ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(num, o) JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num ORDER BY k.o)
		FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
		WHERE c.contype IN ('c', 'p', 'u', 'x', 'f', 'n') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY c.oid`)
	if err != nil {
		return nil, err
	}
	all := map[string][]constraint{}
	var table, kind string
	var k constraint
	_, err = pgx.ForEachRow(rows, []any{&table, &k.Name, &k.Def, &kind, &k.Columns}, func() error {
		k.Type = rune(kind[0])
		all[table] = append(all[table], k)
		k.Columns = nil
		return nil
	})
	return all, err
}

// lookAt is the situation of one replica. conn leads to it, primary to the primary.
func lookAt(ctx context.Context, run *feed.Run, conn, primary *pgx.Conn, f *primaryFacts) (*situation, error) {
	s := &situation{
		feed: run.Replica.Feed, name: run.Name, replicaName: run.Replica.Name, selection: run.Selection,
		primary: f.tables, keys: f.keys, indexes: f.indexes, users: f.users, parents: f.parents,
		published: map[string]bool{}, options: map[string]bool{}, copied: map[string]bool{},
	}
	tables, err := feed.Tables(ctx, conn, everything)
	if err != nil {
		return nil, err
	}
	s.replica = feed.Index(tables)
	if s.replicaKeys, err = keysOf(ctx, conn); err != nil {
		return nil, err
	}
	switch s.feed {
	case configs.FeedLogical:
		err = s.lookAtPublication(ctx, conn, primary)
	case configs.FeedFDW:
		if err = s.lookAtOptions(ctx, conn); err == nil {
			err = s.lookAtCopies(ctx, conn)
		}
	}
	return s, err
}

func (s *situation) lookAtPublication(ctx context.Context, conn, primary *pgx.Conn) error {
	rows, err := primary.Query(ctx, `SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = $1
		UNION SELECT n.nspname || '.' || c.relname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1`, s.name)
	if err != nil {
		return err
	}
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&name}, func() error { s.published[name] = true; return nil }); err != nil {
		return err
	}
	root, err := find1(ctx, primary, "SELECT pubviaroot::text FROM pg_publication WHERE pubname = $1", s.name)
	if err != nil {
		return err
	}
	s.viaRoot = root == "true"
	if version(conn) < 140000 {
		return nil
	}
	binary, err := find1(ctx, conn, `SELECT s.subbinary::text FROM pg_subscription s
		JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() AND s.subname = $1`, s.name)
	s.binary = binary == "true"
	return err
}

func (s *situation) lookAtOptions(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT n.nspname || '.' || c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL unnest(a.attfdwoptions) o WHERE o LIKE 'column\_name=%'`)
	if err != nil {
		return err
	}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error { s.options[name] = true; return nil })
	return err
}

// lookAtCopies finds which tables a feed of foreign tables has copied instead.
func (s *situation) lookAtCopies(ctx context.Context, conn *pgx.Conn) error {
	have, err := find1(ctx, conn, "SELECT 'yes' WHERE to_regclass('pgshunt.copies') IS NOT NULL")
	if err != nil || have == "" {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT relation FROM pgshunt.copies")
	if err != nil {
		return err
	}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error { s.copied[name] = true; return nil })
	return err
}

// version is the server's server_version_num, as far as it can be told from what it
// reports at the login.
func version(conn *pgx.Conn) int {
	text, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	major := 0
	for _, r := range text {
		if r < '0' || r > '9' {
			break
		}
		major = major*10 + int(r-'0')
	}
	return major * 10000
}
