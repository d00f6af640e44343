package dump

import (
	"context"

	"pgshunt/feed"
)

// Extended statistics have a name of their own and do not move with their table. Those of a new
// table are made before its ANALYZE, which fills them, by names that nobody else has; the swap
// gives them the names of those that they replace.

// stagedStatistics writes those of the tables $1 for one that SQL calls $2 in schema $3. The
// definition is taken over but for its known beginning and end.
const stagedStatistics = `SELECT format('CREATE STATISTICS %I.%I', $3::text, 'pgshunt_' || s.oid) || substr(def, length(head) + 1, length(def) - length(head) - length(s.stxrelid::regclass::text)) || $2::text
	FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
	CROSS JOIN LATERAL (SELECT pg_get_statisticsobjdef(s.oid) AS def, format('CREATE STATISTICS %I.%I', n.nspname, s.stxname) AS head) d
	WHERE s.stxrelid = ANY($1) ORDER BY s.oid`

// Statements of the swap. What came or went since the new table was built comes without values,
// and goes.
const (
	ofLive       = ` FROM f JOIN pg_statistic_ext s ON s.stxrelid IN (f.live, f.model) JOIN pg_namespace home ON home.oid = s.stxnamespace`
	ofNew        = `(pg_statistic_ext e JOIN pg_namespace new ON new.oid = e.stxnamespace) ON e.stxrelid = f.staged`
	dropNewer    = `SELECT format('DROP STATISTICS %I.%I', new.nspname, e.stxname) FROM f JOIN ` + ofNew + ` WHERE NOT EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid IN (f.live, f.model) AND e.stxname = 'pgshunt_' || s.oid)`
	dropReplaced = `SELECT format('DROP STATISTICS %I.%I', home.nspname, s.stxname)` + ofLive
	nameNew      = `SELECT v.sql` + ofLive + ` LEFT JOIN ` + ofNew + ` AND e.stxname = 'pgshunt_' || s.oid CROSS JOIN LATERAL (SELECT pg_get_statisticsobjdef(s.oid) AS def) d
		CROSS JOIN LATERAL (VALUES (1, CASE WHEN e.oid IS NULL THEN left(def, length(def) - length(s.stxrelid::regclass::text)) || f.final ELSE format('ALTER STATISTICS %I.%I RENAME TO %I', new.nspname, e.stxname, s.stxname) END),
			(2, CASE WHEN e.oid IS NOT NULL THEN format('ALTER STATISTICS %I.%I SET SCHEMA %I', new.nspname, s.stxname, home.nspname) END)) v(n, sql) WHERE v.sql IS NOT NULL ORDER BY s.oid, v.n`
)

// statistics writes the statements that make the extended statistics of t's new table.
func (c *copying) statistics(ctx context.Context, t *table) ([]string, error) {
	statements, err := c.write(ctx, stagedStatistics, []uint32{t.live, t.model}, t.staged(), t.staging)
	if err != nil {
		return nil, &feed.Error{Server: c.run.Target.Name, Doing: "look at the statistics of " + t.Plain(), Err: err}
	}
	return statements, nil
}
