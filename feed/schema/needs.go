package schema

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// needed finds, by pg_depend, what tables cannot be without: from each table over its
// columns, their defaults and the checks on to types, functions, operators, collations,
// extensions and schemas. Relations are not followed beyond the tables asked for, but for
// composite types and for sequences. $2 has what is asked of the tables beside that:
// policies where it is at least 1, indexes, other constraints and statistics at 2.
const needed = `WITH RECURSIVE own(class, oid) AS (
		SELECT 'pg_class'::regclass::oid, unnest($1::oid[])
		UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = ANY($1)
		UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = ANY($1) AND (contype = 'c' OR $2 >= 2 AND contype <> 'f')
		UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy WHERE polrelid = ANY($1) AND $2 >= 1
		UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = ANY($1) AND $2 >= 2
		UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxrelid = ANY($1) AND $2 >= 2),
	need(class, oid) AS (SELECT class, oid FROM own
		UNION SELECT f.class, f.oid FROM need n CROSS JOIN LATERAL (
			SELECT d.refclassid AS class, d.refobjid AS oid FROM pg_depend d WHERE d.classid = n.class AND d.objid = n.oid AND d.deptype <> 'p'
			UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c WHERE n.class = 'pg_type'::regclass AND c.contypid = n.oid) f
		WHERE f.oid >= 16384 AND (f.class <> 'pg_class'::regclass OR (SELECT relkind FROM pg_class WHERE oid = f.oid) IN ('c', 'S')))
	SELECT n.class, n.oid, coalesce((SELECT relkind::text FROM pg_class WHERE oid = n.oid AND n.class = 'pg_class'::regclass), ''),
		(pg_identify_object(n.class, n.oid, 0)).identity,
		EXISTS (SELECT FROM pg_depend WHERE classid = n.class AND objid = n.oid AND deptype = 'e')
	FROM need n WHERE n.class = ANY($3) OR n.class = 'pg_class'::regclass ORDER BY 1, 2`

// Classes of objects: the catalogs' OIDs are the same in every version.
const (
	classRelation   = 1259
	classType       = 1247
	classConstraint = 2606
	classSchema     = 2615
	classExtension  = 3079
	classPolicy     = 3256
	classStatistics = 3381
)

// surroundings are the classes of objects that are brought for tables that need them:
// types, functions, operators, their classes and families, collations, conversions,
// schemas, extensions, and text search.
var surroundings = []uint32{classType, 1255, 2617, 2616, 2753, 3456, 2607, classSchema, classExtension, 3600, 3601, 3602, 3764}

// surrounding is one object that the tables need.
type surrounding struct {
	object
	relation string // pg_class.relkind, "" for what is no relation
	identity string // as pg_identify_object writes it, the same on every server
	member   bool   // an extension makes it
}

func needs(ctx context.Context, primary *pgx.Conn, tables []*feed.Table, need Need) (map[object]surrounding, error) {
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.OID
	}
	rows, err := primary.Query(ctx, needed, oids, int(need), surroundings)
	if err != nil {
		return nil, err
	}
	all := make(map[object]surrounding)
	var s surrounding
	_, err = pgx.ForEachRow(rows, []any{&s.class, &s.oid, &s.relation, &s.identity, &s.member}, func() error {
		all[s.object] = s
		return nil
	})
	return all, err
}

// identities names objects of the primary as every server does; objects that have gone
// meanwhile are left out.
func identities(ctx context.Context, primary *pgx.Conn, objects []object) (map[object]string, error) {
	var classes, oids []uint32
	for _, o := range objects {
		classes, oids = append(classes, o.class), append(oids, o.oid)
	}
	rows, err := primary.Query(ctx, `SELECT class, oid, (pg_identify_object(class, oid, 0)).identity FROM unnest($1::oid[], $2::oid[]) o(class, oid)`, classes, oids)
	if err != nil {
		return nil, err
	}
	all := make(map[object]string, len(objects))
	var o object
	var identity *string
	_, err = pgx.ForEachRow(rows, []any{&o.class, &o.oid, &identity}, func() error {
		if identity != nil {
			all[o] = *identity
		}
		return nil
	})
	return all, err
}

// inventory is what a server has: identities by class of object.
type inventory map[uint32]map[string]bool

// take lists the server's objects of the given classes, but for those that every server has.
func take(ctx context.Context, conn *pgx.Conn, classes []uint32) (inventory, error) {
	have := make(inventory)
	for _, class := range slices.Compact(slices.Sorted(slices.Values(classes))) {
		have[class] = make(map[string]bool)
		var catalog string
		if err := conn.QueryRow(ctx, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1`, class).Scan(&catalog); err != nil {
			return nil, err
		}
		rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT i.identity FROM %s o, pg_identify_object(%d, o.oid, 0) i WHERE o.oid >= 16384 OR %[2]d = %d`, catalog, class, classSchema))
		if err != nil {
			return nil, err
		}
		var identity *string
		if _, err = pgx.ForEachRow(rows, []any{&identity}, func() error {
			if identity != nil {
				have[class][*identity] = true
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// has tells whether the server has the object of that identity.
func (have inventory) has(class uint32, identity string) bool { return have[class][identity] }
