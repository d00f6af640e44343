package dump

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// Tables that inherit from each other cannot be made by LIKE: every column of theirs would be
// a local one, and stay when it is dropped from the parent. So a family is made without columns
// first, and gets them one by one as ALTER TABLE ADD COLUMN hands them down. That also gives
// each table its own order of them: a column that a parent got late stands behind its heirs' own.

// inherits tells whether it inherits from a table of the copy, or one inherits from it.
func (t *table) inherits() bool {
	return t.Kind == 'r' && !t.Partition() && len(t.above)+len(t.below) > 0
}

// parentList is what follows the name in a definition without columns.
func (t *table) parentList() string {
	return "()" + t.inheritsFrom()
}

func (t *table) inheritsFrom() string {
	if len(t.above) == 0 {
		return ""
	}
	names := make([]string, len(t.above))
	for i, above := range t.above {
		names[i] = above.staged()
	}
	return " INHERITS (" + strings.Join(names, ", ") + ")"
}

// heir is a table of a family that is being made.
type heir struct {
	*table
	// columns are in the order that they should get, of which have are there.
	columns []heirColumn
	have    map[string]bool
	heirs   []*heir // all that inherit from it, also by others
}

// heirColumn is one column. Local is set where it is not only inherited; Uses are the columns
// that a generated one is computed from.
type heirColumn struct {
	Name       string
	Local      bool
	Definition string
	Uses       []string
}

// heirColumns lists the columns of table $1. $2 are the models of its parents in the copy: what
// it inherits from others is its own until the swap.
const heirColumns = `SELECT a.attname::text, a.attislocal OR NOT EXISTS (SELECT FROM pg_attribute p WHERE p.attrelid = ANY($2) AND p.attname = a.attname AND NOT p.attisdropped),
	format_type(a.atttypid, a.atttypmod)
		|| coalesce((SELECT format(' COLLATE %I.%I', n.nspname, l.collname) FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace WHERE l.oid = a.attcollation AND l.oid <> t.typcollation), '')
		|| CASE a.attgenerated WHEN '' THEN '' ELSE format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid), CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) END,
	coalesce((SELECT array_agg(u.attname::text) FROM pg_depend p JOIN pg_attribute u ON u.attrelid = p.refobjid AND u.attnum = p.refobjsubid
		WHERE a.attgenerated <> '' AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid AND u.attnum <> a.attnum
		AND (p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid OR p.classid = 'pg_class'::regclass AND p.objid = a.attrelid AND p.objsubid = a.attnum)), '{}')
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

// heirSettings writes what the columns of table $1 have besides their types, for one that SQL
// calls $2. $3 are those that may be null on the primary: the model, which pg_dump has written, has NOT
// NULL of its parents too. From PostgreSQL 18 on NOT NULL is a constraint, which heirs cannot lack.
const heirSettings = `SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I ', $2::text, a.attname) || s FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	CROSS JOIN LATERAL (VALUES
		(1, (SELECT 'SET DEFAULT ' || pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = a.attrelid AND adnum = a.attnum AND a.attgenerated = '')),
		(2, CASE WHEN a.attstorage <> t.typstorage THEN 'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
		(3, 'SET COMPRESSION ' || CASE to_jsonb(a) ->> 'attcompression' WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END),
		(4, CASE WHEN a.attnotnull AND current_setting('server_version_num')::int < 180000 AND a.attname <> ALL($3) THEN 'SET NOT NULL' END)) v(n, s)
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND s IS NOT NULL ORDER BY a.attnum, n`

// heirConstraints writes those of table $1 that are not only inherited, for one that SQL calls
// $2; $3 is as $2 of heirColumns.
const heirConstraints = `SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2::text, c.conname, pg_get_constraintdef(c.oid)) FROM pg_constraint c
	WHERE c.conrelid = $1 AND c.contype IN ('c', 'n') AND c.convalidated AND (c.conislocal OR NOT EXISTS (SELECT FROM pg_constraint p WHERE p.conrelid = ANY($3) AND p.contype = c.contype
		AND NOT p.connoinherit AND CASE WHEN c.contype = 'c' THEN p.conname = c.conname ELSE (SELECT attname FROM pg_attribute WHERE attrelid = p.conrelid AND attnum = p.conkey[1])
			= (SELECT attname FROM pg_attribute WHERE attrelid = c.conrelid AND attnum = c.conkey[1]) END)) ORDER BY c.conname`

// heirLast writes what needs all of these: identities, which are not inherited, and comments.
const heirLast = `SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s)', $2::text, a.attname,
		CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END)
		FROM pg_attribute a JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
		JOIN pg_sequence q ON q.seqrelid = d.objid WHERE a.attrelid = $1 AND a.attidentity <> ''
	UNION ALL SELECT format('COMMENT ON COLUMN %s.%I IS %L', $2::text, attname, col_description(attrelid, attnum)) FROM pg_attribute
		WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NOT NULL
	UNION ALL SELECT format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, $2::text, obj_description(oid, 'pg_constraint')) FROM pg_constraint
		WHERE conrelid = $1 AND contype IN ('c', 'n') AND convalidated AND obj_description(oid, 'pg_constraint') IS NOT NULL`

// inherit writes the statements that give new tables which inherit from each other their columns
// and what hangs on these.
func (c *copying) inherit(ctx context.Context) (string, error) {
	family, err := c.heirs(ctx)
	if err != nil {
		return "", err
	}
	var statements []string
	for _, one := range additions(family) {
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s", one.to.staged(), one.column))
	}
	// A constraint that an heir has for itself too comes there before it is handed down.
	for _, query := range []string{heirSettings, heirConstraints, heirLast} {
		for _, h := range slices.Backward(family) {
			args := []any{h.model, h.staged()}
			switch query {
			case heirSettings:
				args = append(args, h.nullable())
			case heirConstraints:
				args = append(args, h.parentModels())
			}
			some, err := c.write(ctx, query, args...)
			if err != nil {
				return "", err
			}
			statements = append(statements, some...)
		}
	}
	for _, h := range family {
		extras, err := c.extras(ctx, h.table)
		if err != nil {
			return "", err
		}
		statements = append(statements, extras...)
	}
	if len(statements) == 0 {
		return "", nil
	}
	return strings.Join(statements, ";\n") + ";\n", nil
}

// heirs are the tables that inherit, parents first.
func (c *copying) heirs(ctx context.Context) (all []*heir, err error) {
	made := make(map[*table]*heir)
	for _, t := range byDepth(c.tables) {
		if t.inherits() && t.model != 0 { // 0 is only printed
			if made[t], err = c.heir(ctx, t); err != nil {
				return nil, err
			}
			all = append(all, made[t])
		}
	}
	for _, h := range slices.Backward(all) {
		for _, t := range h.below {
			if made[t] == nil {
				continue
			}
			for _, one := range append([]*heir{made[t]}, made[t].heirs...) {
				if !slices.Contains(h.heirs, one) {
					h.heirs = append(h.heirs, one)
				}
			}
		}
	}
	return all, nil
}

// nullable are the columns that may be null on the primary.
func (t *table) nullable() []string {
	names := []string{}
	for _, column := range t.Columns {
		if !column.NotNull {
			names = append(names, column.Name)
		}
	}
	return names
}

func (t *table) parentModels() []uint32 {
	models := make([]uint32, len(t.above))
	for i, above := range t.above {
		models[i] = above.model
	}
	return models
}

// heir reads the columns of t's model, and puts them in the primary's order: pg_dump, by which
// the first one came, has those first that are inherited. The replica's own come last.
func (c *copying) heir(ctx context.Context, t *table) (*heir, error) {
	rows, err := c.target.Query(ctx, heirColumns, t.model, t.parentModels())
	if err != nil {
		return nil, err
	}
	h := &heir{table: t, have: make(map[string]bool)}
	if h.columns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[heirColumn]); err != nil {
		return nil, err
	}
	place := func(column heirColumn) int {
		if theirs := t.Column(column.Name); theirs != nil {
			return theirs.Number
		}
		return 1 << 16
	}
	slices.SortStableFunc(h.columns, func(a, b heirColumn) int { return place(a) - place(b) })
	return h, nil
}

// addition is one ALTER TABLE ADD COLUMN, in SQL.
type addition struct {
	to     *heir
	column string
}

// additions orders the columns of a family, parents first, so that each table gets them in the
// order that it wants, as far as that can be had: an heir is given what is its own, too, before
// it comes by inheritance.
func additions(family []*heir) (all []addition) {
	for to, column := next(family); to != nil; to, column = next(family) {
		for _, h := range append([]*heir{to}, to.heirs...) {
			h.have[column.Name] = true
		}
		all = append(all, addition{to, feed.Quote("", column.Name) + " " + column.Definition})
	}
	return all
}

// next finds a table and the column that it should be given, nil where there is none: that which
// passes over the fewest that it and its heirs want before.
func next(family []*heir) (to *heir, column heirColumn) {
	least := 0
	for _, h := range family {
		for _, one := range h.columns {
			if !h.may(one) {
				continue
			}
			n := h.passedOver(one.Name)
			if n == 0 {
				return h, one
			}
			if to == nil || n < least {
				to, column, least = h, one, n
			}
		}
	}
	return to, column
}

// may tells whether it can be given a column: that is its own, and what it uses is there, and so is
// the column where an heir is to be given it by itself.
func (h *heir) may(column heirColumn) bool {
	lacks := func(name string) bool { return !h.have[name] }
	return column.Local && lacks(column.Name) && !slices.ContainsFunc(column.Uses, lacks) &&
		!slices.ContainsFunc(h.heirs, func(below *heir) bool {
			return !below.have[column.Name] && slices.ContainsFunc(below.columns, func(c heirColumn) bool { return c.Name == column.Name && c.Local })
		})
}

// passedOver counts the columns that it lacks and wants before that one, and those of its heirs.
func (h *heir) passedOver(column string) (n int) {
	for _, one := range append([]*heir{h}, h.heirs...) {
		if one.have[column] {
			continue
		}
		for _, c := range one.columns {
			if c.Name == column {
				break
			}
			if !one.have[c.Name] {
				n++
			}
		}
	}
	return n
}
