package fleet

import (
	"strings"

	"pgshunt/router"
)

// ofInterest says which relations are looked at.
const ofInterest = `c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND c.relpersistence <> 't'
	AND n.nspname NOT IN ('information_schema', 'pgml') AND n.nspname !~ '^pg_'`

// children names all that inherit from c, partitions among them.
const children = `(WITH RECURSIVE d(oid) AS (SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid
		UNION SELECT i.inhrelid FROM pg_inherits i JOIN d ON i.inhparent = d.oid)
	SELECT string_agg(cn.nspname || '.' || cc.relname, ',' ORDER BY cn.nspname, cc.relname)
	FROM d JOIN pg_class cc ON cc.oid = d.oid JOIN pg_namespace cn ON cn.oid = cc.relnamespace WHERE cc.relpersistence <> 't')`

const parentsQuery = `SELECT n.nspname, c.relname, c.relkind = 'p', coalesce(` + children + `, '')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (c.relhassubclass OR c.relkind = 'p') AND ` + ofInterest

const foreignQuery = `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'f' AND ` + ofInterest

// relationsTemplate reads relations one by one in the order of their names, without a sort
// of what is wide. A name compares byte by byte, as its type does in PostgreSQL.
const relationsTemplate = `WITH fed AS MATERIALIZED (FED)
	SELECT c.nspname, c.relname, c.relkind::text, c.relowner, coalesce(c.relacl::text, ''), coalesce(a.columns, ''), coalesce(a.acls, ''),
		coalesce(ABSENT, ''), f.oid IS NOT NULL,
		CASE WHEN c.relhassubclass OR c.relkind = 'p' THEN coalesce(` + children + `, '') ELSE '' END,
		CASE WHEN c.relrowsecurity THEN concat_ws(E'\n', c.relforcerowsecurity, (SELECT string_agg(concat_ws(' ', quote_ident(p.polname), p.polpermissive, p.polcmd,
			(SELECT string_agg(coalesce(quote_ident(r.rolname), 'public'), ',' ORDER BY r.rolname) FROM unnest(p.polroles) o LEFT JOIN pg_roles r ON r.oid = o),
			'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)), E'\n' ORDER BY p.polname)
			FROM pg_policy p WHERE p.polrelid = c.oid)) ELSE '' END,
		CASE WHEN c.relrowsecurity THEN coalesce((SELECT string_agg('(' || pg_get_expr(p.polqual, p.polrelid) || ')', ' OR ' ORDER BY p.polname)
			FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('*', 'r')), '') ELSE '' END,
		TOUCHES,
		CASE WHEN c.relkind IN ('v', 'm') THEN coalesce(pg_get_viewdef(c.oid), '') ELSE '' END
	FROM (SELECT n.nspname, c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE ` + ofInterest + ` ORDER BY c.relname, n.nspname OFFSET 0) c
	LEFT JOIN LATERAL (SELECT
			string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), E'\n') AS columns,
			string_agg(attname || E'\n' || attacl::text, E'\n' ORDER BY attname) FILTER (WHERE attacl IS NOT NULL) AS acls
		FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND c.relkind <> 'S') a ON true
	LEFT JOIN fed f ON f.oid = c.oid
	ORDER BY c.relname, c.nspname`

// touches tells of effects on what a statement does not name: triggers, rules, foreign keys
// that change the other table.
const touches = `c.oid IN (SELECT tgrelid FROM pg_trigger WHERE NOT tgisinternal)
	OR c.oid IN (SELECT ev_class FROM pg_rewrite WHERE ev_type <> '1')
	OR c.oid IN (SELECT confrelid FROM pg_constraint WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')))`

// subscriptionsHere is pg_subscription of this database. Before PostgreSQL 14 only superusers may read
// the OIDs in that, which the view beside it has for everybody; it has a row for each worker.
const subscriptionsHere = `(SELECT DISTINCT i.subid AS oid, s.subenabled, s.subpublications
		FROM pg_subscription s JOIN pg_stat_subscription i ON i.subname = s.subname
		WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()))`

// The relations that a feed brings, with what is wrong with each, ” where nothing is.
const (
	fedNone    = `SELECT NULL::oid AS oid, NULL::text AS why WHERE false`
	fedLogical = `SELECT r.srrelid AS oid, max(CASE WHEN NOT s.subenabled THEN 'its subscription is disabled'
			WHEN r.srsubstate <> 'r' THEN 'is still being copied' ELSE '' END) AS why
		FROM pg_subscription_rel r JOIN ` + subscriptionsHere + ` s ON s.oid = r.srsubid GROUP BY 1`
	fedDump = `SELECT c.oid, '' AS why FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname || '.' || c.relname IN (SELECT relation FROM pgshunt.copies)
		OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) IN (SELECT relation FROM pgshunt.copies)`
)

// Why the rows of a relation are not the primary's, by feed. A view is judged by what it
// reads, and a foreign table reads through. A partition gets its rows through a parent
// that is subscribed, and a parent has the rows of its partitions.
const (
	absentLogical = `CASE WHEN c.relkind IN ('v', 'f') THEN '' WHEN f.why IS NOT NULL AND NOT (c.relhassubclass AND c.relkind = 'r') THEN f.why
		WHEN c.relispartition AND EXISTS (SELECT FROM fed JOIN pg_partition_ancestors(c.oid) t ON t.relid = fed.oid)
			THEN (SELECT max(why) FROM fed JOIN pg_partition_ancestors(c.oid) t ON t.relid = fed.oid)
		WHEN c.relkind = 'p' THEN (SELECT max(coalesce(fed.why, 'is not subscribed')) FROM pg_partition_tree(c.oid) t LEFT JOIN fed ON fed.oid = t.relid WHERE t.isleaf)
		WHEN c.relhassubclass THEN (WITH RECURSIVE d(oid) AS (SELECT c.oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN d ON i.inhparent = d.oid)
			SELECT max(coalesce(fed.why, 'is not subscribed')) FROM d LEFT JOIN fed ON fed.oid = d.oid)
		ELSE 'is not subscribed' END`
	absentDump = `CASE WHEN c.relkind IN ('v', 'f', 'p') OR f.oid IS NOT NULL THEN '' ELSE 'has not been copied' END`
	absentFDW  = `CASE WHEN c.relkind IN ('v', 'f', 'p') OR f.oid IS NOT NULL THEN '' ELSE 'is no foreign table' END`
	absentNone = `''`
)

// recordedQuery tells whether somebody records what has been copied, for us to read.
const recordedQuery = `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'pgshunt' AND c.relname = 'copies' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))`

// countQuery counts the relations, and about how many of them a feed brings.
const countQuery = `WITH fed AS (FED) SELECT count(*), count(*) FILTER (WHERE COUNTED)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN fed f ON f.oid = c.oid WHERE ` + ofInterest

// queries writes the queries for one server.
func (s *source) queries() (relations, count string) {
	fed, absent, counted := fedNone, absentNone, "true"
	if s.server.Replica {
		switch {
		case s.server.Feed == router.FeedLogical:
			fed, absent, counted = fedLogical, absentLogical, "f.oid IS NOT NULL OR c.relkind IN ('v', 'f')"
		case s.server.Feed == router.FeedFDW && s.recorded:
			fed, absent, counted = fedDump, absentFDW, "f.oid IS NOT NULL OR c.relkind IN ('v', 'f')"
		case s.server.Feed == router.FeedFDW:
			absent, counted = absentFDW, "c.relkind IN ('v', 'f')"
		case s.recorded:
			fed, absent, counted = fedDump, absentDump, "f.oid IS NOT NULL OR c.relkind IN ('v', 'f')"
		}
	}
	touching := "false"
	if !s.server.Replica {
		touching = touches
	}
	fill := strings.NewReplacer("(FED)", "("+fed+")", "ABSENT", absent, "TOUCHES", touching, "COUNTED", counted)
	return fill.Replace(relationsTemplate), fill.Replace(countQuery)
}
