package dump

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// Schemas of a copy that is being made; a number for each schema of the primary follows. In
// old are tables that were replaced and that a materialised view still reads, in views
// the materialised views that will take their place.
const (
	stagingPrefix = feed.JournalSchema + "_new_"
	shapePrefix   = feed.JournalSchema + "_shape_"
	oldPrefix     = feed.JournalSchema + "_old_"
	viewsPrefix   = feed.JournalSchema + "_views_"
)

// schemaNumbers gives every schema of the tables a number.
func schemaNumbers(tables []*table) map[string]int {
	numbers := make(map[string]int)
	for _, t := range tables {
		if _, known := numbers[t.Schema]; !known {
			numbers[t.Schema] = len(numbers) + 1
		}
	}
	return numbers
}

// clean drops what killed copies left: staging and shapes. Tables that a materialised view
// reads stay until that has been made anew.
func (c *copying) clean(ctx context.Context) error {
	var left []string
	err := c.target.QueryRow(ctx, `SELECT coalesce(array_agg(nspname::text ORDER BY nspname), '{}') FROM pg_namespace
		WHERE starts_with(nspname, $1) OR starts_with(nspname, $2)`, stagingPrefix, shapePrefix).Scan(&left)
	if err != nil {
		return &feed.Error{Server: c.run.Target.Name, Doing: "look for what was left half done", Err: err}
	}
	for _, name := range left {
		step := feed.Step{On: c.run.Target, What: "drop a copy that was not finished", SQL: "DROP SCHEMA " + feed.Quote("", name) + " CASCADE"}
		if err := c.run.Do(ctx, c.target, step); err != nil {
			return err
		}
	}
	return nil
}

// stage makes the new tables, empty, beside the live ones.
func (c *copying) stage(ctx context.Context) error {
	numbers := schemaNumbers(c.tables)
	var schemas strings.Builder
	for name, n := range numbers {
		fmt.Fprintf(&schemas, "CREATE SCHEMA %s%d; COMMENT ON SCHEMA %[1]s%[2]d IS %s;\n", stagingPrefix, n, feed.Literal(name))
		fmt.Fprintf(&schemas, "CREATE SCHEMA %s%d; COMMENT ON SCHEMA %[1]s%[2]d IS %s;\n", shapePrefix, n, feed.Literal(name))
	}
	step := feed.Step{On: c.run.Target, What: "make schemas for the new copy", SQL: schemas.String()}
	if err := c.run.Do(ctx, c.target, step); err != nil {
		return err
	}
	for _, t := range c.tables {
		t.staging = fmt.Sprintf("%s%d", stagingPrefix, numbers[t.Schema])
	}
	if err := c.models(ctx, numbers); err != nil {
		return err
	}
	var sql strings.Builder
	for _, t := range byDepth(c.tables) {
		text, err := c.create(ctx, t)
		if err != nil {
			return &feed.Error{Server: c.run.Target.Name, Doing: "look at " + t.Plain(), Err: err}
		}
		sql.WriteString(text)
	}
	if text, err := c.inherit(ctx); err == nil {
		sql.WriteString(text)
	} else {
		return &feed.Error{Server: c.run.Target.Name, Doing: "look at tables that inherit", Err: err}
	}
	return c.run.Do(ctx, c.target, feed.Step{On: c.run.Target, What: "make new tables beside the live ones", SQL: sql.String()})
}

// models finds for each table what its new one is made like. Where the replica has none, or
// it differs from the primary's, that is made by the primary's definition, with all that
// it is connected with by partitioning or inheritance.
func (c *copying) models(ctx context.Context, numbers map[string]int) error {
	replica, err := feed.Tables(ctx, c.target, func(schema, name string) bool { return c.byName[schema+"."+name] != nil })
	if err != nil {
		return &feed.Error{Server: c.run.Target.Name, Doing: "look at its tables", Err: err}
	}
	live := feed.Index(replica)
	for _, t := range c.tables {
		if have := live[t.Plain()]; have != nil {
			t.live, t.model, t.home, t.foreign = have.OID, have.OID, t.Schema, have.Kind == 'f'
		}
	}
	anew, err := c.differing(ctx, replica)
	if err != nil {
		return err
	}
	if len(anew) == 0 {
		return nil
	}
	var tables []*feed.Table
	for _, t := range anew {
		t.home = fmt.Sprintf("%s%d", shapePrefix, numbers[t.Schema])
		tables = append(tables, t.Table)
	}
	place := func(t *feed.Table) string { return fmt.Sprintf("%s%d", shapePrefix, numbers[t.Schema]) }
	if err := schema.Shape(ctx, c.run, c.saved(), tables, place); err != nil || c.run.Print {
		return err
	}
	for _, t := range anew {
		if err := c.target.QueryRow(ctx, `SELECT $1::text::regclass::oid`, feed.Quote(t.home, t.Name)).Scan(&t.model); err != nil {
			return &feed.Error{Server: c.run.Target.Name, Doing: "find the new " + t.Plain(), Err: err}
		}
	}
	return nil
}

// differing lists the tables whose definition on the replica is missing or not the primary's.
// Types that differ are mended at once, where no value is lost by it.
func (c *copying) differing(ctx context.Context, replica []*feed.Table) (anew []*table, err error) {
	var all []*feed.Table
	family := families(c.tables)
	wanted, foreign := make(map[int]bool), make(map[string]bool)
	for _, t := range c.tables {
		all = append(all, t.Table)
		if t.live == 0 || t.foreign {
			wanted[family[t.Plain()]] = true
			foreign[t.Plain()] = t.foreign
		}
	}
	var types []schema.Difference
	for _, d := range schema.Compare(schema.Listed(c.run, all), replica, configs.FeedDump) {
		t := c.byName[d.Schema+"."+d.Table]
		switch {
		case t == nil || !d.Matters || d.Kind == schema.KindMissingTable:
		case slices.Contains([]string{schema.KindEnumLabels, schema.KindDomain, schema.KindAttributes}, d.Kind) && !d.Destroys && len(d.Repair) > 0:
			types = append(types, d)
		case foreign[t.Plain()]:
		default:
			wanted[family[t.Plain()]] = true
			c.run.Note(c.run.Target.Name, "%s differs from the primary's (%s) and is made anew by that", t.Plain(), d)
		}
	}
	for _, sql := range schema.Repairs(types) {
		if err := c.run.Do(ctx, c.target, feed.Step{On: c.run.Target, What: "mend a type", SQL: sql}); err != nil {
			return nil, err
		}
	}
	for _, t := range c.tables {
		if wanted[family[t.Plain()]] {
			anew = append(anew, t)
		}
	}
	return anew, nil
}

// root is the table that t is in the end a partition of.
func (c *copying) root(t *feed.Table) *feed.Table {
	for {
		parent := c.byName[t.ParentSchema+"."+t.ParentName]
		if parent == nil {
			return t
		}
		t = parent
	}
}

// families numbers the tables, by schema and name, so that those are of one number that are
// connected by partitioning or inheritance.
func families(tables []*table) map[string]int {
	number := make(map[string]int, len(tables))
	var mark func(t *table, n int)
	mark = func(t *table, n int) {
		if number[t.Plain()] != 0 {
			return
		}
		number[t.Plain()] = n
		for _, other := range slices.Concat(t.above, t.below) {
			mark(other, n)
		}
	}
	for i, t := range tables {
		mark(t, i+1)
	}
	return number
}

// heads tells of each table by which of the primary's OIDs its family is called: see families.
func heads(tables []*table) func(*feed.Table) uint32 {
	family, oids := families(tables), make(map[int]uint32)
	for _, t := range tables {
		if oids[family[t.Plain()]] == 0 {
			oids[family[t.Plain()]] = t.OID
		}
	}
	return func(t *feed.Table) uint32 { return oids[family[t.Plain()]] }
}

// byDepth orders tables so that each follows what it inherits from or is a partition of.
func byDepth(tables []*table) []*table {
	var depth func(t *table) int
	depth = func(t *table) (n int) {
		for _, above := range t.above {
			n = max(n, depth(above)+1)
		}
		return n
	}
	sorted := slices.Clone(tables)
	slices.SortStableFunc(sorted, func(a, b *table) int { return depth(a) - depth(b) })
	return sorted
}

// Statements that make a table like $1, written by the replica for a table that SQL calls
// $2, with $3 in the place of the columns where that is given. The parts that no LIKE copies
// follow it.
const (
	likeQuery = `SELECT format('CREATE %sTABLE %s %s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, $2::text, coalesce($3::text,
			format('(LIKE %s INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS%s)', c.oid::regclass, CASE WHEN c.relispartition THEN ' EXCLUDING IDENTITY' ELSE '' END)))
		|| CASE WHEN c.relkind = 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(c.oid) ELSE '' END
		|| CASE WHEN c.relkind = 'r' AND m.amname IS NOT NULL THEN format(' USING %I', m.amname) ELSE '' END
		|| coalesce((SELECT ' WITH (' || string_agg(o, ', ') || ')' FROM (SELECT unnest(c.reloptions) o UNION ALL SELECT 'toast.' || unnest(t.reloptions)) os), '')
		|| coalesce(' TABLESPACE ' || quote_ident(s.spcname), ''),
		coalesce(p.oid, 0), coalesce(pg_get_expr(c.relpartbound, c.oid), ''), r.rolname = current_user, quote_ident(r.rolname)
		FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner LEFT JOIN pg_am m ON m.oid = c.relam LEFT JOIN pg_class t ON t.oid = c.reltoastrelid LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
		LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition LEFT JOIN pg_class p ON p.oid = i.inhparent WHERE c.oid = $1`
	extrasQuery = `SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STATISTICS %s', $2::text, attname, attstattarget) FROM pg_attribute
			WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0
		UNION ALL SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I SET (%s)', $2::text, attname, string_agg(o, ', ')) FROM pg_attribute, unnest(attoptions) o
			WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND o ~ '` + schema.ColumnOption + `' GROUP BY attname
		UNION ALL SELECT format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', $2::text, conname) FROM pg_constraint
			WHERE conrelid = $1 AND contype IN ('c', 'n') AND NOT convalidated
		UNION ALL SELECT format('ALTER TABLE %s REPLICA IDENTITY %s', $2::text, CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END) FROM pg_class
			WHERE oid = $1 AND relreplident IN ('f', 'n')
		UNION ALL SELECT format('COMMENT ON TABLE %s IS %L', $2::text, obj_description($1, 'pg_class')) WHERE obj_description($1, 'pg_class') IS NOT NULL`
)

// create writes the statements that make t's new table.
func (c *copying) create(ctx context.Context, t *table) (string, error) {
	if c.run.Print && t.model == 0 {
		text := fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)", t.staged(), feed.Quote(t.home, t.Name))
		if t.inherits() {
			text += t.inheritsFrom()
		}
		return text + ";\n", nil
	}
	var text, bound, owner string
	var columns *string // nil has those of the model
	var parent uint32
	var own bool
	if t.inherits() {
		none := t.parentList()
		columns = &none
	}
	if err := c.target.QueryRow(ctx, likeQuery, t.model, t.staged(), columns).Scan(&text, &parent, &bound, &own, &owner); err != nil {
		return "", err
	}
	statements := []string{text}
	if !own {
		t.owner = owner
	}
	if t.inherits() {
		return text + ";\n", nil // the rest follows when all of the family are there
	}
	if parent != 0 {
		above := c.byModel(parent)
		if above == nil {
			return "", fmt.Errorf("it is a partition of a table that is not fed; feed that as well, or detach it")
		}
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s %s", above.staged(), t.staged(), bound))
	}
	extras, err := c.extras(ctx, t)
	return strings.Join(append(statements, extras...), ";\n") + ";\n", err
}

// extras writes what follows the making of t's new table.
func (c *copying) extras(ctx context.Context, t *table) ([]string, error) {
	statements, err := c.write(ctx, extrasQuery, t.model, t.staged())
	if t.owner != "" {
		statements = append(statements, fmt.Sprintf("GRANT CREATE, USAGE ON SCHEMA %s TO %s", t.staging, t.owner), fmt.Sprintf("ALTER TABLE %s OWNER TO %s", t.staged(), t.owner))
	}
	return statements, err
}

// write asks the replica for statements that a query makes of its catalogs.
func (c *copying) write(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := c.target.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (c *copying) byModel(oid uint32) *table {
	for _, t := range c.tables {
		if t.model == oid {
			return t
		}
	}
	return nil
}
