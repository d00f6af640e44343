package logical

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// sequencesQuery lists what the tables' defaults and identities take their values from.
const sequencesQuery = `SELECT DISTINCT n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname), has_sequence_privilege(c.oid, 'SELECT')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind = 'S' AND (EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
			AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1) AND d.deptype IN ('a', 'i'))
		OR EXISTS (SELECT FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
			WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND f.adrelid = ANY ($1)))
	ORDER BY 1`

// sequence is one of them, with what it has handed out.
type sequence struct {
	Name, SQL string
	May       bool
	last      int64
	called    bool
}

// sequences gives the sequences of the fed tables, which replication does not bring, the
// values that they have on the primary now. The replica's own inserts, and a replica that
// becomes the primary, then go on where it is.
func (s *session) sequences(ctx context.Context, all []*table) error {
	oids := make([]uint32, len(all))
	for i, t := range all {
		oids[i] = t.OID
	}
	const reading = "read the sequences"
	rows, err := s.primary.Query(ctx, sequencesQuery, oids)
	if err != nil {
		return s.failed(s.run.Primary, reading, err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (q sequence, err error) {
		err = row.Scan(&q.Name, &q.SQL, &q.May)
		return q, err
	})
	if err != nil {
		return s.failed(s.run.Primary, reading, err)
	}
	var set []string
	for i := range found {
		q := &found[i]
		differs, err := s.compareSequence(ctx, q)
		if err != nil {
			return err
		}
		if differs {
			set = append(set, fmt.Sprintf("SELECT setval(%s, %d, %t)", feed.Literal(q.SQL), q.last, q.called))
		}
	}
	step := feed.Step{On: s.run.Target, What: "set the sequences", SQL: strings.Join(set, "; "), Next: busy}
	if len(set) == 0 {
		s.run.Done(step)
		return nil
	}
	return s.run.Do(ctx, s.target, step)
}

// compareSequence reads a sequence on both servers. One that is missing on the replica, or
// may not be read, differs in nothing that could be set.
func (s *session) compareSequence(ctx context.Context, q *sequence) (bool, error) {
	if !q.May {
		s.run.Note(s.run.Primary.Name, "%s may not read sequence %s, which stays as it is on the replica: GRANT SELECT ON SEQUENCE %s TO %s",
			s.run.Primary.User(), q.Name, q.SQL, role(s.run.Primary.User()))
		return false, nil
	}
	state := "SELECT last_value, is_called FROM " + q.SQL
	if err := s.primary.QueryRow(ctx, state).Scan(&q.last, &q.called); err != nil {
		return false, s.failed(s.run.Primary, "read sequence "+q.Name, err)
	}
	there, err := one[bool](ctx, s.target, "SELECT coalesce((SELECT relkind = 'S' FROM pg_class WHERE oid = to_regclass($1)), false)", q.SQL)
	if err != nil || !there {
		return false, s.failed(s.run.Target, "look for sequence "+q.Name, err)
	}
	var last int64
	var called bool
	if err := s.target.QueryRow(ctx, state).Scan(&last, &called); err != nil {
		return false, s.failed(s.run.Target, "read sequence "+q.Name, err)
	}
	return last != q.last || called != q.called, nil
}
