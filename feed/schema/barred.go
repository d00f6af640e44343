package schema

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// bar lists the objects of the tables that the replica cannot have: those over columns that
// are not fed, foreign keys to tables or rows that are not, and policies for roles that it
// does not have, which [Align] makes for those of the roles that it has.
func (r *relations) bar(ctx context.Context) (map[object]bool, error) {
	barred := make(map[object]bool)
	bar := func(rows pgx.Rows, err error) error {
		if err != nil {
			return err
		}
		var o object
		_, err = pgx.ForEachRow(rows, []any{&o.class, &o.oid}, func() error { barred[o] = true; return nil })
		return err
	}
	for _, t := range r.tables {
		columns := r.fedColumns(t)
		if columns == nil {
			continue
		}
		err := bar(r.primary.Query(ctx, `SELECT d.classid, d.objid FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
			WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND NOT a.attisdropped AND a.attname <> ALL($2)`, t.OID, columns))
		if err != nil {
			return nil, err
		}
	}
	if err := r.barNotNull(ctx, bar); err != nil {
		return nil, err
	}
	var whole []uint32
	for _, t := range r.tables {
		if r.run.Selection.Where(t.Schema, t.Name) == "" {
			whole = append(whole, t.OID)
		}
	}
	for _, key := range r.facts.ForeignKeys {
		if !slices.Contains(whole, key.To) {
			barred[object{classConstraint, key.OID}] = true
		}
	}
	return barred, r.barPolicies(ctx, barred)
}

// barNotNull leaves out NOT NULL without validation, for which PostgreSQL has no words before 18:
// the replica is laxer then. Others are a part of their column.
func (r *relations) barNotNull(ctx context.Context, bar func(pgx.Rows, error) error) error {
	if r.primary == nil || major(r.target) >= namedNotNull {
		return nil
	}
	var oids []uint32
	for _, t := range r.tables {
		oids = append(oids, t.OID)
	}
	return bar(r.primary.Query(ctx, `SELECT 'pg_constraint'::regclass::oid, oid FROM pg_constraint WHERE contype = 'n' AND NOT convalidated AND conrelid = ANY($1)`, oids))
}

func (r *relations) barPolicies(ctx context.Context, barred map[object]bool) error {
	roles, err := r.roles(ctx)
	if err != nil {
		return err
	}
	for _, p := range r.facts.Policies {
		lacking := slices.DeleteFunc(slices.Clone(p.Roles), func(role string) bool { return roles[role] })
		if t := r.byOID[p.Table]; t != nil && len(lacking) > 0 {
			o := object{classPolicy, p.OID}
			barred[o] = true
			if len(lacking) == len(p.Roles) {
				r.strange[o] = fmt.Sprintf("policy %q of %s is left out: there is no role %q", p.Name, t.Plain(), lacking[0])
			}
		}
	}
	return nil
}

// roles are those of the replica.
func (b *bringing) roles(ctx context.Context) (map[string]bool, error) {
	rows, err := b.target.Query(ctx, `SELECT rolname::text FROM pg_roles`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	all := make(map[string]bool, len(names))
	for _, name := range names {
		all[name] = true
	}
	return all, err
}

// indexPairs lists the indexes of partitions with the index that they are a part of. The
// object is the constraint that an index is of, where it is of one.
const indexPairs = `SELECT CASE WHEN con.oid IS NULL THEN 1259::oid ELSE 2606::oid END, coalesce(con.oid, i.inhrelid),
	(pg_identify_object(1259, i.inhparent, 0)).identity || ' ' || (pg_identify_object(1259, x.indrelid, 0)).identity
	FROM pg_inherits i JOIN pg_index x ON x.indexrelid = i.inhrelid LEFT JOIN pg_constraint con ON con.conindid = x.indexrelid AND con.contype IN ('p', 'u', 'x') AND con.conrelid = x.indrelid`

// attachedIndexes finds the indexes of partitions that the replica has under another name:
// attaching a partition makes those that it lacks.
func (r *relations) attachedIndexes(ctx context.Context) (map[object]bool, error) {
	there := make(map[string]bool)
	var o object
	var pair string
	into := []any{&o.class, &o.oid, &pair}
	rows, err := r.target.Query(ctx, indexPairs)
	if err != nil {
		return nil, err
	}
	if _, err = pgx.ForEachRow(rows, into, func() error { there[pair] = true; return nil }); err != nil {
		return nil, err
	}
	attached := make(map[object]bool)
	for _, p := range r.facts.IndexPairs {
		if there[p.Text] {
			attached[object{p.Class, p.OID}] = true
		}
	}
	return attached, nil
}
