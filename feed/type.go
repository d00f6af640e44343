package feed

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Type is a type that somebody made and a column uses, directly or within an array, a
// range, a domain or a composite type. Types of extensions are not told of.
type Type struct {
	Schema, Name string
	// Kind is pg_type.typtype: 'e' an enum, 'd' a domain, 'c' a composite type.
	Kind rune
	// Labels are an enum's, in order.
	Labels []string
	// Base, NotNull, Default and Checks are a domain's; Base is as Column.Type.
	Base    string
	NotNull bool
	Default string
	Checks  []Check
	// Attributes are those of a composite type.
	Attributes []Attribute
}

// Check is a constraint of a domain, by name and as SQL.
type Check struct{ Name, Definition string }

// Attribute is one of a composite type; Type is as Column.Type.
type Attribute struct{ Name, Type string }

// Qualified is schema and name as SQL.
func (t *Type) Qualified() string { return Quote(t.Schema, t.Name) }

const typesQuery = `WITH RECURSIVE used(relation, number, type) AS (
		SELECT attrelid, attnum, atttypid FROM pg_attribute WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped
		UNION SELECT u.relation, u.number, next.type FROM used u JOIN pg_type t ON t.oid = u.type CROSS JOIN LATERAL (
			SELECT t.typelem WHERE t.typcategory = 'A'
			UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
			UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
			UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
		) next(type))
	SELECT u.relation, a.attname, t.oid, n.nspname, t.typname, t.typtype::text,
		ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
		CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) ELSE '' END, t.typnotnull, coalesce(t.typdefault, ''),
		(SELECT coalesce(json_agg(json_build_object('Name', c.conname, 'Definition', pg_get_constraintdef(c.oid)) ORDER BY c.conname), '[]')
			FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'),
		(SELECT coalesce(json_agg(json_build_object('Name', m.attname, 'Type', format_type(m.atttypid, m.atttypmod)) ORDER BY m.attnum), '[]')
			FROM pg_attribute m WHERE t.typtype = 'c' AND m.attrelid = t.typrelid AND m.attnum > 0 AND NOT m.attisdropped)
	FROM used u JOIN pg_type t ON t.oid = u.type JOIN pg_namespace n ON n.oid = t.typnamespace
	JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.number
	WHERE t.typtype IN ('e', 'd', 'c') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
	ORDER BY u.relation, u.number, n.nspname, t.typname`

// types fills in which types the columns of the tables use; a type is there once, however
// many use it.
func types(ctx context.Context, conn *pgx.Conn, byOID map[uint32]*Table, oids []uint32) error {
	rows, err := conn.Query(ctx, typesQuery, oids)
	if err != nil {
		return err
	}
	known := make(map[uint32]*Type)
	var relation, oid uint32
	var column, kind string
	var t Type
	into := []any{&relation, &column, &oid, &t.Schema, &t.Name, &kind, &t.Labels, &t.Base, &t.NotNull, &t.Default, &t.Checks, &t.Attributes}
	_, err = pgx.ForEachRow(rows, into, func() error {
		if known[oid] == nil {
			one := t
			one.Kind = letter(kind)
			known[oid] = &one
		}
		t = Type{}
		if c := byOID[relation].Column(column); c != nil {
			c.Types = append(c.Types, known[oid])
		}
		return nil
	})
	return err
}
