package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
)

// errTheirs means that PostgreSQL is sure to refuse the statement, and is left to say so.
var errTheirs = errors.New("PostgreSQL refuses the statement")

// Settings are those of the session that a statement comes from which decide what constants
// in it mean; "" is not known.
type Settings struct{ DateStyle, IntervalStyle, TimeZone string }

// sql puts them in force until the end of the transaction, "" where none is known.
func (s Settings) sql() (sql string) {
	for _, one := range [][2]string{{"DateStyle", s.DateStyle}, {"IntervalStyle", s.IntervalStyle}, {"TimeZone", s.TimeZone}} {
		if one[1] != "" {
			sql += "SET LOCAL " + one[0] + " = " + feed.Literal(one[1]) + "; "
		}
	}
	return sql
}

// serials are the types that are none.
var serials = map[string]string{
	"serial": "integer", "serial4": "integer", "bigserial": "bigint", "serial8": "bigint", "smallserial": "smallint", "serial2": "smallint",
}

// resolve gives the changes the schemas that their names mean on the primary under a
// search_path, and writes types and constant defaults so that they mean the same under
// any. conn is a feed's connection to the primary. Nothing of the statement is carried out there
// that could call a function of whoever wrote it: the connection may do more than they.
func resolve(ctx context.Context, conn *pgx.Conn, path []string, as Settings, changes []Change) ([]Change, error) {
	var out []Change
	for _, c := range changes {
		var err error
		switch c.Action {
		case dropOwned, reassignOwned:
			list, err := owned(ctx, conn, &c)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
			continue
		case membership:
			list, err := held(ctx, conn, &c)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
			continue
		case createTable, createPartition, createType:
			err = madeIn(ctx, conn, path, &c)
		case unknown:
			if c.Name != "" && c.Schema == "" {
				if c.Schema, err = find1(ctx, conn, relationQuery, path, c.Name); err == nil && c.Schema == "" {
					err = madeIn(ctx, conn, path, &c)
				}
			}
		case addLabel, renameLabel, alterType, dropType:
			if c.Schema == "" {
				c.Schema, err = find1(ctx, conn, typeQuery, path, c.Name)
			}
		case dropIndex:
			err = resolveIndex(ctx, conn, path, &c)
		case renameTable, renameColumn:
			err = resolveRenamed(ctx, conn, path, &c)
		default:
			if c.Schema == "" {
				c.Schema, err = find1(ctx, conn, relationQuery, path, c.Name)
			}
		}
		if err == nil && c.ParentName != "" && c.ParentSchema == "" {
			c.ParentSchema, err = find1(ctx, conn, relationQuery, path, c.ParentName)
		}
		if err == nil && c.Type != "" {
			err = resolveType(ctx, conn, path, as, &c)
		}
		if theirs, err := refused(ctx, conn, path, err); theirs || err != nil {
			return nil, cmp.Or(err, errTheirs)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// refused tells whether an error is one that PostgreSQL will answer the statement with. What
// a feed's role may not see, the statement's may.
func refused(ctx context.Context, conn *pgx.Conn, path []string, err error) (bool, error) {
	pg := (*pgconn.PgError)(nil)
	switch {
	case !errors.As(err, &pg) || pg.Code == "42501", !strings.HasPrefix(pg.Code, "42") && !strings.HasPrefix(pg.Code, "22"):
		return false, nil
	case pg.Code != "42704":
		return true, nil
	}
	hidden, err := find1(ctx, conn, "SELECT nspname FROM pg_namespace WHERE nspname = ANY($1) AND NOT has_schema_privilege(oid, 'USAGE') LIMIT 1", path)
	if hidden != "" {
		err = fmt.Errorf("%w, and a schema of search_path that may have it is closed to this role: GRANT USAGE ON SCHEMA %s", pg, quoted(hidden))
	}
	return err == nil, err
}

const (
	relationQuery = `SELECT n.nspname FROM unnest($1::text[]) WITH ORDINALITY p(s, o) JOIN pg_namespace n ON n.nspname = p.s
		JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2 ORDER BY p.o LIMIT 1`
	typeQuery = `SELECT n.nspname FROM unnest($1::text[]) WITH ORDINALITY p(s, o) JOIN pg_namespace n ON n.nspname = p.s
		JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = $2 ORDER BY p.o LIMIT 1`
)

// find1 is the only value of the only row, "" where there is none.
func find1(ctx context.Context, conn *pgx.Conn, query string, args ...any) (value string, err error) {
	err = conn.QueryRow(ctx, query, args...).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return value, err
}

// madeIn finds the schema that a new object comes into.
func madeIn(ctx context.Context, conn *pgx.Conn, path []string, c *Change) (err error) {
	if c.Schema == "" {
		c.Schema, err = find1(ctx, conn, `SELECT n.nspname FROM unnest($1::text[]) WITH ORDINALITY p(s, o) JOIN pg_namespace n ON n.nspname = p.s ORDER BY p.o LIMIT 1`, path)
	}
	return err
}

// resolveIndex turns the name of an index into its table, and the index.
func resolveIndex(ctx context.Context, conn *pgx.Conn, path []string, c *Change) (err error) {
	c.Column = c.Name
	if c.Schema == "" {
		if c.Schema, err = find1(ctx, conn, relationQuery, path, c.Name); err != nil {
			return err
		}
	}
	c.Name, err = find1(ctx, conn, `SELECT t.relname FROM pg_class i JOIN pg_namespace n ON n.oid = i.relnamespace
		JOIN pg_index x ON x.indexrelid = i.oid JOIN pg_class t ON t.oid = x.indrelid WHERE n.nspname = $1 AND i.relname = $2`, c.Schema, c.Column)
	return err
}

// resolveRenamed tells what a new name is for: PostgreSQL takes ALTER TABLE for an index, ALTER INDEX for
// a table, and ALTER VIEW and ALTER TYPE for a column of one.
func resolveRenamed(ctx context.Context, conn *pgx.Conn, path []string, c *Change) (err error) {
	if c.Schema == "" {
		if c.Schema, err = find1(ctx, conn, relationQuery, path, c.Name); err != nil {
			return err
		}
	}
	kind, err := find1(ctx, conn, "SELECT c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2", c.Schema, c.Name)
	switch {
	case err != nil, kind == "", kind == "r", kind == "p", kind == "f":
		return err
	case kind == "c":
		c.Action = alterType
	case (kind == "i" || kind == "I") && c.Action == renameTable:
		c.Action = renameIndex
		return resolveIndex(ctx, conn, path, c)
	default: // a view, a sequence
		c.Action = local
	}
	return nil
}

// resolveType has the primary read a column's type, its collation and its default.
func resolveType(ctx context.Context, conn *pgx.Conn, path []string, as Settings, c *Change) error {
	if is := serials[strings.ToLower(c.Type)]; is != "" {
		c.Type = is
		return nil
	}
	field, named, collation, err := lookUp(ctx, conn, path, c)
	if err != nil {
		return err
	}
	if c.Collation != "" {
		if c.Collation, err = find1(ctx, conn, `SELECT quote_ident(n.nspname) || '.' || quote_ident(k.collname) FROM pg_collation k
			JOIN pg_namespace n ON n.oid = k.collnamespace WHERE k.oid = $1`, collation); err != nil {
			return err
		}
	}
	written := c.Type
	if c.Type, err = find1(ctx, conn, "SELECT format_type($1::oid, $2::int)", field.DataTypeOID, field.TypeModifier); err != nil {
		return err
	}
	if strings.EqualFold(strings.ReplaceAll(c.Using, " ", ""), strings.ReplaceAll(c.Column+"::"+written, " ", "")) {
		c.Using = "" // it is what PostgreSQL does by itself, where there is such a cast
	}
	if c.Action == addColumn && c.Constant {
		return resolveDefault(ctx, conn, as, c, field.DataTypeOID, named)
	}
	return nil
}

// lookUp looks a type up under a search_path, and a collation; under it nothing is
// executed whose name is not in pg_catalog for certain. field has what a domain is over, named
// the domain: the replica's column has the former, whose values need no function of a user's.
func lookUp(ctx context.Context, conn *pgx.Conn, path []string, c *Change) (field pgconn.FieldDescription, named, collation uint32, err error) {
	quotedPath := make([]string, len(path))
	for i, name := range path {
		quotedPath[i] = quoted(name)
	}
	if _, err := conn.Exec(ctx, "SELECT set_config('search_path', $1, false)", strings.Join(quotedPath, ", ")); err != nil {
		return field, 0, 0, err
	}
	defer func() {
		if _, back := conn.Exec(ctx, "SET search_path = pg_catalog"); err == nil {
			err = back
		}
	}()
	// The description of a result has the type with its modifiers, as no function does.
	described, err := conn.Prepare(ctx, "", "SELECT CAST(NULL AS "+c.Type+")")
	if err != nil {
		return field, 0, 0, err
	}
	var kind, order *uint32
	var collate *string
	if c.Collation != "" {
		collate = &c.Collation
	}
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.to_regtype($1)::pg_catalog.oid, pg_catalog.to_regcollation($2)::pg_catalog.oid", c.Type, collate).Scan(&kind, &order); err != nil {
		return field, 0, 0, err
	}
	field = described.Fields[0]
	if named = field.DataTypeOID; kind != nil {
		named = *kind
	}
	if order != nil {
		collation = *order
	}
	return field, named, collation, nil
}

// How a value of a type may be read. What composites and ranges of users accept, their
// functions decide, which are called for nobody here; nor are casts, which enums may
// have: they take strings alone, as they are. Last comes the default of a domain.
const kindQuery = `SELECT CASE WHEN t.oid < 16384 AND t.typname ~ '^_?(reg|money$)' THEN 'setting' WHEN t.oid < 16384 THEN 'ours'
	WHEN coalesce(e.typtype, t.typtype) IN ('b', 'e') THEN 'text' ELSE 'theirs' END, coalesce((SELECT d.typdefault FROM pg_type d WHERE d.oid = $2 AND d.typtype = 'd'), '')
	FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' AND t.typtype = 'b' WHERE t.oid = $1`

// resolveDefault works a constant default out, or finds that it is none that could be.
func resolveDefault(ctx context.Context, conn *pgx.Conn, as Settings, c *Change, oid, named uint32) error {
	var kind, own string
	if err := conn.QueryRow(ctx, kindQuery, oid, named).Scan(&kind, &own); err != nil {
		return err
	}
	switch {
	case c.Default == "" && own != "":
		c.Default, c.Constant = own, false
	case c.Default == "":
	case kind == "text" && c.Literal != nil:
		c.Default = feed.Literal(*c.Literal) + "::" + c.Type
	case kind == "ours":
		return evaluate(ctx, conn, as, c)
	default:
		c.Constant = false
	}
	return nil
}

// evaluate works out a constant of a type of PostgreSQL's own, with the settings of the session
// that wrote it. All names in it are looked up in pg_catalog.
func evaluate(ctx context.Context, conn *pgx.Conn, as Settings, c *Change) error {
	var text *string
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if set := as.sql(); set != "" {
			if _, err := tx.Exec(ctx, set, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, "SELECT CAST(CAST("+c.Default+" AS "+c.Type+") AS text)", pgx.QueryExecModeSimpleProtocol).Scan(&text)
	})
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && strings.HasPrefix(pg.Code, "42") {
		c.Constant = false // it has a type of the user's within
		return nil
	}
	if err == nil {
		if c.Default = ""; text != nil {
			c.Default = feed.Literal(*text) + "::" + c.Type
		}
	}
	return err
}
