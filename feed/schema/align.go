package schema

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
)

// deniedQuery lists the candidates that the primary does not give either.
const deniedQuery = `SELECT DISTINCT w.i FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) w(i, role, s, t, col, privilege)
	JOIN pg_namespace n ON n.nspname = w.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t
	WHERE NOT has_schema_privilege(w.role::name, n.oid, 'USAGE') OR NOT CASE w.col WHEN '' THEN has_table_privilege(w.role::name, c.oid, w.privilege)
		ELSE has_column_privilege(w.role::name, c.oid, w.col, w.privilege) END ORDER BY 1`

const keepersQuery = `SELECT nspname::text, pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = ANY($1) AND NOT has_schema_privilege(oid, 'USAGE WITH GRANT OPTION')`

// Access tells in what the rights on the replica's tables differ from those that the primary
// gives to the same roles, as replicas[].users maps them: privileges, row-level security and its
// policies. A right of a role that the primary does not have is the replica's own. tables are the
// primary's; those that the replica lacks are left out. It changes nothing.
func Access(ctx context.Context, run *feed.Run, primary, target *pgx.Conn, tables []*feed.Table) ([]Difference, error) {
	theirs, err := ReadRights(ctx, primary, tables)
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "read who may do what", Err: err}
	}
	c, err := compareAccess(ctx, run, theirs, primary, target, tables)
	if err != nil {
		return nil, err
	}
	var all []Difference
	for _, d := range c.all {
		all = append(all, d.Difference)
	}
	return all, nil
}

// OfAccess tells whether a difference is one of [Access], which [Align] mends.
func (d *Difference) OfAccess() bool {
	return d.Kind == KindPrivileges || d.Kind == KindRowSecurity || d.Kind == KindPolicy
}

// compareAccess compares the tables that the replica has. Where primary is nil the rights were
// saved, and what its access lists do not give it does not give.
func compareAccess(ctx context.Context, run *feed.Run, theirs *Rights, primary, target *pgx.Conn, tables []*feed.Table) (*accessComparison, error) {
	failed := func(err error) error {
		return &feed.Error{Server: run.Target.Name, Doing: "read who may do what", Err: err}
	}
	ours, err := ReadRights(ctx, target, tables)
	if err != nil {
		return nil, failed(err)
	}
	byName := feed.Index(tables)
	there, err := feed.Tables(ctx, target, func(schema, name string) bool { return byName[schema+"."+name] != nil })
	if err != nil {
		return nil, failed(err)
	}
	c := newAccessComparison(theirs, ours, run.Replica.Users)
	c.owner = run.Target.User()
	if err := c.readMembers(ctx, target); err != nil {
		return nil, failed(err)
	}
	if err := target.QueryRow(ctx, `SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user`).Scan(&c.exempt); err != nil {
		return nil, failed(err)
	}
	if c.relations, err = theirs.present(ctx, target); err != nil {
		return nil, failed(err)
	}
	var schema, keeper string
	c.keepers = make(map[string]string)
	if err := each(ctx, target, keepersQuery, []any{slices.Collect(maps.Keys(theirs.Users))}, []any{&schema, &keeper}, func() { c.keepers[schema] = keeper }); err != nil {
		return nil, failed(err)
	}
	replica := feed.Index(there)
	for _, p := range tables {
		r := replica[p.Plain()]
		if r == nil && run.Print && run.Replica.Feed == configs.FeedFDW { // it would be made before
			made := *p
			made.Kind, r = 'f', &made
			ours.Tables[p.Plain()] = &TableRights{Owner: c.owner}
		}
		if r != nil {
			c.table(p, r)
		}
	}
	c.reworded(ctx, target)
	c.usage(tables)
	if err := c.ask(ctx, primary); err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "read who may do what", Err: err}
	}
	c.sorted(tables)
	return c, nil
}

// present tells which of the relations that policies need a server has.
func (r *Rights) present(ctx context.Context, conn *pgx.Conn) (map[string]bool, error) {
	var names []string
	for _, t := range r.Tables {
		for _, p := range t.Policies {
			names = append(names, p.Relations...)
		}
	}
	have := make(map[string]bool)
	if len(names) == 0 {
		return have, nil
	}
	var name string
	return have, each(ctx, conn, `SELECT DISTINCT n FROM unnest($1::text[]) n WHERE to_regclass(n) IS NOT NULL`, []any{names}, []any{&name}, func() { have[name] = true })
}

// Foresee reads the primary's rights, and asks it what [Align] would have to ask for the tables
// as the replica has them now, so that this can be done without the primary.
func Foresee(ctx context.Context, run *feed.Run, primary, target *pgx.Conn, tables []*feed.Table) (*Rights, error) {
	theirs, err := ReadRights(ctx, primary, tables)
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "read who may do what", Err: err}
	}
	_, err = compareAccess(ctx, run, theirs, primary, target, tables)
	return theirs, err
}

// key is what Rights.given has a candidate under.
func (w *candidate) key() string {
	return strings.Join([]string{w.table.Schema, w.table.Name, w.right.role, w.right.privilege, w.right.column}, "\x00")
}

// ask asks the primary of each candidate whether it gives the right to every role concerned.
func (c *accessComparison) ask(ctx context.Context, primary *pgx.Conn) error {
	var at []int32
	var roles, schemas, names, columns, privileges []string
	denied := make(map[int32]bool)
	for i, w := range c.candidates {
		if w.certain || primary == nil {
			denied[int32(i)] = w.certain || !c.primary.given[w.key()]
			continue
		}
		for _, role := range w.roles {
			if role == "" {
				role = "public"
			}
			at, roles, schemas, names = append(at, int32(i)), append(roles, role), append(schemas, w.table.Schema), append(names, w.table.Name)
			columns, privileges = append(columns, w.right.column), append(privileges, w.right.privilege)
		}
	}
	if len(at) > 0 {
		var i int32
		if err := each(ctx, primary, deniedQuery, []any{at, roles, schemas, names, columns, privileges}, []any{&i}, func() { denied[i] = true }); err != nil {
			return err
		}
	}
	if primary != nil {
		c.primary.given = make(map[string]bool)
	}
	for i := range c.candidates {
		w := &c.candidates[i]
		if denied[int32(i)] {
			c.wider(w)
		} else if primary != nil {
			c.primary.given[w.key()] = true
		}
	}
	return nil
}

// Align has the replica's tables give what the primary's do, where [Access] tells of a difference.
// theirs are the primary's rights; primary is nil where they were read before, by [Foresee] or from
// what was saved. It works in the transaction of target if that has one, else in one for each table, and waits five
// seconds for its lock. A policy that cannot be made is told of, less is shown then; so is a schema
// that only its owner can open.
// Where one table fails the others still follow; the first error is returned.
func Align(ctx context.Context, run *feed.Run, theirs *Rights, primary, target *pgx.Conn, tables []*feed.Table) error {
	c, err := compareAccess(ctx, run, theirs, primary, target, tables)
	if err != nil {
		return err
	}
	for _, note := range c.notes {
		run.Note(run.Target.Name, "%s", note)
	}
	c.all = slices.DeleteFunc(c.all, func(d accessDifference) bool {
		if d.Repair == nil {
			run.Note(run.Target.Name, "%s.%s: %s", d.Schema, d.Table, d.String())
		}
		return d.Repair == nil
	})
	if len(c.absent) > 0 {
		run.Note(run.Target.Name, "what roles of the primary that are not there may do is left out: %s", some(slices.Sorted(maps.Keys(c.absent))))
	}
	if primary != nil && slices.ContainsFunc(c.all, func(d accessDifference) bool { return d.policy }) {
		Surround(ctx, run, nil, tables)
	}
	for rest := c.all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Schema == rest[0].Schema && rest[n].Table == rest[0].Table {
			n++
		}
		if one := alignOne(ctx, run, target, rest[:n]); one != nil {
			err = cmp.Or(err, one)
			if target.PgConn().TxStatus() != 'I' {
				break
			}
		}
		rest = rest[n:]
	}
	return err
}

// alignOne carries out the differences of one table.
func alignOne(ctx context.Context, run *feed.Run, target *pgx.Conn, all []accessDifference) error {
	within := target.PgConn().TxStatus() == 'T'
	step := feed.Step{
		On: run.Target, What: "follow the primary in who may read " + all[0].Schema + "." + all[0].Table,
		Next: "run it again when nothing works on the table",
	}
	write := func(policies bool) string {
		sql := []string{"SET LOCAL lock_timeout = '5s'"}
		if within {
			sql = []string{"SAVEPOINT access"}
		}
		for _, d := range all {
			if d.policy && !policies {
				if d.otherwise != "" {
					sql = append(sql, d.otherwise)
				}
				continue
			}
			sql = append(sql, d.Repair...)
		}
		if within {
			sql = append(sql, "RELEASE access")
		}
		return strings.Join(sql, "; ")
	}
	step.SQL = write(true)
	err := run.Do(ctx, target, step)
	pg := (*pgconn.PgError)(nil)
	if err == nil || !errors.As(err, &pg) || passing(pg.Code) || !slices.ContainsFunc(all, func(d accessDifference) bool { return d.policy }) {
		return err
	}
	if within {
		if _, back := target.Exec(ctx, "ROLLBACK TO access"); back != nil {
			return errors.Join(err, back)
		}
	}
	run.Note(run.Target.Name, "policies of %s.%s cannot be made, and less is shown: %s", all[0].Schema, all[0].Table, feed.Cause(err))
	step.SQL = write(false)
	return run.Do(ctx, target, step)
}

// passing tells whether an error is of locks, of the server's state or of its means, and not of
// what a statement says: a policy may also fail by a value that is none of its type, or a
// schema that there is not.
func passing(code string) bool {
	return slices.Contains([]string{"08", "25", "40", "53", "54", "55", "57", "58", "XX"}, code[:2])
}

func some(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and more"
	}
	return strings.Join(names, ", ")
}
