package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
)

// Values that PostgreSQL calls equal and that are not the same: each pair is a row of the primary and
// one of the replica.
var alike = []struct{ name, typ, primary, replica string }{
	{"scale", "numeric", "1.0", "1.00"},
	{"zero", "double precision", "0", "-0"},
	{"span", "interval", "1 mon", "30 days"},
	{"letters", "citext", "Abc", "aBC"},
	{"folded", `text COLLATE folding`, "Abc", "aBC"},
	{"object", "jsonb", `{"a": 1.0, "b": 2}`, `{"b": 2, "a": 1.00}`},
}

const folding = "CREATE EXTENSION citext; CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false); "

// Rows that are alike differ, where they are keys as well as where they are values; what is
// the same is equal; and a repair makes them so, also where a unique index takes one for the other.
func TestValuesThatAreAlikeAreNotTheSame(t *testing.T) {
	d := two(t, folding)
	var want []string
	for _, a := range alike {
		for kind, table := range map[string]string{
			"key": "CREATE TABLE key_%s (v %s PRIMARY KEY, n int)", "keys": "CREATE TABLE keys_%s (v %s, n int, PRIMARY KEY (n, v))",
			"value": "CREATE TABLE value_%s (v %s, n int PRIMARY KEY)", "unique": "CREATE TABLE unique_%s (v %s UNIQUE, n int)", "none": "CREATE TABLE none_%s (v %s, n int)",
		} {
			d.both(t, fmt.Sprintf(table, a.name, a.typ))
			row := fmt.Sprintf("INSERT INTO %s_%s VALUES ($x$%%s$x$, 1)", kind, a.name)
			d.primary.ExecIn(t, d.ours, fmt.Sprintf(row, a.primary))
			d.replica.ExecIn(t, d.theirs, fmt.Sprintf(row, a.replica))
			want = append(want, kind+"_"+a.name)
		}
	}
	slices.Sort(want)
	run := d.run(t, configs.FeedDump, nil)
	differ := func(opts Options) (names []string) {
		report := verify(t, run, opts)
		for _, one := range report.Tables {
			switch one.State {
			case Differs:
				names = append(names, one.Name)
			case Equal:
			default:
				t.Errorf("%+v", one)
			}
		}
		slices.Sort(names)
		return names
	}
	if diff := cmp.Diff(want, differ(Options{})); diff != "" {
		t.Error(diff)
	}
	differ(Options{Repair: true})
	if left := differ(Options{}); left != nil {
		t.Errorf("after the repair differ: %q", left)
	}
}

// A table of many columns without a key has each row as often as on the primary, NULLs,
// NaN and all, and so it has after a repair.
func TestRowsWithoutAKeyAreCounted(t *testing.T) {
	var columns, values []string
	for i := range 100 {
		typ := []string{"text", "double precision", "numeric", "jsonb", "timestamptz"}[i%5]
		columns = append(columns, fmt.Sprintf("c%d %s", i, typ))
		values = append(values, []string{"'x'", "'NaN'", "'NaN'", `'{"k": null}'`, "'infinity'"}[i%5]+"::"+typ)
	}
	row := "(" + strings.Join(values, ", ") + ")"
	d := two(t, "CREATE TABLE wide ("+strings.Join(columns, ", ")+"); CREATE TABLE empty (); CREATE TABLE none (a int); CREATE TABLE filled (a int)")
	d.primary.ExecIn(t, d.ours, "INSERT INTO wide SELECT r.* FROM (VALUES "+row+") r, generate_series(1, 5); INSERT INTO wide (c0) VALUES (NULL), (NULL); INSERT INTO empty DEFAULT VALUES")
	d.replica.ExecIn(t, d.theirs, "INSERT INTO wide SELECT r.* FROM (VALUES "+row+") r, generate_series(1, 8); INSERT INTO wide (c0) VALUES (NULL); INSERT INTO filled VALUES (NULL), (NULL)")
	run := d.run(t, configs.FeedDump, nil)
	counts := func(r Report) (lines []string) {
		for _, one := range r.Tables {
			lines = append(lines, fmt.Sprintf("%s %s -%d +%d", one.Name, one.State, one.Missing, one.Extra))
		}
		return lines
	}
	if diff := cmp.Diff([]string{"empty differs -1 +0", "filled differs -0 +2", "none equal -0 +0", "wide differs -1 +3"}, counts(verify(t, run, Options{}))); diff != "" {
		t.Error(diff)
	}
	verify(t, run, Options{Repair: true})
	if diff := cmp.Diff([]string{"empty equal -0 +0", "filled equal -0 +0", "none equal -0 +0", "wide equal -0 +0"}, counts(verify(t, run, Options{}))); diff != "" {
		t.Error(diff)
	}
}

// What differs in how a table is divided is not what differs in its rows: the whole is compared
// where one side divides it otherwise, or not at all.
func TestATableDividedOtherwiseIsCompared(t *testing.T) {
	d := two(t, "")
	d.primary.ExecIn(t, d.ours, `CREATE TABLE a (id int PRIMARY KEY, n int) PARTITION BY LIST (id); CREATE TABLE a1 PARTITION OF a FOR VALUES IN (1); CREATE TABLE a2 PARTITION OF a FOR VALUES IN (2, 3);
		INSERT INTO a VALUES (1, 1), (2, 2), (3, 3); CREATE TABLE b (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE b1 PARTITION OF b DEFAULT; INSERT INTO b VALUES (1)`)
	d.replica.ExecIn(t, d.theirs, `CREATE TABLE a (id int PRIMARY KEY, n int) PARTITION BY LIST (id); CREATE TABLE a1 PARTITION OF a FOR VALUES IN (1, 2); CREATE TABLE rest PARTITION OF a DEFAULT;
		INSERT INTO a VALUES (1, 1), (2, 2), (3, 3); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1)`)
	run := d.run(t, configs.FeedDump, nil)
	if report := verify(t, run, Options{}); len(report.Tables) != 2 || findings(report) != nil {
		t.Errorf("%+v", report.Tables)
	}
	d.replica.ExecIn(t, d.theirs, "DELETE FROM a WHERE id = 3; UPDATE a SET n = 0 WHERE id = 2; INSERT INTO b VALUES (2)")
	if got := fmt.Sprint(findings(verify(t, run, Options{Keys: 9}))); got != "[public.a differs c:2 m:3 public.b differs e:2]" {
		t.Error(got)
	}
	verify(t, run, Options{Repair: true})
	if left := findings(verify(t, run, Options{})); left != nil {
		t.Errorf("after the repair: %q", left)
	}
}
