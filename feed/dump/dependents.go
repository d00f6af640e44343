package dump

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// dependents are the statements that bring along what hangs on the live tables. All are read
// under the swap's lock and before anything has moved, so that they name the tables as
// they will be called again.
type dependents struct {
	before, after []string
	// views are the materialised views over live tables, as SQL names them.
	views []string
}

// Each query writes statements. f has for each table: the one whose belongings go to the new
// one (live unless that is a foreign table, else model), live (0 for none), model, the new one while staged, and the name
// under which SQL will find it.
const tablesOfSwap = `WITH RECURSIVE f AS (SELECT CASE WHEN live <> 0 AND NOT EXISTS (SELECT FROM pg_foreign_table WHERE ftrelid = live) THEN live ELSE model END AS src, live, model, staged::regclass::oid AS staged, final, home
	FROM unnest($1::oid[], $2::oid[], $3::text[], $4::text[], $5::text[]) f(live, model, staged, final, home)) `

// Serial columns keep their sequence, which otherwise would follow the old table.
const (
	freeSequences = `SELECT format('ALTER SEQUENCE %s OWNED BY NONE', d.objid::regclass) FROM f JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.deptype = 'a'
		AND d.refclassid = 'pg_class'::regclass AND d.refobjid = f.model AND d.refobjsubid > 0 JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'`
	ownSequences = `SELECT s FROM f JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.deptype = 'a' AND d.refclassid = 'pg_class'::regclass AND d.refobjid = f.model
		JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S' JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
		CROSS JOIN LATERAL (VALUES (1, CASE WHEN f.model <> f.live THEN format('ALTER SEQUENCE %s SET SCHEMA %I', q.oid::regclass, f.home) END),
			(2, format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', f.home, q.relname, f.final, a.attname))) v(n, s) WHERE s IS NOT NULL ORDER BY q.oid, n`
)

// What a table has for itself.
const (
	revokes = `SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s', f.final, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = a.grantee) END)
		FROM f JOIN pg_class c ON c.oid = f.staged CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE a.grantee <> c.relowner`
	grants = `SELECT format('GRANT %s%s ON TABLE %s TO %s%s', a.privilege_type, col, f.final, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = a.grantee) END,
			CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
		FROM f JOIN pg_class c ON c.oid = f.src CROSS JOIN LATERAL (
			SELECT '' AS col, x.* FROM aclexplode(c.relacl) x
			UNION ALL SELECT format(' (%I)', t.attname), x.* FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) x
				WHERE t.attrelid = c.oid AND NOT t.attisdropped AND t.attname IN (SELECT attname FROM pg_attribute WHERE attrelid = f.staged AND attnum > 0)) a
		WHERE a.grantee <> c.relowner`
	policies = `SELECT format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, f.final, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
			CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
			(SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = r) END, ', ') FROM unnest(p.polroles) r))
			|| coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '') || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
		FROM f JOIN pg_policy p ON p.polrelid = f.src`
	security = `SELECT format('ALTER TABLE %s %s ROW LEVEL SECURITY', f.final, v.s) FROM f JOIN pg_class c ON c.oid = f.src
		CROSS JOIN LATERAL (VALUES (CASE WHEN c.relrowsecurity THEN 'ENABLE' END), (CASE WHEN c.relforcerowsecurity THEN 'FORCE' END)) v(s) WHERE v.s IS NOT NULL`
	triggers = `SELECT v.s FROM f JOIN pg_trigger t ON t.tgrelid = f.live AND NOT t.tgisinternal AND t.tgparentid = 0 CROSS JOIN LATERAL (VALUES (1, pg_get_triggerdef(t.oid)),
		(2, CASE WHEN t.tgenabled <> 'O' THEN format('ALTER TABLE %s %s TRIGGER %I', f.final, CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname) END)) v(n, s)
		WHERE v.s IS NOT NULL ORDER BY t.oid, v.n`
	rules = `SELECT pg_get_ruledef(r.oid) FROM f JOIN pg_rewrite r ON r.ev_class = f.live`
)

// publications differ by version: column lists and conditions came with 15.
func publications(version int) string {
	more := ""
	if version >= 150000 {
		more = ` || coalesce((SELECT ' (' || string_agg(quote_ident(a.attname), ', ') || ')' FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY(r.prattrs)), '')
			|| coalesce(' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')', '')`
	}
	return `SELECT format('ALTER PUBLICATION %I ADD TABLE ONLY %s', p.pubname, f.final)` + more + ` FROM f JOIN pg_publication_rel r ON r.prrelid = f.live JOIN pg_publication p ON p.oid = r.prpubid`
}

// Tables of the replica's own may inherit from live ones, or these from them. One that a feed has
// brought and that is not copied any more is left alone: its rows are in no query of the new ones.
const (
	ownHeirs = ` FROM f JOIN pg_inherits i ON f.live IN (i.inhrelid, i.inhparent) JOIN pg_class h ON h.oid = i.inhrelid AND NOT h.relispartition
		WHERE (i.inhrelid IN (SELECT live FROM f)) <> (i.inhparent IN (SELECT live FROM f))`
	leaveHeirs = `SELECT format('ALTER TABLE %s NO INHERIT %s', i.inhrelid::regclass, i.inhparent::regclass)` + ownHeirs
	takeHeirs  = `SELECT format('ALTER TABLE %s INHERIT %s', i.inhrelid::regclass, i.inhparent::regclass)` + ownHeirs + `
		AND NOT EXISTS (SELECT FROM pgshunt.fed WHERE relation IN (i.inhrelid, i.inhparent) AND relation <> f.live) ORDER BY i.inhrelid, i.inhseqno`
)

// What else refers to a live table.
const (
	views = `SELECT DISTINCT format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass, coalesce(' WITH (' || array_to_string(v.reloptions, ', ') || ')', ''), pg_get_viewdef(v.oid))
		FROM f JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = f.live AND d.classid = 'pg_rewrite'::regclass
		JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v' WHERE r.rulename = '_RETURN'`
	othersRules = `SELECT DISTINCT regexp_replace(pg_get_ruledef(r.oid), '^CREATE RULE', 'CREATE OR REPLACE RULE')
		FROM f JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = f.live AND d.classid = 'pg_rewrite'::regclass
		JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename <> '_RETURN' WHERE r.ev_class NOT IN (SELECT live FROM f)`
	functions = `SELECT DISTINCT pg_get_functiondef(d.objid) FROM f JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = f.live AND d.classid = 'pg_proc'::regclass`
	dropKeys  = `SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname) FROM f JOIN pg_constraint c ON c.confrelid = f.live
		WHERE c.contype = 'f' AND c.conparentid = 0 AND c.conrelid NOT IN (SELECT live FROM f)`
	makeKeys = `SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.conrelid::regclass, c.conname, regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', '')) || CASE WHEN o.relkind = 'p' THEN '' ELSE ' NOT VALID' END
		FROM f JOIN pg_constraint c ON c.confrelid = f.live JOIN pg_class o ON o.oid = c.conrelid
		WHERE c.contype = 'f' AND c.conparentid = 0 AND c.conrelid NOT IN (SELECT live FROM f)`
	othersPolicies = `SELECT DISTINCT format('ALTER POLICY %I ON %s', p.polname, p.polrelid::regclass)
			|| coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '') || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
		FROM f JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = f.live AND d.classid = 'pg_policy'::regclass
		JOIN pg_policy p ON p.oid = d.objid WHERE p.polrelid NOT IN (SELECT live FROM f)`
)

// validateKeys lists the foreign keys of the replica's own tables that makeKeys leaves to be
// looked through afterwards.
const validateKeys = `SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', c.conrelid::regclass, c.conname) FROM f JOIN pg_constraint c ON c.confrelid = f.live
	JOIN pg_class o ON o.oid = c.conrelid AND o.relkind <> 'p' WHERE c.contype = 'f' AND c.convalidated AND c.conparentid = 0 AND c.conrelid NOT IN (SELECT live FROM f)`

func (c *copying) dependents(ctx context.Context) (*dependents, error) {
	var live, model []uint32
	var staged, final, home []string
	for _, t := range c.tables {
		live, model = append(live, t.live), append(model, t.model)
		staged, final, home = append(staged, t.staged()), append(final, t.Qualified()), append(home, t.Schema)
	}
	write := func(into *[]string, queries ...string) error {
		for _, query := range queries {
			statements, err := c.write(ctx, tablesOfSwap+query, live, model, staged, final, home)
			if err != nil {
				return err
			}
			*into = append(*into, statements...)
		}
		return nil
	}
	d := &dependents{}
	c.later = nil
	err := write(&d.before, freeSequences, dropNewer, dropReplaced, dropKeys, leaveHeirs)
	if err == nil {
		err = write(&d.after, takeHeirs, ownSequences, nameNew, revokes, grants, policies, security, triggers, rules, publications(c.targetVersion),
			views, othersRules, functions, makeKeys, othersPolicies)
	}
	if err == nil {
		err = write(&c.later, validateKeys)
	}
	if err == nil {
		err = write(&d.views, materialized)
	}
	if err == nil {
		var more []string
		more, err = c.newViews(ctx, d.views)
		d.after = append(d.after, more...)
	}
	return d, err
}

// reached is what a sequence of the primary has come to.
type reached struct {
	// Table is schema.name, Column the one whose sequence it is.
	Table  string `json:"table"`
	Column string `json:"column"`
	Last   int64  `json:"last"`
	Called bool   `json:"called"`
}

// readSequences reads the sequences of the tables' columns, as far as the role may.
func (c *copying) readSequences(ctx context.Context) error {
	var oids []uint32
	for _, t := range c.tables {
		oids = append(oids, t.OID)
	}
	rows, err := c.snapshot.keeper.Query(ctx, `SELECT n.nspname || '.' || t.relname, a.attname, s.oid::regclass::text FROM pg_depend d
		JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace
		JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
		WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND t.oid = ANY($1) AND CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(s.oid, 'SELECT') END`, oids)
	if err != nil {
		return &feed.Error{Server: c.run.Primary.Name, Doing: "look at its sequences", Err: err}
	}
	var v reached
	var name string
	names := make([]string, 0)
	if _, err = pgx.ForEachRow(rows, []any{&v.Table, &v.Column, &name}, func() error {
		c.values, names = append(c.values, v), append(names, name)
		return nil
	}); err != nil {
		return &feed.Error{Server: c.run.Primary.Name, Doing: "look at its sequences", Err: err}
	}
	for i, name := range names {
		if err := c.snapshot.keeper.QueryRow(ctx, "SELECT last_value, is_called FROM "+name).Scan(&c.values[i].Last, &c.values[i].Called); err != nil {
			return &feed.Error{Server: c.run.Primary.Name, Doing: "read its sequence " + name, Err: err}
		}
	}
	return nil
}

// sequences sets those of the new tables, in the swap.
func (c *copying) sequences(ctx context.Context) error {
	batch := &pgx.Batch{}
	for _, v := range c.values {
		t := c.byName[v.Table]
		batch.Queue(`SELECT setval(q, $3, $4) FROM (SELECT CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = $2::text) THEN pg_get_serial_sequence($1::text, $2::text) END AS q) s WHERE q IS NOT NULL`,
			t.Qualified(), v.Column, v.Last, v.Called)
	}
	return c.target.SendBatch(ctx, batch).Close()
}

// versionOf reads 150018 from a connection.
func versionOf(ctx context.Context, conn *pgx.Conn) (int, error) {
	var text string
	if err := conn.QueryRow(ctx, "SHOW server_version_num").Scan(&text); err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(text))
}
