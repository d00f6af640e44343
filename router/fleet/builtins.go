package fleet

import "context"

// What PostgreSQL itself has differs between major versions: a function that a statement may
// call on the primary is not there on a replica that is older, or is gone from one that is newer.

const (
	builtinsQuery = `SELECT coalesce(array_agg(DISTINCT proname::text), '{}') FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace`
	lackingQuery  = `SELECT coalesce(array_agg(name), '{}') FROM (SELECT name FROM unnest($1::text[]) name
		EXCEPT SELECT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace) n`
)

// loadLacking finds out which functions of the primary's pg_catalog a replica of another major version
// has not. Overloads count as one: of those the replica may lack some.
func (s *source) loadLacking(ctx context.Context, primary *source) error {
	if s.version == primary.version {
		return nil
	}
	if primary.builtins == nil {
		if err := primary.conn.QueryRow(ctx, builtinsQuery).Scan(&primary.builtins); err != nil {
			return err
		}
	}
	return s.conn.QueryRow(ctx, lackingQuery, primary.builtins).Scan(&s.lacking)
}
