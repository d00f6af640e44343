package parser

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// summary writes the facts of a Part as one line, leaving out what is empty.
func summary(p *Part) string {
	out := []string{p.Kind.String()}
	add := func(name, value string) {
		if value != "" && value != "[]" {
			out = append(out, name+"="+value)
		}
	}
	flag := func(name string, set bool) {
		if set {
			out = append(out, name)
		}
	}
	if p.Body != Other {
		add("body", strings.ReplaceAll(p.Body.String(), " ", "-"))
	}
	var calls []string
	for i := range p.Calls {
		c := &p.Calls[i]
		if c.Builtin {
			continue
		}
		var args []string
		for _, a := range c.Args {
			s := "?"
			switch {
			case a.Known && a.String:
				s = "'" + a.Const + "'"
			case a.Known:
				s = a.Const
			case a.Param > 0:
				s = fmt.Sprintf("$%d", a.Param)
			}
			if a.Name != "" {
				s = a.Name + "=>" + s
			}
			args = append(args, s)
		}
		calls = append(calls, c.Text+"("+strings.Join(args, ",")+")")
	}
	add("calls", strings.Join(calls, " "))
	for i := range p.Reads {
		add("r", p.ReadText(i))
	}
	for i := range p.Writes {
		add("w", p.WriteText(i))
	}
	for i := range p.Defines {
		add("d", p.DefineText(i))
	}
	add("types", strings.Join(p.TypeSchemas, ","))
	flag("locks", p.Locks)
	switch {
	case p.Clock:
		flag("clock", true)
	default:
		flag("volatile", p.Volatile)
	}
	flag("opaque", p.Opaque)
	flag("server", p.Server)
	flag("read-only", p.ReadOnlyTx)
	flag("chain", p.Chain)
	flag("analyze", p.Analyze)
	add("isolation", p.Isolation)
	add("name", p.Name)
	add("pin", p.Pin)
	if p.Parameters > 0 {
		add("params", fmt.Sprint(p.Parameters))
	}
	return strings.Join(out, " ")
}

func TestFacts(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT a FROM t", "select r=t"},
		{"SELECT a FROM t, s.u WHERE b = $2", "select r=t r=s.u params=2"},
		{"WITH x AS (SELECT 1) SELECT * FROM x, s.x, y", "select r=s.x r=y"},
		{"WITH x AS (SELECT * FROM x) SELECT * FROM x", "select r=x"},
		{"WITH RECURSIVE x AS (SELECT * FROM x) SELECT * FROM x", "select"},
		{"SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) y, x", "select r=x"},
		{"WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "select w=t"},
		{"INSERT INTO t SELECT * FROM t", "insert r=t w=t"},
		{"INSERT INTO t VALUES (f($1)) ON CONFLICT (lower(a)) DO UPDATE SET a = g('x') WHERE h() RETURNING i()", "insert calls=f($1) g('x') h() i() w=t params=1"},
		{"UPDATE t SET a = (SELECT b FROM u)", "update r=u w=t"},
		{"DELETE FROM t USING u WHERE EXISTS (SELECT FROM v)", "delete r=u r=v w=t"},
		{"MERGE INTO t USING s ON t.a = s.a WHEN MATCHED AND f() THEN UPDATE SET a = g() WHEN NOT MATCHED THEN INSERT VALUES (h())", "merge calls=f() g() h() r=s w=t"},
		{"VALUES (f())", "values calls=f()"},
		{"TABLE t", "select r=t"},
		{"SELECT * INTO u FROM t", "ddl r=t w=u d=u"},
		{"SELECT * INTO TEMP u FROM t", "ddl r=t w=u d=u pin=temporary object"},
		{"SELECT a FROM t FOR NO KEY UPDATE OF t SKIP LOCKED", "select r=t locks"},
		{"SELECT s.f(1, 'x', x => -1::bigint, y => $1::text, z => a)", "select calls=s.f(1,'x',x=>-1,y=>$1,z=>?) params=1"},
		{"SELECT F(1), \"F\"(), S.F()", "select calls=f(1) F() s.f()"},
		{"SELECT lower('x'), now(), random()", "select clock"},
		{"SELECT now(), nextval('s')", "select volatile"},
		{"SELECT CURRENT_DATE, CURRENT_USER", "select clock"},
		{"SELECT pg_advisory_lock(1)", "select volatile pin=advisory lock"},
		{"SELECT pg_advisory_xact_lock(1)", "select volatile"},
		{"SELECT lastval()", "select volatile pin=sequence state"},
		{"SELECT x.dblink('a')", "select calls=x.dblink('a') volatile"},
		{"SELECT 1::pgml.task, CAST(a AS \"X\".y[]), b::pg_catalog.int4 FROM t", "select r=t types=pgml,X"},
		{"SELECT * FROM pg_temp.t", "select r=pg_temp.t pin=temporary object"},
		{"COPY t FROM STDIN", "copy from w=t"},
		{"COPY t TO PROGRAM 'x'", "copy to r=t server"},
		{"COPY (SELECT f() FROM t) TO STDOUT", "copy to body=select calls=f() r=t"},
		{"COPY (DELETE FROM t RETURNING a) TO '/x'", "copy to body=delete w=t server"},
		{"EXPLAIN (ANALYZE, VERBOSE off) SELECT f()", "explain body=select calls=f() analyze"},
		{"EXPLAIN (ANALYZE false) DELETE FROM t", "explain body=delete w=t"},
		{"PREPARE q(int) AS SELECT f($1)", "prepare body=select calls=f($1) name=q pin=statement prepared by SQL params=1"},
		{"EXECUTE q(g())", "execute calls=g() name=q"},
		{"EXPLAIN EXECUTE q", "explain body=execute name=q"},
		{"EXPLAIN ANALYZE EXECUTE q", "explain body=execute opaque analyze name=q"},
		{"DEALLOCATE q", "deallocate name=q"},
		{"DECLARE c CURSOR WITH HOLD FOR SELECT f() FROM t", "declare body=select calls=f() r=t name=c pin=with hold cursor"},
		{"FETCH 1 FROM c", "fetch name=c"},
		{"MOVE c", "fetch name=c"},
		{"CLOSE ALL", "close"},
		{"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", "begin read-only isolation=repeatable read"},
		{"START TRANSACTION READ WRITE", "begin"},
		{"SET TRANSACTION READ ONLY", "set read-only"},
		{"COMMIT AND CHAIN", "commit chain"},
		{"END", "commit"},
		{"ABORT", "rollback"},
		{"SAVEPOINT a", "savepoint name=a"},
		{"ROLLBACK TO a", "rollback to name=a"},
		{"RELEASE a", "release name=a"},
		{"PREPARE TRANSACTION 'x'", "prepare transaction name=x"},
		{"COMMIT PREPARED 'x'", "prepare transaction name=x"},
		{"LISTEN a", "listen name=a pin=listen"},
		{"NOTIFY a, 'b'", "notify name=a"},
		{"UNLISTEN *", "unlisten"},
		{"LOAD 'x'", "load pin=load"},
		{"DISCARD PLANS", "discard name=plans"},
		{"DISCARD ALL", "discard"},
		{"LOCK TABLE t, u", "lock table r=t r=u locks"},
		{"TRUNCATE t, s.u CASCADE", "truncate w=t w=s.u"},
		{"CALL s.p(f())", "call calls=s.p(?) f() opaque"},
		{"SHOW work_mem", "show name=work_mem"},
		{"VACUUM t", "other d=t"},
		{"REFRESH MATERIALIZED VIEW m", "other w=m d=m"},
		{"GRANT SELECT ON s.t TO x", "other d=s.t"},
	} {
		check(t, c.sql, c.want)
	}
}

func TestFactsOfDefinitions(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"CREATE TABLE s.t (a int DEFAULT f(), b pgml.task CHECK (g(b)), c real GENERATED ALWAYS AS (h(a)) STORED, d int REFERENCES u, LIKE v) INHERITS (w)", "ddl calls=f() g(?) h(?) r=u r=v r=w d=s.t types=pgml"},
		{"CREATE TEMP TABLE t (a int)", "ddl d=t pin=temporary object"},
		{"CREATE TABLE pg_temp.t (a int)", "ddl d=pg_temp.t pin=temporary object"},
		{"CREATE TABLE t AS SELECT f() FROM u", "ddl body=select calls=f() r=u w=t d=t"},
		{"CREATE TABLE t AS EXECUTE q", "ddl body=execute w=t d=t opaque name=q"},
		{"CREATE MATERIALIZED VIEW m AS SELECT f() FROM u", "ddl body=select calls=f() r=u d=m"},
		{"CREATE VIEW v AS SELECT f(), nextval('s') FROM u FOR UPDATE", "ddl calls=f() r=u d=v"},
		{"CREATE TEMP VIEW v AS SELECT 1", "ddl d=v pin=temporary object"},
		{"CREATE INDEX i ON t (f(a)) WHERE g(b)", "ddl calls=f(?) g(?) d=t"},
		{"ALTER TABLE t ADD COLUMN a int DEFAULT f()", "ddl calls=f() d=t"},
		{"ALTER TABLE t SET SCHEMA pgml", "ddl d=t d=pgml"},
		{"DROP TABLE s.t, u", "ddl d=s.t d=u"},
		{"DROP FUNCTION s.f(int)", "ddl d=s.f"},
		{"DROP SCHEMA s", "ddl d=s"},
		{"DROP TRIGGER x ON s.t", "ddl d=s.t"},
		{"COMMENT ON COLUMN s.t.c IS 'x'", "ddl d=s.t"},
		{"CREATE EXTENSION pgml", "ddl d=pgml"},
		{"CREATE SEQUENCE s.q", "ddl d=s.q"},
		{"CREATE TYPE s.x AS ENUM ('a')", "ddl d=s.x"},
		{"CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW WHEN (f(new.a)) EXECUTE FUNCTION s.g()", "ddl calls=s.g() f(?) d=t"},
		{"CREATE RULE r AS ON INSERT TO t DO ALSO DELETE FROM u", "ddl r=u d=t"},
		{"CREATE FUNCTION s.f(a int DEFAULT g()) RETURNS pgml.task LANGUAGE sql AS 'SELECT h($1) FROM t; DELETE FROM u'", "ddl calls=g() h($1) r=t r=u d=s.f types=pgml params=1"},
		{"CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT g(); END", "ddl calls=g() d=f"},
		{"CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x'", "ddl d=f opaque"},
		{"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := g('x'); RETURN NEW; END $$", "ddl calls=g('x') d=f"},
		{"DO $$ BEGIN PERFORM f(); IF g() THEN UPDATE t SET a = h(); END IF; FOR i IN 1..j() LOOP NULL; END LOOP; END $$", "do calls=f() g() h() j() w=t"},
		{"DO $$ BEGIN EXECUTE 'x' || f(); END $$", "do calls=f() opaque"},
		{"DO $$ BEGIN this is not plpgsql; END $$", "do opaque"},
		{"DO LANGUAGE plpython3u 'x'", "do opaque"},
		{"DO $$ BEGIN DO $x$ BEGIN PERFORM f(); END $x$; END $$", "do calls=f()"},
		{"DO $$ BEGIN CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $x$ BEGIN DO $y$ BEGIN DELETE FROM t; END $y$; RETURN g(); END $x$; END $$", "do calls=g() r=t d=f opaque"},
	} {
		check(t, c.sql, c.want)
	}
}

func check(t *testing.T, sql, want string) {
	t.Helper()
	st := Parse(sql)
	if st.Unparsed != "" || len(st.Parts) != 1 {
		t.Errorf("%s: unparsed %q, %d parts", sql, st.Unparsed, len(st.Parts))
		return
	}
	if got := summary(&st.Parts[0]); got != want {
		t.Errorf("%s\n got %s\nwant %s", sql, got, want)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	nested := "SELECT f()"
	for n := range 20 {
		nested = fmt.Sprintf("DO $a%d$ BEGIN %s; END $a%d$", n, nested, n)
	}
	many := "DO $$ BEGIN " + strings.Repeat("PERFORM f();", 3000) + " END $$"
	for _, sql := range []string{nested, many} {
		if st := Parse(sql); len(st.Parts) != 1 || !st.Parts[0].Opaque {
			t.Errorf("%.40s...: not opaque", sql)
		}
	}
}

// everywhere holds a call in every expression position of a SELECT.
const everywhere = `WITH a AS (SELECT f(1)) SELECT DISTINCT ON (f(2)) f(3), CASE f(4) WHEN f(5) THEN f(6) ELSE f(7) END,
	(SELECT f(8)), ARRAY[f(9)], ROW(f(10)), (f(11))[f(12)], f(13)::text COLLATE "C", f(14) IS NULL, f(15) BETWEEN f(16) AND f(17),
	f(18) IN (f(19)), f(20) LIKE f(21), NOT f(22), f(23) AND f(24), COALESCE(f(25)), GREATEST(f(26)), NULLIF(f(27), f(28)),
	g(DISTINCT f(29) ORDER BY f(30)) FILTER (WHERE f(31)) OVER (PARTITION BY f(32) ORDER BY f(33) ROWS f(34) PRECEDING),
	g() WITHIN GROUP (ORDER BY f(35)), XMLELEMENT(NAME a, f(36)), JSON_OBJECT('a': f(37)), JSON_ARRAY(f(38)), f(39) IS DISTINCT FROM f(40),
	(f(41)).x, f(42) AT TIME ZONE f(43), EXTRACT(day FROM f(44)), f(45) OPERATOR(pg_catalog.+) f(46), EXISTS (SELECT f(47)), f(48) = ANY (f(49))
	FROM f(50), LATERAL f(51), ROWS FROM (f(52), f(53)), t TABLESAMPLE bernoulli (f(54)), (VALUES (f(55))) v, (SELECT f(56)) s
	JOIN u ON f(57), XMLTABLE('x' PASSING f(58) COLUMNS c int DEFAULT f(59))
	WHERE f(60) GROUP BY GROUPING SETS ((f(61)), ROLLUP (f(62))) HAVING f(63) WINDOW w AS (ORDER BY f(64))
	UNION SELECT f(65) ORDER BY f(66) LIMIT f(67) OFFSET f(68)`

func TestCallsAreFoundInEveryPosition(t *testing.T) {
	st := Parse(everywhere)
	if st.Unparsed != "" {
		t.Fatal(st.Unparsed)
	}
	seen := make(map[string]bool)
	for _, c := range st.Parts[0].Calls {
		if c.Name == "f" {
			seen[c.Args[0].Const] = true
		}
	}
	for n := 1; n <= 68; n++ {
		if !seen[fmt.Sprint(n)] {
			t.Errorf("f(%d) was not found", n)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		sql  string
		want []Setting
		pin  string
	}{
		{"SET work_mem = '1MB'", []Setting{{Name: "work_mem", SQL: "SET work_mem TO '1MB'", Value: "1MB"}}, ""},
		{"SET LOCAL Statement_Timeout TO 5", []Setting{{Name: "statement_timeout", SQL: "SET LOCAL statement_timeout TO '5'", Value: "5", Local: true}}, ""},
		{"SET search_path TO a, \"B c\", '$user'", []Setting{{Name: "search_path", SQL: "SET search_path TO 'a', 'B c', '$user'", Value: `a, "B c", "$user"`}}, ""},
		{"SET search_path TO ''", []Setting{{Name: "search_path", SQL: "SET search_path TO ''", Value: `""`}}, ""},
		{"SET work_mem TO DEFAULT", []Setting{{Name: "work_mem"}}, ""},
		{"RESET work_mem", []Setting{{Name: "work_mem"}}, ""},
		{"RESET ALL", []Setting{{}}, ""},
		{"DISCARD ALL", []Setting{{}}, ""},
		{"SET ROLE x", []Setting{{Name: "role", SQL: "SET role TO 'x'", Value: "x"}}, ""},
		{"SET ROLE NONE", []Setting{{Name: "role", SQL: "SET role TO 'none'", Value: "none"}}, ""},
		{"RESET ROLE", []Setting{{Name: "role"}}, ""},
		{"SET SESSION AUTHORIZATION x", []Setting{{Name: "session_authorization", SQL: "SET session_authorization TO 'x'", Value: "x"}}, ""},
		{"SET SESSION AUTHORIZATION DEFAULT", []Setting{{Name: "session_authorization"}}, ""},
		{"SET TIME ZONE 'UTC'", []Setting{{Name: "timezone", SQL: "SET timezone TO 'UTC'", Value: "UTC"}}, ""},
		{"SET TIME ZONE LOCAL", []Setting{{Name: "timezone"}}, ""},
		{" /* a */ SET TIME ZONE INTERVAL '1' HOUR -- b", []Setting{{Name: "timezone", SQL: "SET TIME ZONE INTERVAL '1' HOUR"}}, ""},
		{"SET NAMES 'latin1'", []Setting{{Name: "client_encoding", SQL: "SET client_encoding TO 'latin1'", Value: "latin1"}}, ""},
		{"SET pgshunt.route = 'replica:ml1'", []Setting{{Name: "pgshunt.route", SQL: "SET pgshunt.route TO 'replica:ml1'", Value: "replica:ml1"}}, ""},
		{"SET a.b = E'it''s\\\\'", []Setting{{Name: "a.b", SQL: `SET a.b TO E'it''s\\'`, Value: `it's\`}}, ""},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE", []Setting{
			{Name: "default_transaction_read_only", SQL: "SET default_transaction_read_only TO 'on'", Value: "on"},
			{Name: "default_transaction_isolation", SQL: "SET default_transaction_isolation TO 'serializable'", Value: "serializable"},
		}, ""},
		{"SET TRANSACTION READ ONLY", []Setting{{Name: "transaction_read_only", SQL: "SET LOCAL transaction_read_only TO 'on'", Value: "on", Local: true}}, ""},
		{"SELECT set_config('Work_Mem', '1MB', false)", []Setting{{Name: "work_mem", SQL: "SET work_mem TO '1MB'", Value: "1MB"}}, ""},
		{"SELECT pg_catalog.set_config('search_path', '', false)", []Setting{{Name: "search_path", SQL: "SET search_path TO ''"}}, ""},
		{"SELECT set_config('search_path', 'A, \"B\"', true)", []Setting{{Name: "search_path", SQL: "SET LOCAL search_path TO 'a', 'B'", Value: `A, "B"`, Local: true}}, ""},
		{"SELECT set_config('a.b', NULL, false), set_config('c.d', 'x', true)", []Setting{
			{Name: "a.b"}, {Name: "c.d", SQL: "SET LOCAL c.d TO 'x'", Value: "x", Local: true},
		}, ""},
		{"SELECT set_config($1, $2, false)", []Setting{{Unknown: true, Params: [3]int{1, 2, 0}}}, ""},
		{"SELECT set_config('a.b', $1, true)", []Setting{{Name: "a.b", Local: true, Unknown: true, Params: [3]int{0, 1, 0}}}, ""},
		{"SELECT set_config('a.b', $2::text, $1::bool)", []Setting{{Name: "a.b", Unknown: true, Params: [3]int{0, 2, 1}}}, ""},
		{"SELECT set_config('a.b', $1::int::text, false)", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"SELECT set_config('a.b', upper($1), false)", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"SELECT set_config('a.b', $1, false) WHERE $2", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"SELECT set_config(is_local => false, new_value => 'x', setting_name => 'a.b')", []Setting{{Name: "a.b", SQL: "SET a.b TO 'x'", Value: "x"}}, ""},
		{"SELECT set_config('a.b', 'x', false), now(), current_setting('c.d')", []Setting{{Name: "a.b", SQL: "SET a.b TO 'x'", Value: "x"}}, ""},
		{"SELECT set_config('a.b', 'x', false), generate_series(1, 0)", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"SELECT set_config('a.b', 'x', false) LIMIT 0", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"SELECT CASE WHEN false THEN set_config('a.b', 'x', false) END", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"SELECT (SELECT set_config('a.b', 'x', false))", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"SELECT set_config('a.b', 'c', false) FROM t", []Setting{{Name: "a.b", Unknown: true}}, PinSetting},
		{"DO $$ BEGIN SET work_mem = '1MB'; END $$", []Setting{{Name: "work_mem", Unknown: true}}, PinSetting},
	} {
		p := Parse(c.sql).Parts[0]
		var got []Setting
		if p.Setting != nil {
			first := *p.Setting
			also := first.Also
			first.Also = nil
			got = append([]Setting{first}, also...)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s\n%s", c.sql, diff)
		}
		if p.Pin != c.pin {
			t.Errorf("%s: pin %q, expected %q", c.sql, p.Pin, c.pin)
		}
		for _, s := range got {
			if again := Parse(s.SQL); s.SQL != "" && (len(again.Parts) != 1 || again.Parts[0].Setting.Name != s.Name || again.Parts[0].Setting.Local != s.Local) {
				t.Errorf("%s: %q does not repeat it", c.sql, s.SQL)
			}
		}
	}
}

func TestManyRelationsAreEachNotedOnce(t *testing.T) {
	var from []string
	for n := range 200 {
		from = append(from, fmt.Sprintf("t%d", n%100))
	}
	p := Parse("SELECT FROM " + strings.Join(from, ", ")).Parts[0]
	if len(p.Reads) != 100 || p.Reads[99].Name != "t99" || p.ReadText(99) != "t99" {
		t.Errorf("%d relations: %v", len(p.Reads), p.Reads)
	}
}

func TestUnparsed(t *testing.T) {
	for sql, want := range map[string]string{
		"SELEC 1": UnparsedSyntax, "SELECT '": UnparsedSyntax, "SELECT 1\x00": UnparsedEncoding, "SELECT '\xff'": UnparsedEncoding,
		"SELECT '" + strings.Repeat("x", DefaultMaxParse) + "'":                      UnparsedTooLong,
		"SELECT " + strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500):        UnparsedTooDeep,
		"SELECT 1" + strings.Repeat("+1", 5000):                                      UnparsedTooDeep,
		"SELECT " + strings.Repeat("NOT ", 5000) + "a":                               UnparsedTooDeep,
		"SELECT 1" + strings.Repeat(" UNION SELECT a, b FROM t WHERE a AND b", 1500): "",
		"SELECT 1" + strings.Repeat(" UNION SELECT 1", 2500):                         UnparsedTooDeep,
		"SELECT 1 WHERE " + strings.Repeat("a = 1 AND ", 5000) + "b":                 "",
		"SELECT 1 IN (" + strings.Repeat("1, ", 15000) + "1)":                        "",
		"DO $$ BEGIN " + strings.Repeat("IF a THEN ", 3000) + "END $$":               "",
	} {
		if got := Parse(sql).Unparsed; got != want {
			t.Errorf("%.60q: %q, expected %q", sql, got, want)
		}
	}
}

func TestPositionsAndHints(t *testing.T) {
	st := Parse(" SELECT 1 ; /* c */ SELECT 2;")
	var texts []string
	for _, p := range st.Parts {
		texts = append(texts, strings.TrimSpace(st.Text[p.Start:p.End]))
	}
	if want := []string{"SELECT 1", "/* c */ SELECT 2"}; !slices.Equal(texts, want) {
		t.Errorf("parts are %q, expected %q", texts, want)
	}
	for sql, want := range map[string]string{
		"/*+ pgshunt: primary */ SELECT 1":            "primary",
		" -- x\n/* y */ /*+pgshunt:replica:ml1*/ END": "replica:ml1",
		"SELECT /*+ pgshunt: primary */ 1":            "",
		"SELECT '/*+ pgshunt: primary */'":            "",
		"/* pgshunt: primary */ SELECT 1":             "",
	} {
		if got := Parse(sql).Hint; got != want {
			t.Errorf("%s: hint %q, expected %q", sql, got, want)
		}
	}
	if !Parse(`SELECT 'a\b'`).Backslashes || Parse(`SELECT E'a\b'`).Backslashes {
		t.Error("Backslashes is about plain strings")
	}
}
