package parser

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"
)

// places counts the texts that have a place.
func (p *patterns) places() (n int) {
	for i := range p.sets {
		for j := range p.sets[i].ways {
			if p.sets[i].ways[j].Load() != nil {
				n++
			}
		}
	}
	return n
}

func TestTextThatComesAgainIsFoundWithoutReadingIt(t *testing.T) {
	for _, sql := range []string{
		"SELECT 1 FROM t WHERE v = 'a'", "SELECT a FROM t WHERE v = 'a'", "BEGIN", "SET work_mem = '1MB'",
		"SELECT abalance FROM pgbench_accounts WHERE aid = $1",
	} {
		c := New(Options{})
		text := []byte(sql)
		first := c.Statement(text)
		if c.Statement(text) != first { // takes its place
			t.Fatalf("%s: another Statement for the same text", sql)
		}
		if c.patterns.find(text) != first {
			t.Errorf("%s: not found by its pattern the third time", sql)
		}
	}
}

func TestTextWithOtherLiteralsIsFoundByItsPattern(t *testing.T) {
	c := New(Options{})
	first := c.Statement([]byte("SELECT a FROM some_table WHERE b = 1 AND c = 'x' LIMIT 10"))
	c.Statement([]byte("SELECT a FROM some_table WHERE b = 2 AND c = 'y' LIMIT 10"))
	for _, again := range []string{
		"SELECT a FROM some_table WHERE b = 33 AND c = 'z' LIMIT 10", "SELECT a FROM some_table WHERE b = 1.5e3 AND c = $$z$$ LIMIT 0x1f",
		"SELECT a FROM some_table WHERE b = .5 AND c = E'\\'' LIMIT 1_000", "SELECT a FROM some_table WHERE b = 1 AND c = 'a''b' LIMIT 1",
	} {
		if c.patterns.find([]byte(again)) != first {
			t.Errorf("%s: not found", again)
		}
	}
	for _, other := range []string{
		"SELECT a FROM some_table WHERE b = '33' AND c = 'z' LIMIT 10", "SELECT a FROM some_table WHERE b = 1 AND c = 'z\\' LIMIT 10",
		"SELECT a FROM some_table WHERE b = 1 AND c = 'z' LIMIT 10 ", "SELECT a FROM some_table WHERE b = 1 AND c = 'z' LIMIT 10; DROP TABLE t",
		"SELECT a FROM some_table WHERE b = 1 AND c = 'z\n' LIMIT", "SELECT a FROM some_table WHERE b = 1a AND c = 'z' LIMIT 10",
		"SELECT a FROM some_table WHERE b = 1 AND c = 'z'\n' y' LIMIT $1", "SELECT a FROM some_table WHERE b = ", "SELECT a FROM some_table",
	} {
		if c.patterns.find([]byte(other)) != nil {
			t.Errorf("%s: found", other)
		}
	}
}

func TestTextsThatNeverComeAgainAreNotKept(t *testing.T) {
	c := New(Options{})
	for i := range 5000 {
		c.Statement([]byte("SELECT " + strconv.Itoa(i)))
		c.Statement([]byte("SET work_mem = " + strconv.Itoa(i)))
	}
	if n := c.patterns.places(); n != 0 {
		t.Errorf("%d texts are kept", n)
	}
}

// More texts in turn than there are places must not push each other out for ever.
func TestPlacesAreKeptByThoseThatUseThem(t *testing.T) {
	c := New(Options{})
	text := func(i int) []byte { return fmt.Appendf(nil, "SELECT some_column FROM table_%d WHERE x = 1", i) }
	ways := len(patternSet{}.ways)
	for range 3 {
		for i := range ways + 3 {
			c.Statement(text(i))
		}
	}
	if n := testing.AllocsPerRun(50, func() {
		for i := range ways {
			c.Statement(text(i))
		}
	}); n > float64(ways) { // of making the texts
		t.Errorf("%v allocations in %d look-ups", n, ways)
	}
	if n := c.patterns.places(); n != ways {
		t.Errorf("%d places taken, expected %d", n, ways)
	}
}

// FuzzPattern checks that a text that matches the pattern of another has its normal form.
func FuzzPattern(f *testing.F) {
	for _, pair := range [][2]string{
		{"SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 2"},
		{"select a from t where b = 'a'", "select a from t where b = e'a'"},
		{"select a from t where b = 'x'\n'y' and 1", "select a from t where b = 'x' and 2"},
		{"select a from tab_ date'a'\n e'b'", "select a from tab_ date'a'\n 'b'"},
		{"select a from tab a'b'", "select a from tab ae'b'"},
		{"select a from tab where -1-1", "select a from tab where -2--1"},
		{"select a from tab where 1..2 .5", "select a from tab where 1..2.5"},
		{"select a from tab where 1+1e+1", "select a from tab where 1+1e+'a'"},
		{"select a from tab where $1 in (1,2)", "select a from tab where $1 in (1.5,$$a$$)"},
		{"select a from tab /* 1 */ where 1", "select a from tab /* 2 */ where 1"},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		normal, ok := appendNormal(nil, a)
		cuts, cut := cutting(a, nil)
		if !ok || !cut || !newPattern(a, cuts, &Statement{Shared: true}).matches(b) {
			return
		}
		if other, ok := appendNormal(nil, b); !ok || !bytes.Equal(normal, other) {
			t.Errorf("%q has the normal form %q, and %q that matches it has %q (%v)", a, normal, b, other, ok)
		}
	})
}
