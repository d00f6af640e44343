package parser

import (
	"fmt"
	"strings"
	"testing"
)

// described writes the calls that are not built in, with their notation, and the columns.
func described(p *Part) string {
	var out []string
	for _, c := range p.Calls {
		if c.Builtin && c.Form == Written {
			continue
		}
		out = append(out, [...]string{Written: "call ", Operator: "operator ", Field: "field "}[c.Form]+c.Text)
	}
	out = append(out, p.Columns...)
	for _, fact := range []struct {
		name string
		set  bool
	}{{"*", p.Star}, {"system", p.System}, {"volatile", p.Volatile}} {
		if fact.set {
			out = append(out, fact.name)
		}
	}
	return strings.Join(out, ", ")
}

func TestColumns(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT a, t.b, s.t.c FROM s.t WHERE a = 1 ORDER BY d", "a, b, c, d"},
		{"SELECT lower(a) AS b FROM t GROUP BY c HAVING max(d) > 1", "a, c, d"},
		{"SELECT * FROM t", "*"},
		{"SELECT t.* FROM t", "*"},
		{"SELECT a FROM t WHERE id IN (TABLE u)", "a, id, *"},
		{"SELECT count(*) FROM t", ""},
		{"SELECT t FROM t", "t, *"},
		{"SELECT row_to_json(x) FROM s.t AS x", "x, *"},
		{"SELECT (x).a FROM t x", "field a, x, *"},
		{"SELECT t FROM t x", "t"},
		{"SELECT a FROM t JOIN u USING (b) NATURAL JOIN v", "a, b, *"},
		{"SELECT a FROM t JOIN u USING (b) JOIN v ON c = d", "a, b, c, d"},
		{"SELECT p FROM t AS x (p, q)", "p, *"},
		{"COPY t (a, b) TO STDOUT", "a, b"},
		{"COPY t TO STDOUT", "*"},
		{"INSERT INTO t (a) SELECT b FROM u", "b"},
		{"CREATE VIEW v AS SELECT * FROM t WHERE a", ""},
		{"SELECT a FROM t WHERE EXISTS (SELECT FROM u WHERE u.b = t.c)", "a, b, c"},
		{"SELECT x.a FROM (SELECT b FROM t) x", "a, b"},
		{"SELECT xmin, a FROM t", "xmin, a, system"},
		{"SELECT t.ctid FROM t", "ctid, system"},
		{"SELECT has_table_privilege('t', 'select')", "system"},
		{"SELECT pg_typeof(1), pg_size_pretty(1::bigint), current_setting('a.b')", ""},
		{"SELECT to_regclass('t'), pg_get_viewdef('v'), inet_server_addr(), version()", "system"},
	} {
		if got := described(&Parse(c.sql).Parts[0]); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
	var many []string
	for n := range 2 * maxColumns {
		many = append(many, fmt.Sprintf("c%d", n))
	}
	if p := &Parse("SELECT " + strings.Join(many, ", ") + " FROM t").Parts[0]; len(p.Columns) != maxColumns || !p.Star {
		t.Errorf("%d columns, star %v: not bounded", len(p.Columns), p.Star)
	}
}

// TestCallsInOtherNotations is about functions that are called by an operator, or by
// what looks like a column.
func TestCallsInOtherNotations(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT a + b, a OPERATOR(pg_catalog.-) b, a BETWEEN SYMMETRIC 1 AND 2, a NOT BETWEEN 1 AND 2 FROM t", "a, b"},
		{"SELECT a <=> b FROM t", "a, b"},
		{"SELECT a === b FROM t", "operator ===, a, b"},
		{"SELECT a OPERATOR(pgml.+) b FROM t", "operator pgml.+, a, b"},
		{"SELECT @#@ a FROM t", "operator @#@, a"},
		{"SELECT a OPERATOR(pgml.=) ANY (SELECT b FROM u) FROM t", "operator pgml.=, a, b"},
		{"SELECT a === ALL (ARRAY[1]) FROM t ORDER BY b USING OPERATOR(x.<)", "operator ===, operator x.<, a, b"},
		{"SELECT ('s'::regclass).nextval", "field nextval, volatile"},
		{"SELECT (('s'::regclass)).nextval.x", "field nextval, field x, volatile"},
		{"SELECT x.nextval FROM to_regclass('s') x", "field nextval, nextval, system, volatile"},
		{"SELECT x.pg_sleep, y.lo_unlink, z.lo_orderkey FROM x, y, z", "field pg_sleep, field lo_unlink, pg_sleep, lo_unlink, lo_orderkey, volatile"},
		{"SELECT (a).upper, (f()).b FROM t", "field upper, field b, call f, a"},
		{"SELECT $1.nextval", "field nextval, volatile"},
		{"SELECT nextval FROM t", "nextval"},
		{"SELECT a FROM t TABLESAMPLE bernoulli (1), u TABLESAMPLE SYSTEM (1) REPEATABLE (f())", "call f, a"},
		{"SELECT a FROM t TABLESAMPLE rows_of (g(1))", "call rows_of, call g, a"},
		{"SELECT a FROM t TABLESAMPLE x.system (1)", "call x.system, a"},
	} {
		if got := described(&Parse(c.sql).Parts[0]); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
	p := Parse("SELECT ('s'::regclass).nextval, 1 === 2, a === 2 FROM t").Parts[0]
	if !p.Calls[0].Constant || p.Calls[0].Args[0].Const != "s" || !p.Calls[1].Constant || p.Calls[2].Constant {
		t.Errorf("arguments: %+v", p.Calls)
	}
}

// A body's columns are kept only where they may be functions, and what its calls do is theirs to tell.
func TestFactsOfBodies(t *testing.T) {
	p := Parse("CREATE FUNCTION f(r t) RETURNS int LANGUAGE sql AS 'SELECT r.a + x.b + c + x.b FROM x'").Parts[0]
	if got := strings.Join(p.Fields, " "); got != "a b" || len(p.Columns) > 0 {
		t.Errorf("fields %q, columns %v", got, p.Columns)
	}
	if p := Parse("SELECT x.b FROM x").Parts[0]; len(p.Fields) > 0 {
		t.Errorf("fields of a statement: %v", p.Fields)
	}
	for name, effects := range map[string]bool{
		"nextval": true, "pg_catalog.nextval": true, "pg_advisory_xact_lock": true, "now": false, "random": false, "lower": false, "x.nextval": false, "dblink": false,
	} {
		p := Parse("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT " + name + "(1)'").Parts[0]
		if len(p.Calls) != 1 || p.Calls[0].Effects != effects || p.Volatile {
			t.Errorf("%s: %+v, volatile %v", name, p.Calls, p.Volatile)
		}
	}
	many := "SELECT 1"
	for n := range maxColumns + 1 {
		many += fmt.Sprintf(", x.c%d", n)
	}
	if p := Parse("CREATE FUNCTION f() RETURNS record LANGUAGE sql AS '" + many + " FROM x'").Parts[0]; !p.Opaque {
		t.Error("what is not kept is not seen")
	}
}
