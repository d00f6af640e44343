package dump

import (
	"testing"

	"pgshunt/feed"
)

// Extended statistics know of the rows that have come, whatever they are called and wherever they are.
func TestExtendedStatisticsAreOfTheNewRows(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE SCHEMA "Other"; CREATE TABLE s (a int, b int, c int); INSERT INTO s SELECT i % 10, i % 10, i FROM generate_series(1, 1000) i;
		CREATE STATISTICS "Of Both" (dependencies) ON a, b FROM s; CREATE STATISTICS "Other"."Of Both" (ndistinct) ON a, b, c FROM s; ANALYZE s`)
	const known = "SELECT string_agg(concat_ws(' ', statistics_schemaname, statistics_name, dependencies, n_distinct), '; ' ORDER BY 1) FROM (SELECT * FROM pg_stats_ext ORDER BY statistics_schemaname) s WHERE n_distinct IS NOT NULL OR dependencies IS NOT NULL"
	for range 3 {
		b.refresh(t)
		if want, got := value(t, b.primary, known), value(t, b.replica, known); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		exec(t, b.primary, "DELETE FROM s WHERE a = (SELECT max(a) FROM s); ANALYZE s")
	}
	// They may come and go while a copy is made.
	b.hear = func(e feed.Event) {
		if e.Status == feed.StatusDone && e.Step == "make the indexes of public.s and gather statistics" {
			exec(t, b.replica, `DROP STATISTICS "Of Both"; CREATE STATISTICS late ON b, c FROM s`)
		}
	}
	b.refresh(t)
	if got := value(t, b.replica, "SELECT string_agg(stxnamespace::regnamespace || '.' || stxname, ' ' ORDER BY stxname) FROM pg_statistic_ext WHERE stxrelid = 's'::regclass"); got != `"Other".Of Both public.late` {
		t.Error(got)
	}
	b.equal(t)
}
