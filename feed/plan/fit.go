package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// fit says what keeps a replica from having what the fed tables need: extensions, types,
// collations, an encoding. target is a connection to it, facts what a look at it told. That a
// standby can be brought nothing is said by each way.
func fit(ctx context.Context, target *pgx.Conn, facts, primary *Server, need surroundings) ([]feed.Problem, error) {
	f := &fitting{server: facts}
	f.encoding(primary)
	if !facts.Creates {
		f.block("create", fmt.Sprintf("role %s may not make schemas in database %s", feed.Quote("", facts.Role), facts.Database),
			"GRANT CREATE ON DATABASE "+feed.Quote("", facts.Database)+" TO "+feed.Quote("", facts.Role)+";", "")
	}
	if primary.Major() > facts.Major() {
		f.note("version", fmt.Sprintf("PostgreSQL %s is older than the primary's %s; definitions that only the newer one has cannot be made here", facts.Version, primary.Version), "", "")
	}
	for _, step := range []func(context.Context, *pgx.Conn, surroundings) error{f.schemas, f.extensions, f.types, f.collations} {
		if err := step(ctx, target, need); err != nil {
			return nil, err
		}
	}
	return f.problems, nil
}

type fitting struct {
	server   *Server
	problems []feed.Problem
}

func (f *fitting) add(check string, blocks bool, what, remedy, note string) {
	f.problems = append(f.problems, feed.Problem{Server: f.server.Name, Check: check, Blocks: blocks, What: what, Remedy: remedy, Note: note})
}
func (f *fitting) block(check, what, remedy, note string) { f.add(check, true, what, remedy, note) }
func (f *fitting) note(check, what, remedy, note string)  { f.add(check, false, what, remedy, note) }

func (f *fitting) encoding(primary *Server) {
	s := f.server
	again := fmt.Sprintf("CREATE DATABASE %s ENCODING %s LC_COLLATE %s LC_CTYPE %s TEMPLATE template0;",
		feed.Quote("", s.Database+"_new"), feed.Literal(primary.Encoding), feed.Literal(primary.Collate), feed.Literal(primary.CType))
	switch {
	case s.Encoding == primary.Encoding:
	case s.Encoding == "UTF8" && primary.Encoding != "SQL_ASCII":
		f.note("encoding", fmt.Sprintf("its encoding is UTF8 and the primary's %s; texts are converted", primary.Encoding), "", "")
	default:
		f.block("encoding", fmt.Sprintf("its encoding %s cannot hold every text of the primary's %s", s.Encoding, primary.Encoding), again,
			"an encoding cannot be changed: make a database with the right one and name it in the url")
	}
	if s.Collate != primary.Collate || s.CType != primary.CType || s.Provider != primary.Provider {
		f.note("collation", fmt.Sprintf("texts sort by %s (%s) there and by %s (%s) on the primary; ORDER BY may differ", s.Collate, s.Provider, primary.Collate, primary.Provider), "", "")
	} else if s.CollationVersion != primary.CollationVersion && s.CollationVersion != "" && primary.CollationVersion != "" {
		f.note("collation_version", fmt.Sprintf("its collation %s has version %s and the primary's %s; ORDER BY may differ", s.Collate, s.CollationVersion, primary.CollationVersion), "", "")
	}
}

// schemas looks at those that are there already.
func (f *fitting) schemas(ctx context.Context, target *pgx.Conn, need surroundings) error {
	rows, err := target.Query(ctx, `SELECT nspname::text FROM pg_namespace WHERE nspname = ANY($1)
		AND NOT (has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')) ORDER BY 1`, need.schemas)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		f.block("schema", fmt.Sprintf("role %s may make nothing in schema %s", feed.Quote("", f.server.Role), name),
			"GRANT USAGE, CREATE ON SCHEMA "+feed.Quote("", name)+" TO "+feed.Quote("", f.server.Role)+";", "")
	}
	return err
}

const availableQuery = `SELECT n.name, coalesce(a.default_version, ''), coalesce(a.installed_version, ''), coalesce((SELECT bool_or(v.trusted OR NOT v.superuser)
	FROM pg_available_extension_versions v WHERE v.name = n.name AND v.version = a.default_version), false)
	FROM unnest($1::text[]) n (name) LEFT JOIN pg_available_extensions a ON a.name = n.name ORDER BY 1`

func (f *fitting) extensions(ctx context.Context, target *pgx.Conn, need surroundings) error {
	var names []string
	for _, x := range need.extensions {
		if x.Name != "plpgsql" {
			names = append(names, x.Name)
		}
	}
	type available struct {
		Name, Default, Installed string
		Easy                     bool // needs no superuser
	}
	have, err := collect[available](ctx, target, availableQuery, names)
	for _, x := range have {
		create := "CREATE EXTENSION " + feed.Quote("", x.Name) + ";"
		switch {
		case x.Installed != "":
		case x.Default == "":
			f.block("extension", fmt.Sprintf("extension %s, which fed tables need, is not available on its machine", x.Name), "",
				"install its package for PostgreSQL "+fmt.Sprint(f.server.Major())+" there, or leave the tables out that use it")
		case !f.server.Superuser && !x.Easy:
			f.block("extension", fmt.Sprintf("extension %s, which fed tables need, has to be made by a superuser", x.Name), create, "")
		}
	}
	return err
}

const typesThereQuery = `SELECT u.n, u.t IS NOT NULL, coalesce((SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = u.t), '{}')
	FROM (SELECT n, (SELECT y.oid FROM pg_type y JOIN pg_namespace s ON s.oid = y.typnamespace WHERE s.nspname = sc AND y.typname = ty) t
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY x (sc, ty, n)) u ORDER BY 1`

func (f *fitting) types(ctx context.Context, target *pgx.Conn, need surroundings) error {
	schemas, names := make([]string, len(need.types)), make([]string, len(need.types))
	for i, t := range need.types {
		schemas[i], names[i] = t.Schema, t.Name
	}
	type there struct {
		N      int64
		Has    bool
		Labels []string
	}
	have, err := collect[there](ctx, target, typesThereQuery, schemas, names)
	if err != nil {
		return err
	}
	var made []string
	for i, h := range have {
		t := need.types[i]
		name := feed.Quote(t.Schema, t.Name)
		switch {
		case h.Has && t.Kind == "e":
			f.labels(name, t.Labels, h.Labels)
		case h.Has || t.Extension != "":
		case t.Schema == "pg_catalog":
			f.block("type", fmt.Sprintf("PostgreSQL %s has no type %s", f.server.Version, t.Name), "", "use a replica of the primary's version, or leave the tables out that use it")
		default:
			made = append(made, name)
		}
	}
	if len(made) > 0 {
		f.note("type", fmt.Sprintf("it lacks %s; apply makes them", strings.Join(made, ", ")), "", "")
	}
	return nil
}

// labels compares an enum's, which a feed cannot add to a type that is in use.
func (f *fitting) labels(name string, want, have []string) {
	var add []string
	for i, label := range want {
		if slices.Contains(have, label) {
			continue
		}
		sql := "ALTER TYPE " + name + " ADD VALUE " + feed.Literal(label)
		if i > 0 {
			sql += " AFTER " + feed.Literal(want[i-1])
		} else if len(have) > 0 {
			sql += " BEFORE " + feed.Literal(have[0])
		}
		add = append(add, sql+";")
	}
	if len(add) > 0 {
		f.block("enum", fmt.Sprintf("its enum %s lacks labels that the primary's has", name), strings.Join(add, "\n"), "")
	}
}

const collationsThereQuery = `SELECT x.n, c.oid IS NOT NULL, coalesce(pg_collation_actual_version(c.oid), '')
	FROM unnest($1::text[], $2::text[]) WITH ORDINALITY x (sc, co, n)
	LEFT JOIN pg_collation c ON c.collname = x.co AND c.collnamespace = (SELECT oid FROM pg_namespace WHERE nspname = x.sc)
		AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database())) ORDER BY 1`

func (f *fitting) collations(ctx context.Context, target *pgx.Conn, need surroundings) error {
	schemas, names := make([]string, len(need.collations)), make([]string, len(need.collations))
	for i, c := range need.collations {
		schemas[i], names[i] = c.Schema, c.Name
	}
	type there struct {
		N       int64
		Has     bool
		Version string
	}
	have, err := collect[there](ctx, target, collationsThereQuery, schemas, names)
	for i, h := range have {
		c := need.collations[i]
		name := feed.Quote(c.Schema, c.Name)
		switch {
		case !h.Has && c.Schema == "pg_catalog":
			f.block("collation", fmt.Sprintf("it has no collation %s, which a fed column has", name), "SELECT pg_import_system_collations('pg_catalog');",
				"after the locale "+c.Locale+" has been installed on its machine")
		case !h.Has:
			f.note("collation", fmt.Sprintf("it lacks collation %s; apply makes it", name), "", "")
		case h.Version != c.Version && h.Version != "" && c.Version != "":
			f.note("collation_version", fmt.Sprintf("its collation %s has version %s and the primary's %s; ORDER BY may differ", name, h.Version, c.Version), "", "")
		}
	}
	return err
}
