package fleet

// calling is an expression that calls a function, for its facts only.
const calling = `format('%I.%I(%s)', fn.nspname, f.proname, array_to_string(array_fill('NULL'::text, ARRAY[f.pronargs]), ', '))`

// hidden are the functions that PostgreSQL calls where no statement names them, with the types
// of users whose values it calls them for, or the relations in whose plans it does. The
// functions of C that are not declared volatile are left out: their authors answer for them. What is
// part of a type of PostgreSQL's alone is found by the relations that have an index or a partition
// key of its family, and by the range types that are ordered by it.
const hidden = `hidden AS MATERIALIZED (SELECT row_number() OVER () AS n, x.* FROM (SELECT h.name, f.provolatile::text AS volatility, l.lanname, 'SELECT ' || ` + calling + ` AS body,
			concat_ws(' ', h.note, fn.nspname, f.proname) AS definition, h.types, h.relations, h.explicit, h.family
		FROM (SELECT concat('cast (', format_type(c.castsource, NULL), ' AS ', format_type(c.casttarget, NULL), ')') AS name, c.castfunc AS func, c.castcontext::text AS note,
				CASE WHEN c.castcontext <> 'i' AND c.casttarget >= 16384 THEN ARRAY[c.casttarget] ELSE ARRAY[c.castsource, c.casttarget] END AS types,
				'{}'::oid[] AS relations, c.castcontext <> 'i' AND c.casttarget >= 16384 AS explicit, false AS family
			FROM pg_cast c WHERE c.oid >= 16384
			UNION ALL SELECT concat('type ', format_type(t.oid, NULL)), p, '', ARRAY[t.oid], '{}', false, false
			FROM pg_type t, unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout]::oid[]) p WHERE t.oid >= 16384 AND p >= 16384
			UNION ALL SELECT concat('range ', format_type(r.rngtypid, NULL)), p, '', ARRAY[r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid], '{}', false, false
			FROM pg_range r, unnest(ARRAY[r.rngcanonical, r.rngsubdiff]::oid[]) p WHERE p >= 16384
			UNION ALL SELECT concat('operator family ', fa.opfname, ' of ', am.amname), m.func, m.types::text, CASE WHEN m.own THEN m.types
				ELSE ARRAY(SELECT unnest(ARRAY[r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid]) FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc WHERE o.opcfamily = m.family) END,
				CASE WHEN m.own THEN '{}' ELSE ARRAY(SELECT i.indrelid FROM pg_index i JOIN pg_opclass o ON o.oid = ANY (i.indclass) WHERE o.opcfamily = m.family
					UNION SELECT r.relid FROM pg_partitioned_table p JOIN pg_opclass o ON o.oid = ANY (p.partclass), pg_partition_tree(p.partrelid) r WHERE o.opcfamily = m.family) END, false, true
			FROM (SELECT amprocfamily AS family, amproc::oid AS func, ARRAY[amproclefttype, amprocrighttype] AS types, greatest(amproclefttype, amprocrighttype) >= 16384 AS own
				FROM pg_amproc WHERE amproc::oid >= 16384
				UNION SELECT a.amopfamily, o.oprcode::oid, ARRAY[a.amoplefttype, a.amoprighttype], greatest(a.amoplefttype, a.amoprighttype) >= 16384
				FROM pg_amop a JOIN pg_operator o ON o.oid = a.amopopr WHERE o.oprcode::oid >= 16384) m
			JOIN pg_opfamily fa ON fa.oid = m.family JOIN pg_am am ON am.oid = fa.opfmethod) h
		JOIN pg_proc f ON f.oid = h.func JOIN pg_namespace fn ON fn.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang
		WHERE l.lanname NOT IN ('c', 'internal') OR f.provolatile = 'v'
		UNION ALL SELECT concat('domain ', t.typname), 'i', 'sql', 'SELECT ' || pg_get_expr(k.conbin, 0), k.conname || ' ' || pg_get_expr(k.conbin, 0), ARRAY[t.oid], '{}', false, false
		FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid WHERE k.oid >= 16384
		UNION ALL SELECT concat('plans of ', e.relation::regclass), 'i', 'sql', e.body, e.body, '{}', ARRAY[e.relation], false, true
		FROM (SELECT k.conrelid AS relation, 'SELECT ' || pg_get_expr(k.conbin, k.conrelid) AS body FROM pg_constraint k
				WHERE k.contype = 'c' AND k.conrelid <> 0 AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND ` + onUsers + `)
			UNION ALL SELECT i.indrelid, 'SELECT ' || concat_ws(', ', pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)) FROM pg_index i
				WHERE (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND ` + onUsers + `)
			UNION ALL SELECT r.relid, 'SELECT ' || pg_get_expr(p.partexprs, p.partrelid) FROM pg_partitioned_table p, pg_partition_tree(p.partrelid) r
				WHERE p.partexprs IS NOT NULL AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = p.partrelid AND ` + onUsers + `)
			UNION ALL SELECT x.stxrelid, pg_get_statisticsobjdef(x.oid) FROM pg_statistic_ext x
				WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_statistic_ext'::regclass AND d.objid = x.oid AND ` + onUsers + `)
		) e) x)`

// onUsers tells a dependency on a function or operator of users.
const onUsers = `d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384`

// around are the types that have others in them, by the type inside: arrays, domains, ranges, rows.
// above are the relations that a scan reads others for. met_types and met_relations are the names
// of those of a row of hidden: all rows at once, since there may be as many as there are relations.
const around = `edges(part, whole) AS MATERIALIZED (SELECT typelem, oid FROM pg_type WHERE typelem >= 16384
		UNION ALL SELECT typbasetype, oid FROM pg_type WHERE typbasetype >= 16384
		UNION ALL SELECT rngsubtype, unnest(ARRAY[rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid]) FROM pg_range r WHERE rngsubtype >= 16384
		UNION ALL SELECT rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid FROM pg_range r WHERE rngtypid >= 16384
		UNION ALL SELECT a.atttypid, c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.atttypid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped AND c.reltype <> 0),
	inside(part, whole) AS (SELECT DISTINCT t, t FROM hidden, unnest(types) t WHERE t >= 16384 UNION SELECT i.part, e.whole FROM inside i JOIN edges e ON e.part = i.whole),
	above(part, whole) AS (SELECT DISTINCT r, r FROM hidden, unnest(relations) r UNION SELECT a.part, h.inhparent FROM above a JOIN pg_inherits h ON h.inhrelid = a.whole),
	met_types(n, names) AS MATERIALIZED (SELECT h.n, string_agg(DISTINCT t.typname::text, ',' ORDER BY t.typname::text)
		FROM hidden h, unnest(h.types) u JOIN inside i ON i.part = u JOIN pg_type t ON t.oid = i.whole WHERE t.typcategory <> 'A' GROUP BY h.n),
	met_relations(n, names) AS MATERIALIZED (SELECT h.n, string_agg(DISTINCT c.relname::text, E'\n' ORDER BY c.relname::text)
		FROM hidden h, unnest(h.relations) u JOIN above a ON a.part = u JOIN pg_class c ON c.oid = a.whole GROUP BY h.n)`

// functionsQuery reads functions, what calls them for operators and aggregates, and what is hidden.
const functionsQuery = `WITH RECURSIVE ` + hidden + `, ` + around + `
	SELECT * FROM (SELECT p.nspname, p.proname, p.provolatile::text, l.lanname,
		CASE WHEN p.prokind = 'a' AND p.nspname <> 'pgml' THEN coalesce((SELECT 'SELECT ' || string_agg(` + calling + `, ', ' ORDER BY f.oid) FROM pg_aggregate a
				JOIN pg_proc f ON f.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
				JOIN pg_namespace fn ON fn.oid = f.pronamespace WHERE a.aggfnoid = p.oid), '')
			WHEN p.prokind IN ('f', 'p', 'w') AND l.lanname IN ('sql', 'plpgsql') AND p.nspname <> 'pgml' THEN coalesce(pg_get_functiondef(p.oid), '') ELSE '' END AS body,
		CASE WHEN l.lanname NOT IN ('c', 'internal') AND p.nspname <> 'pgml' THEN concat_ws(E'\n', l.lanname, p.proisstrict, p.prosecdef, p.proconfig,
			pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.prosrc) ELSE '' END AS definition,
		p.pronargs = 1 AND p.prokind IN ('f', 'w') AND EXISTS (SELECT FROM pg_type t WHERE t.oid = p.proargtypes[0] AND (t.typtype IN ('c', 'p')
			OR t.typtype = 'd' AND EXISTS (SELECT FROM pg_type b WHERE b.oid = t.typbasetype AND b.typtype <> 'b'))) AS of_row,
		'' AS types, '' AS relations, false AS explicit, false AS family
	FROM (SELECT n.nspname, p.oid, p.proname, p.provolatile, p.prokind, p.prolang, p.proisstrict, p.prosecdef, p.proconfig, p.prosrc, p.pronargs, p.proargtypes
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY p.proname, n.nspname OFFSET 0) p
	JOIN pg_language l ON l.oid = p.prolang
	UNION ALL SELECT n.nspname, o.oprname, f.provolatile::text, l.lanname, 'SELECT ' || ` + calling + `,
		concat_ws(' ', format_type(o.oprleft, NULL), format_type(o.oprright, NULL), fn.nspname, f.proname), false, '', '', false, false
	FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace JOIN pg_proc f ON f.oid = o.oprcode
	JOIN pg_namespace fn ON fn.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang
	WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	UNION ALL SELECT '', name::name, volatility, lanname, body, definition, false, coalesce(t.names, ''), coalesce(r.names, ''), explicit, family
	FROM hidden LEFT JOIN met_types t USING (n) LEFT JOIN met_relations r USING (n)) f
	ORDER BY f.proname, f.nspname`
