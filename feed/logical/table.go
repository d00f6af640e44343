package logical

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// table is one table of the feed, as the primary has it and as it is to be published.
type table struct {
	*feed.Table
	// columns are those that are fed, nil for all; where is what their rows must meet. Of a
	// partition both may be those of the table that it is a part of.
	columns []string
	where   string

	// Owned says that the role of primary.url may publish it, read that the role of the source
	// may read what is fed of it, whole that row-level security hides nothing from that role.
	owned, read, usage, whole bool
	owner                     string
	// key are the columns that tell rows apart, nil where nothing does; full is set where all
	// columns do. candidate is an index that could be the identity, or "".
	key       []string
	full      bool
	candidate string
}

// leaf tells whether the table has rows of its own that can be published.
func (t *table) leaf() bool { return t.Kind == 'r' && !t.Unlogged }

// published is how the publication names it.
func (t *table) published() string {
	text := "ONLY " + t.Qualified()
	if t.columns != nil {
		text += " (" + names(t.columns) + ")"
	}
	if t.where != "" {
		text += " WHERE (" + t.where + ")"
	}
	return text
}

func names(columns []string) string {
	var all []string
	for _, c := range columns {
		all = append(all, feed.Quote("", c))
	}
	return strings.Join(all, ", ")
}

// tables reads what the feed is for: what the configuration names, the partitions of that,
// and the partitioned tables above them. Partitions that a pattern excludes stay out.
func (s *session) tables(ctx context.Context) ([]*table, error) {
	all, err := feed.Tables(ctx, s.primary, func(string, string) bool { return true })
	if err != nil {
		return nil, s.failed(s.run.Primary, "read the tables", err)
	}
	chosen := choose(s.run.Selection, all)
	if err := s.facts(ctx, chosen); err != nil {
		return nil, s.failed(s.run.Primary, "read the tables' keys and privileges", err)
	}
	return chosen, nil
}

// choose picks the tables of a selection, in the order of all.
func choose(selection feed.Selection, all []*feed.Table) []*table {
	byName := feed.Index(all)
	// from is the table that brings t in: itself, or the nearest one above it that is named.
	from := func(t *feed.Table) *feed.Table {
		if selection.Has(t.Schema, t.Name) {
			return t
		}
		if selection.Excludes(t.Schema, t.Name) {
			return nil
		}
		for up := parent(byName, t); up != nil; up = parent(byName, up) {
			if selection.Has(up.Schema, up.Name) {
				return up
			}
		}
		return nil
	}
	picked := make(map[string]bool)
	for _, t := range all {
		if from(t) == nil {
			continue
		}
		picked[t.Plain()] = true
		for up := parent(byName, t); up != nil; up = parent(byName, up) {
			picked[up.Plain()] = true
		}
	}
	var chosen []*table
	for _, t := range all {
		if !picked[t.Plain()] {
			continue
		}
		one := &table{Table: t}
		for up := t; up != nil && one.columns == nil && one.where == ""; up = parent(byName, up) {
			one.columns, one.where = selection.Columns(up.Schema, up.Name), selection.Where(up.Schema, up.Name)
		}
		chosen = append(chosen, one)
	}
	return chosen
}

func parent(byName map[string]*feed.Table, t *feed.Table) *feed.Table {
	if !t.Partition() {
		return nil
	}
	return byName[t.ParentSchema+"."+t.ParentName]
}

// factsQuery asks for the privileges of the roles and for what tells rows apart. An index
// whose check is deferred does not.
const factsQuery = `SELECT c.oid, pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner)::text,
	c.relrowsecurity AND NOT coalesce((SELECT r.rolsuper OR r.rolbypassrls OR (NOT c.relforcerowsecurity AND pg_has_role(r.oid, c.relowner, 'USAGE'))
		FROM pg_roles r WHERE r.rolname = $2), true),
	coalesce((SELECT has_schema_privilege(r.oid, c.relnamespace, 'USAGE') FROM pg_roles r WHERE r.rolname = $2), true),
	coalesce((SELECT CASE WHEN f.columns IS NULL THEN has_table_privilege(r.oid, c.oid, 'SELECT')
			ELSE (SELECT coalesce(bool_and(has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')), true)
				FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = ANY (f.columns) AND a.attnum > 0 AND NOT a.attisdropped) END
		FROM pg_roles r WHERE r.rolname = $2), true),
	coalesce((SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY k(col, n)
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.col
		WHERE x.indrelid = c.oid AND k.n <= x.indnkeyatts AND x.indimmediate AND x.indisvalid
		AND (c.relreplident = 'd' AND x.indisprimary OR c.relreplident = 'i' AND x.indisreplident)), '{}'),
	coalesce((SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
		WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
		AND NOT EXISTS (SELECT FROM unnest(x.indkey::int2[]) WITH ORDINALITY k(col, n) JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.col
			WHERE k.n <= x.indnkeyatts AND (NOT a.attnotnull OR a.attgenerated <> ''))
		ORDER BY x.indisprimary DESC, x.indnkeyatts, i.relname LIMIT 1), '')
	FROM (SELECT (f ->> 'oid')::oid AS oid, CASE WHEN jsonb_typeof(f -> 'columns') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(f -> 'columns')) END AS columns
		FROM jsonb_array_elements($1::jsonb) f) f JOIN pg_class c ON c.oid = f.oid`

func (s *session) facts(ctx context.Context, chosen []*table) error {
	type question struct {
		OID     uint32   `json:"oid"`
		Columns []string `json:"columns"`
	}
	ask := make([]question, len(chosen))
	byOID := make(map[uint32]*table, len(chosen))
	for i, t := range chosen {
		ask[i], byOID[t.OID] = question{t.OID, t.columns}, t
	}
	rows, err := s.primary.Query(ctx, factsQuery, ask, s.run.Source.LoginUser())
	if err != nil {
		return err
	}
	var oid uint32
	var f table
	var hidden bool
	_, err = pgx.ForEachRow(rows, []any{&oid, &f.owned, &f.owner, &hidden, &f.usage, &f.read, &f.key, &f.candidate}, func() error {
		t := byOID[oid]
		t.owned, t.owner, t.whole, t.usage, t.read, t.candidate = f.owned, f.owner, !hidden, f.usage, f.read, f.candidate
		t.key, t.full = slices.Clone(f.key), t.Identity == 'f'
		f.key = nil
		return nil
	})
	return err
}

// leaves are the tables that are published.
func leaves(all []*table) (some []*table) {
	for _, t := range all {
		if t.leaf() {
			some = append(some, t)
		}
	}
	return some
}

// plain are the tables as other packages take them.
func plain(all []*table) []*feed.Table {
	some := make([]*feed.Table, len(all))
	for i, t := range all {
		some[i] = t.Table
	}
	return some
}
