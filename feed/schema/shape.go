package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgshunt/feed"
)

// asideSchemas hold tables of the replica within one transaction of Shape, and never
// longer.
const asideSchemas = feed.JournalSchema + "_aside_"

// Shape makes tables on run.Target by the primary's definition, indexes and all, in other
// schemas than there: place tells in which, which exist. Tables of the same names that
// the replica has already stay as they are; they are locked for as long as the
// definitions take, and for that lock Shape waits five seconds. It is one transaction, but
// for types, which [Bring] would bring too.
//
// Where saved is not nil all that is of the primary comes from there.
func Shape(ctx context.Context, run *feed.Run, saved *Saved, tables []*feed.Table, place func(*feed.Table) string) (err error) {
	b := &bringing{run: run, tables: tables, byName: feed.Index(tables), need: Indexes, saved: saved}
	if run.Print {
		return b.do(ctx)
	}
	end, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := b.types(ctx); err != nil {
		return err
	}
	r, err := b.writeDown(ctx)
	if err != nil {
		return err
	}
	failed := func(err error) error {
		return &feed.Error{Server: run.Target.Name, Doing: "make tables by the primary's definition", Err: err, Next: "run it again when nothing works on them"}
	}
	if _, err := b.target.Exec(ctx, "BEGIN; SET LOCAL lock_timeout = '5s'"); err != nil {
		return failed(err)
	}
	back, err := b.setAside(ctx)
	if err != nil {
		return failed(err)
	}
	if err := b.takeStock(ctx); err != nil {
		return err
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	if err := r.bringTables(ctx); err != nil {
		return err
	}
	if err := r.bringIndexes(ctx); err != nil {
		return err
	}
	var sql strings.Builder
	for _, t := range tables {
		fmt.Fprintf(&sql, "ALTER TABLE %s SET SCHEMA %s;\n", t.Qualified(), feed.Quote("", place(t)))
	}
	if _, err := b.target.Exec(ctx, sql.String()+back+"COMMIT"); err != nil {
		return failed(err)
	}
	return nil
}

// setAside moves the replica's tables of the same names out of the way, and returns the
// statements that move them back.
func (b *bringing) setAside(ctx context.Context) (back string, err error) {
	var schemas []string
	for _, t := range b.tables {
		if !slices.Contains(schemas, t.Schema) {
			schemas = append(schemas, t.Schema)
		}
	}
	var away, home strings.Builder
	for i, schema := range schemas {
		aside := fmt.Sprintf("%s%d", asideSchemas, i)
		away.WriteString("CREATE SCHEMA " + aside + ";\n")
		for _, t := range b.tables {
			if t.Schema != schema {
				continue
			}
			var there bool
			if err := b.target.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, t.Qualified()).Scan(&there); err != nil {
				return "", err
			}
			if there {
				fmt.Fprintf(&away, "ALTER TABLE %s SET SCHEMA %s;\n", t.Qualified(), aside)
				fmt.Fprintf(&home, "ALTER TABLE %s SET SCHEMA %s;\n", feed.Quote(aside, t.Name), feed.Quote("", schema))
			}
		}
		home.WriteString("DROP SCHEMA " + aside + ";\n")
	}
	_, err = b.target.Exec(ctx, away.String())
	return home.String(), err
}
