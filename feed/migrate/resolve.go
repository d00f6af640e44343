package migrate

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
)

// errTheirs means that PostgreSQL is sure to refuse the statement, and is left to say so.
var errTheirs = errors.New("PostgreSQL refuses the statement")

// serials are the types that are none.
var serials = map[string]string{
	"serial": "integer", "serial4": "integer", "bigserial": "bigint", "serial8": "bigint", "smallserial": "smallint", "serial2": "smallint",
}

// resolve gives the changes the schemas that their names mean on the primary under a
// search_path, and writes types and constant defaults so that they mean the same under
// any. conn is a feed's connection to the primary.
func resolve(ctx context.Context, conn *pgx.Conn, path []string, changes []Change) ([]Change, error) {
	out := make([]Change, len(changes))
	for i, c := range changes {
		var err error
		switch c.Action {
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
		default:
			if c.Schema == "" {
				c.Schema, err = find1(ctx, conn, relationQuery, path, c.Name)
			}
		}
		if err == nil && c.ParentName != "" && c.ParentSchema == "" {
			c.ParentSchema, err = find1(ctx, conn, relationQuery, path, c.ParentName)
		}
		if err == nil && c.Type != "" {
			err = resolveType(ctx, conn, path, &c)
		}
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "42") || strings.HasPrefix(pg.Code, "22")) {
			return nil, errTheirs
		}
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	return out, nil
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

// resolveType has the primary read a column's type, its collation and its default.
func resolveType(ctx context.Context, conn *pgx.Conn, path []string, c *Change) (err error) {
	if is := serials[strings.ToLower(c.Type)]; is != "" {
		c.Type = is
		return nil
	}
	quotedPath := make([]string, len(path))
	for i, name := range path {
		quotedPath[i] = quoted(name)
	}
	if _, err := conn.Exec(ctx, "SELECT set_config('search_path', $1, false)", strings.Join(quotedPath, ", ")); err != nil {
		return err
	}
	defer func() {
		if _, back := conn.Exec(ctx, "SET search_path = pg_catalog"); err == nil {
			err = back
		}
	}()
	written := c.Type
	// The description of a result has the type with its modifiers, as no function does.
	described, err := conn.Prepare(ctx, "", "SELECT CAST(NULL AS "+written+")")
	if err != nil {
		return err
	}
	value := ""
	if c.Action == addColumn && c.Constant && c.Default != "" {
		var text *string
		if err := conn.QueryRow(ctx, "SELECT CAST(CAST("+c.Default+" AS "+written+") AS text)", pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
			return err
		}
		if text != nil {
			value = feed.Literal(*text)
		}
	}
	if c.Collation != "" {
		if c.Collation, err = find1(ctx, conn, `SELECT quote_ident(n.nspname) || '.' || quote_ident(k.collname) FROM pg_collation k
			JOIN pg_namespace n ON n.oid = k.collnamespace WHERE k.oid = to_regcollation($1)`, c.Collation); err != nil {
			return err
		}
	}
	if _, err := conn.Exec(ctx, "SET search_path = pg_catalog"); err != nil {
		return err
	}
	field := described.Fields[0]
	if c.Type, err = find1(ctx, conn, "SELECT format_type($1::oid, $2::int)", field.DataTypeOID, field.TypeModifier); err != nil {
		return err
	}
	if strings.EqualFold(strings.ReplaceAll(c.Using, " ", ""), strings.ReplaceAll(c.Column+"::"+written, " ", "")) {
		c.Using = "" // it is what PostgreSQL does by itself, where there is such a cast
	}
	if c.Action == addColumn && c.Constant {
		if c.Default = value; value != "" {
			c.Default += "::" + c.Type
		}
	}
	return nil
}
