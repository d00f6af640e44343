package feed

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Table is one table of a server, as its catalogs describe it.
type Table struct {
	Schema, Name string
	OID          uint32
	// Kind is pg_class.relkind: 'r' a table, 'p' a partitioned one, 'f' a foreign one.
	Kind rune
	// Unlogged tables are neither replicated nor kept over a crash.
	Unlogged bool
	// Parent is the partitioned table that it is a partition of, by schema and name.
	ParentSchema, ParentName string
	// Bound and Key are how a partition is bounded and a partitioned table divided, in SQL.
	Bound, PartitionKey string
	// Parents are the tables that it inherits from in the old style, by schema and name with a
	// dot between, in the order of its definition; nil where it is a partition.
	Parents []string
	// Identity is pg_class.relreplident: d, n, f, i.
	Identity rune
	// PrimaryKey and IdentityColumns are columns' names in the order of their index; the
	// latter are what tells rows apart in logical replication, nil where nothing does or
	// where all columns do (Identity is 'f').
	PrimaryKey, IdentityColumns []string
	// Rows is the planner's estimate, -1 before the first ANALYZE. Heap is the size of the
	// rows themselves with what is out of line (TOAST), Bytes that with indexes, both without
	// partitions.
	Rows, Heap, Bytes int64
	// Security is set where row-level security is on.
	Security bool
	Columns  []Column
	// Dropped is how many columns it once had more.
	Dropped int
}

// Column is one column of a Table, in order of pg_attribute.attnum, without dropped ones.
type Column struct {
	Name string
	// Type is as format_type writes it, qualified unless it is of pg_catalog.
	Type string
	// Collation is qualified, "" where it is the type's own.
	Collation string
	NotNull   bool
	// Default is the default's or the generated column's expression.
	Default string
	// Generated is pg_attribute.attgenerated and Identity attidentity, 0 where neither.
	Generated, Identity rune
	// Number is pg_attribute.attnum: dropped columns leave gaps.
	Number int
	// Missing is the value, as text, of rows that are older than the column, nil where there
	// is none or they have been rewritten since.
	Missing *string
	// Types are those of the server's own that it uses.
	Types []*Type
}

// Qualified is schema and name as SQL.
func (t *Table) Qualified() string { return Quote(t.Schema, t.Name) }

// Plain is schema and name with a dot between, as patterns and messages have it.
func (t *Table) Plain() string { return t.Schema + "." + t.Name }

// Partition tells whether it is one.
func (t *Table) Partition() bool { return t.ParentName != "" }

// Column returns the column of that name, or nil.
func (t *Table) Column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

const tablesQuery = `SELECT n.nspname, c.relname, c.oid, c.relkind::text, c.relpersistence = 'u',
	coalesce(pn.nspname, ''), coalesce(pc.relname, ''), coalesce(pg_get_expr(c.relpartbound, c.oid), ''), coalesce(pg_get_partkeydef(c.oid), ''),
	coalesce((SELECT array_agg(hn.nspname || '.' || hc.relname ORDER BY h.inhseqno) FROM pg_inherits h JOIN pg_class hc ON hc.oid = h.inhparent
		JOIN pg_namespace hn ON hn.oid = hc.relnamespace WHERE h.inhrelid = c.oid AND NOT c.relispartition), '{}'),
	c.relreplident::text,
	coalesce((SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY k(col, n)
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.col WHERE x.indrelid = c.oid AND x.indisprimary AND k.n <= x.indnkeyatts), '{}'),
	coalesce((SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY k(col, n)
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.col WHERE x.indrelid = c.oid AND k.n <= x.indnkeyatts
		AND (c.relreplident = 'd' AND x.indisprimary OR c.relreplident = 'i' AND x.indisreplident)), '{}'),
	c.reltuples::bigint, coalesce(pg_table_size(c.oid), 0), coalesce(pg_total_relation_size(c.oid), 0), c.relrowsecurity,
	(SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attisdropped)::int
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition LEFT JOIN pg_class pc ON pc.oid = i.inhparent LEFT JOIN pg_namespace pn ON pn.oid = pc.relnamespace
	WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
	ORDER BY n.nspname, c.relname`

const columnsQuery = `SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod),
	CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0 THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) ELSE '' END,
	a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attgenerated::text, a.attidentity::text,
	a.attnum, CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
	WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

// Tables reads the tables of a server that keep meets, ordered by schema and name
// (byte by byte). Members of extensions and temporary tables are left out.
func Tables(ctx context.Context, conn *pgx.Conn, keep func(schema, name string) bool) ([]*Table, error) {
	rows, err := conn.Query(ctx, tablesQuery)
	if err != nil {
		return nil, err
	}
	var all []*Table
	var kind, identity string
	t := new(Table)
	_, err = pgx.ForEachRow(rows, []any{
		&t.Schema, &t.Name, &t.OID, &kind, &t.Unlogged, &t.ParentSchema, &t.ParentName, &t.Bound, &t.PartitionKey,
		&t.Parents, &identity, &t.PrimaryKey, &t.IdentityColumns, &t.Rows, &t.Heap, &t.Bytes, &t.Security, &t.Dropped,
	}, func() error {
		if !keep(t.Schema, t.Name) {
			return nil
		}
		one := *t
		one.Kind, one.Identity = letter(kind), letter(identity)
		for _, names := range []*[]string{&one.PrimaryKey, &one.IdentityColumns, &one.Parents} {
			if len(*names) == 0 {
				*names = nil
			}
		}
		all = append(all, &one)
		t.PrimaryKey, t.IdentityColumns, t.Parents = nil, nil, nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, columns(ctx, conn, all)
}

func columns(ctx context.Context, conn *pgx.Conn, all []*Table) error {
	byOID := make(map[uint32]*Table, len(all))
	oids := make([]uint32, len(all))
	for i, t := range all {
		oids[i], byOID[t.OID] = t.OID, t
	}
	rows, err := conn.Query(ctx, columnsQuery, oids)
	if err != nil {
		return err
	}
	var oid uint32
	var c Column
	var generated, identity string
	into := []any{&oid, &c.Name, &c.Type, &c.Collation, &c.NotNull, &c.Default, &generated, &identity, &c.Number, &c.Missing}
	_, err = pgx.ForEachRow(rows, into, func() error {
		c.Generated, c.Identity = letter(generated), letter(identity)
		byOID[oid].Columns = append(byOID[oid].Columns, c)
		c.Missing = nil
		return nil
	})
	if err != nil {
		return err
	}
	return types(ctx, conn, byOID, oids)
}

// letter is the only letter of a value of type "char", 0 for none.
func letter(text string) rune {
	for _, r := range text {
		return r
	}
	return 0
}

// Index returns tables by schema and name with a dot between.
func Index(all []*Table) map[string]*Table {
	m := make(map[string]*Table, len(all))
	for _, t := range all {
		m[t.Plain()] = t
	}
	return m
}
