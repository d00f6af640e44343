package migrate

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// typeSQL makes a type that the replica lacks as the primary's catalogs have it: an enum or
// a domain.
func (r *replica) typeSQL(ctx context.Context, s *Step) (string, error) {
	full := feed.Quote(s.Schema, s.Name)
	have, err := find1(ctx, r.conn, "SELECT 'yes' WHERE to_regtype($1) IS NOT NULL", full)
	if err != nil || have != "" {
		return "", err
	}
	sql, err := find1(ctx, r.primary, `SELECT CASE t.typtype
		WHEN 'e' THEN format('CREATE TYPE %I.%I AS ENUM (%s)', n.nspname, t.typname, (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
		WHEN 'd' THEN format('CREATE DOMAIN %I.%I AS %s%s%s%s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod), coalesce(' DEFAULT ' || t.typdefault, ''),
			CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END,
			coalesce((SELECT string_agg(format(' CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid)), '') FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'), ''))
		END FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typname = $2 AND t.typtype IN ('e', 'd')`, s.Schema, s.Name)
	if err != nil {
		return "", err
	}
	if sql == "" {
		return "", fmt.Errorf("type %s is missing on %s, and is neither an enum nor a domain; make it there first (it may be an extension's)", full, r.run.Target.Name)
	}
	return "CREATE SCHEMA IF NOT EXISTS " + quoted(s.Schema) + "; " + sql, nil
}

// generatedSQL adds a generated column as the primary has it.
func (r *replica) generatedSQL(ctx context.Context, s *Step) (string, error) {
	return find1(ctx, r.primary, `SELECT format('ALTER TABLE %I.%I ADD COLUMN IF NOT EXISTS %I %s GENERATED ALWAYS AS (%s) STORED', n.nspname, c.relname, a.attname,
		format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attgenerated = 's' AND n.nspname = $1 AND c.relname = $2 AND a.attname = $3`, s.Schema, s.Name, s.Column)
}

// keysSQL makes the constraints and indexes of a table that the replica lacks, by their
// names. Foreign keys to tables that are not there are left out.
func (r *replica) keysSQL(ctx context.Context, s *Step) (string, error) {
	const query = `SELECT k.conname, format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)),
			coalesce(k.confrelid::regclass::text, ''), 1, k.contype = 'f'
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE k.contype IN ('c', 'p', 'u', 'x', 'f') AND k.conparentid = 0 AND k.conislocal AND n.nspname = $1 AND c.relname = $2
		UNION ALL SELECT i.relname, pg_get_indexdef(i.oid), '', 2, false FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
		JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE x.indisvalid AND NOT i.relispartition AND n.nspname = $1 AND c.relname = $2 AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))
		ORDER BY 4, 5, 1`
	const names = `SELECT k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
		UNION SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`
	rows, err := r.conn.Query(ctx, names, s.Schema, s.Name)
	if err != nil {
		return "", err
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	there := map[string]bool{}
	for _, name := range have {
		there[name] = true
	}
	if rows, err = r.primary.Query(ctx, query, s.Schema, s.Name); err != nil {
		return "", err
	}
	type key struct{ name, sql, other string }
	var want []key
	var k key
	var order int
	var foreign bool
	if _, err := pgx.ForEachRow(rows, []any{&k.name, &k.sql, &k.other, &order, &foreign}, func() error { want = append(want, k); return nil }); err != nil {
		return "", err
	}
	var sql []string
	for _, k := range want {
		if there[k.name] {
			continue
		}
		if k.other != "" {
			other, err := find1(ctx, r.conn, "SELECT 'yes' WHERE to_regclass($1) IS NOT NULL", k.other)
			if err != nil {
				return "", err
			}
			if other == "" {
				continue
			}
		}
		sql = append(sql, k.sql)
	}
	return strings.Join(sql, "; "), nil
}
