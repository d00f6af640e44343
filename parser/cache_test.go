package parser

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestHitDoesNotAllocate(t *testing.T) {
	c := New(Options{})
	for _, sql := range []string{
		"SELECT abalance FROM pgbench_accounts WHERE aid = $1",
		"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
		"BEGIN",
		"SELECT pgml.predict('p', ARRAY[1, 2])",
		"SELEC 1",
	} {
		text := []byte(sql)
		first := c.Statement(text)
		if n := testing.AllocsPerRun(100, func() {
			if c.Statement(text) != first {
				t.Errorf("%s: not a hit", sql)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", sql, n)
		}
	}
}

func TestTextsThatDifferInLiteralsShare(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		shared bool
	}{
		{"SELECT abalance FROM t WHERE aid = 1;", "SELECT abalance FROM t WHERE aid = 22;", true},
		{"SELECT abalance  FROM t\nWHERE aid = 1", "SELECT abalance FROM t /* trace 7 */ WHERE aid = 1", true},
		{"INSERT INTO t VALUES (1, 'a', -4)", "INSERT INTO t VALUES (2, $$b$$, -5)", true},
		{"UPDATE t SET a = a + 1 WHERE d > date_trunc('day', now())", "UPDATE t SET a = a + 2 WHERE d > date_trunc('month', now())", true},
		{"SELECT a FROM t LIMIT 1", "SELECT a FROM t LIMIT 2", true},
		{"SELECT a FROM t WHERE b = 1", "SELECT a FROM u WHERE b = 1", false},
		{"SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = '1'", false},
		{"SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = $1", false},
		{"SELECT $1 + 1", "SELECT $2 + 1", false},
		{"SELECT pgml.predict('p', a) FROM t", "SELECT pgml.predict('q', a) FROM t", false},
		{"SELECT set_config('a.b', 'c', false)", "SELECT set_config('a.b', 'd', false)", false},
		{"SET work_mem = '1MB'", "SET work_mem = '2MB'", false},
		{"SELECT nextval('a')", "SELECT nextval('b')", false},
		{"SELECT 1; SELECT 2", "SELECT 1; SELECT 3", false},
		{`SELECT 'a\'`, `SELECT 'b\'`, false},
		{"/*+ pgshunt: replica */ SELECT 1", "/*+ pgshunt: primary */ SELECT 1", false},
	} {
		cache := New(Options{})
		a, b := cache.Statement([]byte(c.a)), cache.Statement([]byte(c.b))
		if (a == b) != c.shared {
			t.Errorf("%s\n%s\nshared is %v, expected %v", c.a, c.b, a == b, c.shared)
		}
		if a == b {
			fresh := Parse(c.b)
			if diff := cmp.Diff(fresh.Parts[0], b.Parts[0], cmpopts.IgnoreUnexported(Part{}), cmpopts.IgnoreFields(Part{}, "Start", "End")); diff != "" {
				t.Errorf("%s has other facts than its own\n%s", c.b, diff)
			}
		}
	}
}

func TestTextIsOnlyBorrowed(t *testing.T) {
	c := New(Options{})
	text := []byte("SELECT a FROM borrowed")
	st := c.Statement(text)
	copy(text, "DELETE")
	if st.Text != "SELECT a FROM borrowed" || st.Parts[0].Reads[0].Name != "borrowed" {
		t.Errorf("changed with the caller's buffer: %+v", st)
	}
	if c.Statement([]byte("SELECT a FROM borrowed")) != st {
		t.Error("the key changed with the caller's buffer")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := New(Options{Entries: 50, Bytes: 30_000})
	for i := range 500 {
		c.Statement(fmt.Appendf(nil, "SELECT a FROM t%d", i))
		if s := c.Stats(); s.Entries > 50 || s.Bytes > 30_000 {
			t.Fatalf("after %d texts: %+v", i, s)
		}
	}
	if s := c.Stats(); s.Entries < 20 || s.Bytes < 10_000 {
		t.Errorf("keeps too little: %+v", s)
	}
	long := []byte("SELECT '" + strings.Repeat("x", 9000) + "'")
	if first := c.Statement(long); first == c.Statement(long) {
		t.Error("a text over MaxText was kept")
	}
}

// TestBytesAreWhatTheHeapGrowsBy: the bound would be none if facts were larger than counted.
func TestBytesAreWhatTheHeapGrowsBy(t *testing.T) {
	for name, sql := range map[string]string{
		"columns":   "SELECT " + strings.Repeat("a%[1]d, b%[1]d_with_a_longer_name, ", 20) + "c FROM s.t%[1]d JOIN u USING (k)",
		"relations": "SELECT FROM t%[1]d, s.a%[1]d, s.b, s.c, s.d, s.e, s.f, s.g, s.h, s.i, s.j, s.k, s.l, s.m, s.n",
		"calls":     "SELECT " + strings.Repeat("s.f%[1]d(a, $1, 'constant', x => 1), ", 30) + "1",
		"parts":     strings.Repeat("SELECT a FROM t%[1]d; ", 50),
		"constants": "SELECT f%[1]d('" + strings.Repeat("x", 4000) + "')",
		"settings":  "SELECT set_config('a.b%[1]d', 'c', false), set_config('a.c', 'd', false), set_config('a.d', 'e', true)",
		"unparsed":  "SELEC a FROM t%[1]d",
	} {
		const statements = 500
		c := New(Options{Patterns: -1})
		before := heap()
		for i := range statements {
			c.Statement(fmt.Appendf(nil, sql, i))
		}
		grown, s := heap()-before, c.Stats()
		if s.Entries != statements {
			t.Fatalf("%s: %d entries", name, s.Entries)
		}
		if ratio := float64(grown) / float64(s.Bytes); ratio < 0.6 || ratio > 1.4 {
			t.Errorf("%s: the heap has grown by %d bytes, and %d are counted", name, grown, s.Bytes)
		}
		runtime.KeepAlive(c)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first has left to finalisers and pools
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	c := New(Options{Entries: 20})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				table := fmt.Sprintf("t%d", (i*7+g)%40)
				st := c.Statement(fmt.Appendf(nil, "SELECT a FROM %s WHERE b = %d", table, i))
				if st.Parts[0].Reads[0].Name != table {
					t.Errorf("got the facts of another text: %+v", st.Parts[0].Reads)
				}
			}
		})
	}
	wg.Wait()
}

var benchmarks = []struct{ name, sql string }{
	{"point", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;"},
	{"train", "SELECT * FROM pgml.train('p', 'regression', 'public.t', 'y', algorithm => 'ridge', hyperparams => '{\"alpha\": 1}')"},
	{"join", "SELECT u.id, pgml.predict('p', ARRAY[o.amount, u.age]) FROM users u JOIN orders o ON o.user_id = u.id LEFT JOIN docs d ON d.id = o.id WHERE u.age > 18 AND o.amount BETWEEN 10 AND 20 GROUP BY 1 ORDER BY 2 DESC LIMIT 10"},
}

func BenchmarkParse(b *testing.B) {
	for _, c := range benchmarks {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse(c.sql)
			}
		})
	}
}

// BenchmarkTree is the part of BenchmarkParse that pg_query takes.
func BenchmarkTree(b *testing.B) {
	for _, c := range benchmarks {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parseTree(c.sql); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHit(b *testing.B) {
	for _, c := range []struct{ name, sql string }{
		{"exact", "SELECT abalance FROM pgbench_accounts WHERE aid = $1"},
		{"shared", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;"},
		{"begin", "BEGIN"},
	} {
		b.Run(c.name, func(b *testing.B) {
			cache, text := New(Options{}), []byte(c.sql)
			b.ReportAllocs()
			for b.Loop() {
				cache.Statement(text)
			}
		})
	}
}
