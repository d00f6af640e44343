package logical

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// A constraint that was never validated (CHECK, and from PostgreSQL 18 on NOT NULL) leaves rows
// alone that are older than it, and refuses them where they are copied to. So it is added after
// the copy, as it was on the primary; what is written afterwards it has let through there.

// unvalidatedQuery lists such constraints of tables, but those that partitions have from the
// table above them, and those that are never enforced.
const unvalidatedQuery = `SELECT n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname), k.conname::text, pg_get_constraintdef(k.oid), k.contype = 'n'
	FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE k.contype IN ('c', 'n') AND NOT k.convalidated AND k.coninhcount = 0 AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true)
	AND n.nspname || '.' || c.relname = ANY ($1) ORDER BY 1, 3`

type constraint struct {
	table, sql, name, definition string // sql is the table as SQL
	null                         bool   // it is NOT NULL
}

func unvalidated(ctx context.Context, conn *pgx.Conn, tables []string) ([]constraint, error) {
	rows, err := conn.Query(ctx, unvalidatedQuery, tables)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k constraint, err error) {
		err = row.Scan(&k.table, &k.sql, &k.name, &k.definition, &k.null)
		return k, err
	})
}

// loosen takes the primary's such constraints off the replica's tables while rows are copied. One of
// the replica's own is nobody else's, and one that the primary has validated since lets its rows in.
func (s *session) loosen(ctx context.Context, st *standing, all []*table) error {
	if s.run.Print || st.sub != nil && st.sub.has(leaves(all)) {
		return nil
	}
	var names []string
	for _, t := range all {
		if states(st)[t.Plain()] != "r" {
			names = append(names, t.Plain())
		}
	}
	open, err := unvalidated(ctx, s.primary, names)
	if err != nil {
		return s.failed(s.run.Primary, "look for constraints", err)
	}
	found, err := unvalidated(ctx, s.target, names)
	if err != nil {
		return s.failed(s.run.Target, "look for constraints", err)
	}
	var drop []string
	for _, k := range found {
		if !slices.ContainsFunc(open, func(o constraint) bool { return o.table == k.table && o.name == k.name }) {
			continue
		}
		drop = append(drop, "ALTER TABLE "+k.sql+" DROP CONSTRAINT "+feed.Quote("", k.name))
	}
	if len(drop) == 0 {
		return nil
	}
	return s.run.Do(ctx, s.target, feed.Step{
		On: s.run.Target, What: "let in the rows that constraints without validation leave alone", SQL: strings.Join(drop, "; "), Next: busy,
	})
}

// tighten adds the primary's constraints of that kind that the replica lacks.
func (s *session) tighten(ctx context.Context, all []*table) error {
	var names []string
	for _, t := range all {
		names = append(names, t.Plain())
	}
	wanted, err := unvalidated(ctx, s.primary, names)
	if err != nil {
		return s.failed(s.run.Primary, "look for constraints", err)
	}
	have, err := column[string](ctx, s.target, `SELECT n.nspname || '.' || c.relname || '.' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname || '.' || c.relname = ANY ($1)`, names)
	if err != nil {
		return s.failed(s.run.Target, "look for constraints", err)
	}
	byName := make(map[string]*table)
	for _, t := range all {
		byName[t.Plain()] = t
	}
	var add []string
	for _, k := range wanted {
		// One that uses a column that is not fed cannot be here.
		if slices.Contains(have, k.table+"."+k.name) || k.null && s.to < v18 || byName[k.table].columns != nil {
			continue
		}
		add = append(add, "ALTER TABLE "+k.sql+" ADD CONSTRAINT "+feed.Quote("", k.name)+" "+k.definition)
	}
	if len(add) == 0 {
		return nil
	}
	return s.run.Do(ctx, s.target, feed.Step{On: s.run.Target, What: "add the constraints without validation", SQL: strings.Join(add, "; "), Next: busy})
}
