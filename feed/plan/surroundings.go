package plan

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// surroundings are what fed tables need besides themselves.
type surroundings struct {
	schemas    []string
	types      []usedType
	extensions []usedExtension
	collations []usedCollation
}

// usedType is a type of a column, of its elements, its base or its attributes.
type usedType struct {
	Schema, Name string
	// Kind is pg_type.typtype: b base, e enum, d domain, c composite, r range, m multirange.
	Kind string
	// Labels are those of an enum, in their order.
	Labels []string
	// Extension is the one that has the type, "" if none.
	Extension string
}

// usedExtension is one whose type, function or operator class a table needs.
type usedExtension struct{ Name, Version string }

// usedCollation is one that a column names; Version is "" where it has none.
type usedCollation struct{ Schema, Name, Provider, Locale, Version string }

// typesQuery follows the types of the columns down to what they are made of.
const typesQuery = `WITH RECURSIVE used (oid) AS (
	SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped
	UNION
	SELECT more.oid FROM used u JOIN pg_type t ON t.oid = u.oid
		LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
		CROSS JOIN LATERAL (VALUES (t.typelem), (t.typbasetype), (r.rngsubtype), (a.atttypid)) more (oid)
	WHERE more.oid <> 0)
SELECT n.nspname::text, t.typname::text, t.typtype::text,
	coalesce((SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '{}'),
	coalesce((SELECT x.extname::text FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
		WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'), '')
	FROM used JOIN pg_type t ON t.oid = used.oid JOIN pg_namespace n ON n.oid = t.typnamespace
	WHERE NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) ORDER BY 1, 2`

// extensionsQuery finds the extensions that the tables, their indexes, constraints and
// defaults depend on.
const extensionsQuery = `WITH own (classid, objid) AS (
	SELECT 'pg_class'::regclass, c FROM unnest($1::oid[]) c
	UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i WHERE i.indrelid = ANY($1)
	UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = ANY($1)
	UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = ANY($1))
SELECT DISTINCT x.extname::text, x.extversion FROM own
	JOIN pg_depend d ON d.classid = own.classid AND d.objid = own.objid
	JOIN pg_depend e ON e.classid = d.refclassid AND e.objid = d.refobjid AND e.refclassid = 'pg_extension'::regclass AND e.deptype = 'e'
	JOIN pg_extension x ON x.oid = e.refobjid
	ORDER BY 1`

// collationsQuery reads by to_jsonb what has had other names: collcollate of ICU collations
// became colliculocale in 15 and colllocale in 17.
const collationsQuery = `SELECT DISTINCT n.nspname::text, c.collname::text, c.collprovider::text,
	coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', to_jsonb(c) ->> 'collcollate', ''), coalesce(c.collversion, '')
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_collation c ON c.oid = a.attcollation JOIN pg_namespace n ON n.oid = c.collnamespace
	WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped AND c.collprovider <> 'd' ORDER BY 1, 2`

// surround reads what the tables with these oids need.
func surround(ctx context.Context, conn *pgx.Conn, oids []uint32) (s surroundings, err error) {
	if s.types, err = collect[usedType](ctx, conn, typesQuery, oids); err != nil {
		return s, err
	}
	if s.extensions, err = collect[usedExtension](ctx, conn, extensionsQuery, oids); err != nil {
		return s, err
	}
	s.collations, err = collect[usedCollation](ctx, conn, collationsQuery, oids)
	// An extension that only a type of a type needs.
	for _, t := range s.types {
		if t.Extension == "" {
			continue
		}
		known := false
		for _, x := range s.extensions {
			known = known || x.Name == t.Extension
		}
		if !known {
			s.extensions = append(s.extensions, usedExtension{Name: t.Extension})
		}
	}
	return s, err
}

// collect returns the rows of a query as values of a struct with a field per column.
func collect[T any](ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}
