package main

import (
	"slices"
	"testing"

	"pgshunt/parser"
	"pgshunt/router"
)

// hiding are functions with effects where no statement names them.
var hiding = []struct {
	name, sql string
	reads     map[string]bool // whether a statement is to be read on a replica
	quiet     []string        // where PostgreSQL does not call it here, or has an error to report
}{
	{
		name: "a default operator class", sql: `CREATE TYPE pair AS (a int, b int);
		CREATE FUNCTION same(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a = ($2).a';
		CREATE FUNCTION less(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a < ($2).a';
		CREATE FUNCTION order_of(pair, pair) RETURNS int LANGUAGE sql AS 'SELECT bump(0); SELECT ($1).a - ($2).a';
		CREATE OPERATOR =#= (LEFTARG = pair, RIGHTARG = pair, FUNCTION = same);
		CREATE OPERATOR <#< (LEFTARG = pair, RIGHTARG = pair, FUNCTION = less);
		CREATE OPERATOR >#> (LEFTARG = pair, RIGHTARG = pair, FUNCTION = less);
		CREATE OPERATOR CLASS pair_ops DEFAULT FOR TYPE pair USING btree AS OPERATOR 1 <#<, OPERATOR 3 =#=, OPERATOR 5 >#>, FUNCTION 1 order_of(pair, pair);
		CREATE TABLE pairs (v pair); INSERT INTO pairs SELECT ROW(i, i)::pair FROM generate_series(1, 3) i;
		CREATE TABLE boxes (v pair[]); INSERT INTO boxes VALUES (ARRAY[ROW(1, 2)::pair, ROW(3, 4)::pair]), (ARRAY[ROW(1, 2)::pair]);
		CREATE TYPE outer_pair AS (p pair); CREATE TABLE outers (v outer_pair);
		INSERT INTO outers SELECT ROW(ROW(i, i)::pair)::outer_pair FROM generate_series(1, 3) i;
		CREATE FUNCTION pairs_of() RETURNS SETOF pair LANGUAGE sql STABLE AS 'SELECT ROW(i, i)::pair FROM generate_series(1, 3) i';
		CREATE VIEW ordered AS SELECT v FROM pairs ORDER BY v`,
		reads: map[string]bool{
			"SELECT v FROM pairs ORDER BY v": false, "SELECT DISTINCT v FROM pairs": false, "SELECT v FROM pairs GROUP BY v": false,
			"SELECT count(DISTINCT v) FROM pairs": false, "SELECT rank() OVER (ORDER BY v) FROM pairs": false,
			"SELECT v FROM pairs UNION SELECT v FROM pairs": false, "SELECT v FROM boxes ORDER BY v": false,
			"SELECT v FROM outers ORDER BY v": false, "SELECT v FROM pairs_of() v ORDER BY v": false,
			"SELECT ROW(i, i)::pair FROM generate_series(1, 3) i ORDER BY 1": false, "SELECT * FROM ordered": false,
			"SELECT id FROM users ORDER BY id": true, "SELECT i FROM generate_series(1, 3) i ORDER BY 1": true,
		},
	},
	{
		name: "an operator class that is not the default one", sql: `
		CREATE FUNCTION less(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < $2';
		CREATE FUNCTION order_of(int, int) RETURNS int LANGUAGE sql AS 'SELECT bump(0); SELECT $1 - $2';
		CREATE OPERATOR <#< (LEFTARG = int, RIGHTARG = int, FUNCTION = less);
		CREATE OPERATOR CLASS odd_ops FOR TYPE int USING btree AS OPERATOR 1 <#<, OPERATOR 3 =, FUNCTION 1 order_of(int, int);
		CREATE TABLE indexed (v int); INSERT INTO indexed SELECT i FROM generate_series(1, 3) i; CREATE INDEX ON indexed (v odd_ops);
		CREATE TABLE whole (v int) PARTITION BY RANGE (v odd_ops); CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (9);
		CREATE TYPE odd AS RANGE (subtype = int, subtype_opclass = odd_ops); CREATE TABLE odds (v odd)`,
		reads: map[string]bool{
			"SELECT v FROM indexed ORDER BY v USING <#<": false, "SELECT v FROM indexed WHERE v = 2": false, "SELECT v FROM whole WHERE v = 2": false,
			"SELECT '[1,2]'::odd": false, "SELECT odd(1, 2)": false, "SELECT * FROM odds": false,
			"SELECT id FROM users ORDER BY id": true, "SELECT id FROM users WHERE id = 2": true,
		},
		quiet: []string{"SELECT * FROM odds", "SELECT v FROM indexed WHERE v = 2"},
	},
	{
		name: "a hash function", sql: `CREATE TYPE mood AS ENUM ('a', 'b');
		CREATE FUNCTION same(mood, mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
		CREATE FUNCTION hash_of(mood) RETURNS int LANGUAGE sql AS 'SELECT bump(0); SELECT 1';
		CREATE OPERATOR =#= (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same, HASHES);
		CREATE OPERATOR CLASS mood_ops DEFAULT FOR TYPE mood USING hash AS OPERATOR 1 =#=, FUNCTION 1 hash_of(mood);
		CREATE TABLE moods (v mood)`,
		reads: map[string]bool{"SELECT v FROM moods GROUP BY v": false, "SELECT 'a'::mood": false, "SELECT id FROM users": true},
		quiet: []string{"SELECT v FROM moods GROUP BY v", "SELECT 'a'::mood"},
	},
	{
		name: "a function added to a family", sql: `CREATE TYPE step AS (n int);
		CREATE FUNCTION within(int, int, step, boolean, boolean) RETURNS boolean LANGUAGE sql AS 'SELECT bump(0); SELECT true';
		ALTER OPERATOR FAMILY pg_catalog.integer_ops USING btree ADD FUNCTION 3 (int, step) within(int, int, step, boolean, boolean)`,
		reads: map[string]bool{
			"SELECT sum(i) OVER (ORDER BY i RANGE BETWEEN ROW(1)::step PRECEDING AND CURRENT ROW) FROM generate_series(1, 3) i": false,
			"SELECT sum(i) OVER (ORDER BY i RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM generate_series(1, 3) i":            true,
			"SELECT id FROM users": true,
		},
	},
	{
		name: "a range's difference", sql: `
		CREATE FUNCTION far(int, int) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT bump(0)::float8';
		CREATE TYPE span AS RANGE (subtype = int, subtype_diff = far); CREATE TABLE spans (v span)`,
		reads: map[string]bool{"SELECT * FROM spans": false, "SELECT '[1,2]'::span": false, "SELECT id FROM users": true},
		quiet: []string{"SELECT * FROM spans", "SELECT '[1,2]'::span"},
	},
	{
		name: "a domain inside", sql: `CREATE DOMAIN noted AS int CHECK (bump(0) IS NOT NULL);
		CREATE TYPE note AS (n noted); CREATE TYPE listed AS (list note[]); CREATE TABLE noting (v note); INSERT INTO noting VALUES (NULL);
		CREATE DOMAIN "Noted Too" AS int CHECK (bump(0) IS NOT NULL); CREATE TABLE too (v "Noted Too"); INSERT INTO too VALUES (NULL)`,
		reads: map[string]bool{
			"SELECT 1::noted": false, "SELECT '{1}'::noted[]": false, "SELECT '(1)'::note": false, "SELECT ROW(1)::note": false,
			"SELECT jsonb_populate_record(NULL::listed, '{\"list\": [{\"n\": 1}]}')": false, "SELECT * FROM json_to_record('{\"n\": 1}') AS x(n noted)": false,
			"SELECT jsonb_populate_record(v, '{\"n\": 1}') FROM noting": false, "SELECT '1'::\"Noted Too\"": false,
			"SELECT jsonb_populate_record(too, '{\"v\": 1}') FROM too": false, "SELECT id::text FROM users": true,
		},
	},
	{
		name: "a column that is a function", sql: `CREATE TABLE rows (id int); INSERT INTO rows VALUES (1);
		CREATE FUNCTION peek(rows) RETURNS int LANGUAGE sql AS 'SELECT bump(0)';
		CREATE FUNCTION look(record) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN bump(0); END';
		CREATE FUNCTION any_of(anyelement) RETURNS int LANGUAGE sql AS 'SELECT bump(0)';
		CREATE FUNCTION name(int) RETURNS int LANGUAGE sql AS 'SELECT bump(0)'`,
		reads: map[string]bool{
			"SELECT r.peek FROM rows r": false, "SELECT rows.peek FROM rows": false, "SELECT (r).peek FROM rows r": false,
			"SELECT 1 FROM rows r WHERE r.peek > 0": false, "SELECT r.look FROM rows r": false, "SELECT r.any_of FROM rows r": false,
			"SELECT r.id FROM rows r": true, "SELECT u.name FROM users u": true, "SELECT name FROM users": true,
		},
	},
	{
		name: "a label that is not true", sql: `
		CREATE FUNCTION draws() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT nextval(''ticket'')';
		CREATE FUNCTION draws_too() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN nextval(''ticket''); END';
		CREATE FUNCTION locks() RETURNS void LANGUAGE sql STABLE AS 'SELECT pg_advisory_xact_lock(1)';
		CREATE FUNCTION atomic() RETURNS int LANGUAGE sql STABLE BEGIN ATOMIC SELECT bump(0); END;
		CREATE FUNCTION given(a int DEFAULT bump(0)) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
		CREATE FUNCTION given_next(a bigint DEFAULT nextval('ticket')) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1';
		CREATE FUNCTION when_is_it() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()'`,
		reads: map[string]bool{
			"SELECT draws()": false, "SELECT draws_too()": false, "SELECT locks()": false, "SELECT atomic()": false,
			"SELECT given()": false, "SELECT given_next()": false, "SELECT when_is_it()": true,
		},
	},
	{
		name: "overloads and implicit casts", sql: `CREATE TYPE held AS (v int);
		CREATE FUNCTION hold(int) RETURNS held LANGUAGE sql AS 'SELECT ROW(bump(0))::held';
		CREATE CAST (int AS held) WITH FUNCTION hold(int) AS IMPLICIT;
		CREATE FUNCTION takes(held) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
		CREATE FUNCTION poly(anyelement) RETURNS int LANGUAGE sql AS 'SELECT bump(0)';
		CREATE FUNCTION many(VARIADIC int[]) RETURNS int LANGUAGE sql AS 'SELECT bump(0)'`,
		reads: map[string]bool{"SELECT takes(1)": false, "SELECT poly(1)": false, "SELECT poly('a'::text)": false, "SELECT many(1, 2)": false, "SELECT id FROM users": true},
	},
	{
		name: "an operator that is implied", sql: `CREATE FUNCTION equals(int, text) RETURNS boolean LANGUAGE sql AS 'SELECT bump(0) IS NOT NULL';
		CREATE OPERATOR = (LEFTARG = int, RIGHTARG = text, FUNCTION = equals)`,
		reads: map[string]bool{
			"SELECT 1 = 'a'::text": false, "SELECT 1 IN ('a'::text)": false, "SELECT 1 IN (SELECT 'a'::text)": false, "SELECT 1 = ANY (ARRAY['a'::text])": false,
			"SELECT NULLIF(1, 'a'::text)": false, "SELECT CASE 1 WHEN 'a'::text THEN 1 END": false, "SELECT 1 IS DISTINCT FROM 'a'::text": false,
			"SELECT ROW(1, 2) = ROW('a'::text, 2)": false, "SELECT * FROM (SELECT 1 AS c) a JOIN (SELECT 'a'::text AS c) b USING (c)": false,
			"SELECT * FROM (SELECT 1 AS c) a NATURAL JOIN (SELECT 'a'::text AS c) b": false,
		},
		quiet: []string{
			"SELECT ROW(1, 2) = ROW('a'::text, 2)", "SELECT * FROM (SELECT 1 AS c) a JOIN (SELECT 'a'::text AS c) b USING (c)",
			"SELECT * FROM (SELECT 1 AS c) a NATURAL JOIN (SELECT 'a'::text AS c) b",
		},
	},
	{
		name: "a comparison that is implied", sql: `CREATE FUNCTION less(int, text) RETURNS boolean LANGUAGE sql AS 'SELECT bump(0) IS NOT NULL';
		CREATE OPERATOR >= (LEFTARG = int, RIGHTARG = text, FUNCTION = less)`,
		reads: map[string]bool{"SELECT 1 BETWEEN 'a'::text AND 2": false, "SELECT 1 >= 'a'::text": false},
	},
	{
		name: "what planning folds", sql: `
		CREATE FUNCTION lie(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN bump(0); END';
		CREATE TABLE checked (v int CHECK (v > lie(0))); CREATE TABLE child () INHERITS (checked);
		CREATE TABLE partial (v int); CREATE INDEX ON partial (v) WHERE v > lie(0);
		CREATE TABLE computed (v int); CREATE INDEX ON computed ((v + lie(0)));
		CREATE TABLE counted (v int, w int); CREATE STATISTICS counts ON (v + lie(0)), w FROM counted;
		CREATE TABLE parted (v int) PARTITION BY RANGE ((v + lie(0))); CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9);
		CREATE FUNCTION honest(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'; CREATE TABLE fine (v int CHECK (v > honest(0)))`,
		reads: map[string]bool{
			"SELECT v FROM checked WHERE v = 2": false, "SELECT v FROM partial WHERE v = 2": false, "SELECT v FROM computed WHERE v = 2": false,
			"SELECT v FROM counted WHERE v = 2": false, "SELECT v FROM parted WHERE v = 2": false, "SELECT v FROM fine WHERE v = 2": true,
			"SELECT id FROM users": true,
		},
	},
	{
		name: "security", sql: `CREATE TABLE secret (v int); INSERT INTO secret VALUES (1); ALTER TABLE secret ENABLE ROW LEVEL SECURITY; ALTER TABLE secret FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON secret USING (bump(0) IS NOT NULL)`,
		reads: map[string]bool{"SELECT v FROM secret": false}, quiet: []string{"SELECT v FROM secret"},
	}, // to a superuser
}

// TestWhatNoStatementNames asks the router about statements that call functions with effects without
// naming them, and PostgreSQL whether they do.
func TestWhatNoStatementNames(t *testing.T) {
	o, url := askAServer(t)
	ctx := t.Context()
	var err error
	if o.sees, err = see(ctx, url, "postgres"); err != nil {
		t.Fatal(err)
	}
	defer o.sees.close()
	o.view.SearchPath = []string{"hiding", "public"}
	for _, c := range hiding {
		t.Run(c.name, func(t *testing.T) {
			if err := o.exec(ctx, "CREATE SCHEMA hiding; SET search_path = hiding, public;"+c.sql); err != nil {
				t.Fatal(err)
			}
			o.sees.stale = true
			for text, reads := range c.reads {
				st := parser.Parse(text)
				if judged, err := o.look(ctx, st); !judged || err != nil {
					t.Fatalf("%s: %v, %v", text, judged, err)
				}
				d := o.policy.Decide(st, &o.view, o.fleet)
				if got := d.Place == router.Replica; got != reads {
					t.Errorf("%s: taken for a read: %v (%s)", text, got, d.Text())
				}
				effect, err := o.check(ctx, text, router.Read)
				if err != nil {
					t.Fatal(err)
				}
				if want := reads || slices.Contains(c.quiet, text); (effect == "") != want {
					t.Errorf("%s: the server says %q", text, effect)
				}
			}
			if err := o.exec(ctx, "DROP SCHEMA hiding CASCADE"); err != nil {
				t.Fatal(err)
			}
		})
	}
}
