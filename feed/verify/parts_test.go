package verify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
)

// With a condition and a list of columns the replica has a part of the table, and nothing
// else is compared or written.
func TestOnlyWhatIsFedIsCompared(t *testing.T) {
	d := two(t, "CREATE TABLE t (id int PRIMARY KEY, country text, v text, n int); INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN 'de' ELSE 'fr' END, 'v' || i, i FROM generate_series(1, 20) i")
	d.replica.ExecIn(t, d.theirs, "DELETE FROM t WHERE country = 'fr'; UPDATE t SET n = NULL")
	run := d.run(t, configs.FeedDump, func(r *configs.Replica) {
		r.Columns = map[string][]string{"public.t": {"id", "country", "v"}}
		r.Where = map[string]string{"public.t": "country = 'de'"}
	})
	if found := findings(verify(t, run, Options{})); found != nil {
		t.Error(found)
	}
	d.replica.ExecIn(t, d.theirs, "UPDATE t SET v = 'x' WHERE id = 4; DELETE FROM t WHERE id = 8; INSERT INTO t VALUES (3, 'fr', 'v3', 3)")
	d.replica.ExecIn(t, d.theirs, "UPDATE t SET n = 7")
	if diff := cmp.Diff([]string{"public.t differs e:3 c:4 m:8"}, findings(verify(t, run, Options{}))); diff != "" {
		t.Error(diff)
	}
	for _, repair := range []bool{true, false} {
		if found := findings(verify(t, run, Options{Repair: repair})); found != nil {
			t.Error(found)
		}
	}
	var kept int
	if err := d.replica.Super(t, d.theirs).QueryRow(t.Context(), "SELECT count(*) FROM t WHERE n = 7").Scan(&kept); err != nil || kept != 9 {
		t.Errorf("%d rows have kept the replica's own column: %v", kept, err)
	}
}

// Foreign tables are read through while the primary is written to, and only copies beside them are
// repaired.
func TestForeignTablesAreReadThrough(t *testing.T) {
	d := two(t, "")
	d.primary.ExecIn(t, d.ours, liveTables+"; "+liveRows)
	d.replica.ExecIn(t, d.theirs, fmt.Sprintf(`CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%d', dbname '%s');
		CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user '%s', password_required 'false'); IMPORT FOREIGN SCHEMA public FROM SERVER s INTO public`, d.primary.SocketDir(), d.primary.Port, d.ours, d.primary.Superuser()))
	run := d.run(t, configs.FeedFDW, nil)
	for _, rows := range []int{0, 400} {
		if found := findings(verify(t, run, Options{RangeRows: rows})); found != nil {
			t.Error(found)
		}
	}
	d.both(t, "CREATE TABLE copied (id int PRIMARY KEY, v int); INSERT INTO copied SELECT i, i FROM generate_series(1, 20) i") // a copy
	d.replica.ExecIn(t, d.theirs, "DELETE FROM copied WHERE id = 3; UPDATE copied SET v = 0 WHERE id = 4")
	if diff := cmp.Diff([]string{"public.copied differs m:3 c:4"}, findings(verify(t, run, Options{}))); diff != "" {
		t.Error(diff)
	}
	if found := findings(verify(t, run, Options{Repair: true})); found != nil {
		t.Error(found)
	}
	d.primary.ExecIn(t, d.ours, "CREATE TABLE other (LIKE accounts); INSERT INTO other SELECT * FROM accounts WHERE id < 3000")
	d.replica.ExecIn(t, d.theirs, "ALTER FOREIGN TABLE accounts OPTIONS (SET table_name 'other')")
	run = d.run(t, configs.FeedFDW, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.accounts"} })
	if diff := cmp.Diff([]string{"public.accounts differs m:3000"}, findings(verify(t, run, Options{}))); diff != "" {
		t.Error(diff)
	}
	if _, err := Run(t.Context(), run, Options{Repair: true}); err == nil {
		t.Error("a foreign table is repaired")
	}
}

// Two primaries may have a database of one name, and feed a replica by one name.
func TestRowsOfAnotherPrimaryAreNotWritten(t *testing.T) {
	d := two(t, "CREATE TABLE copied (id int PRIMARY KEY, v int); INSERT INTO copied SELECT i, i FROM generate_series(1, 20) i")
	run := d.run(t, configs.FeedFDW, nil)
	follows := "COMMENT ON SERVER " + run.Name + " IS " + feed.Literal(feed.Follows+"1")
	d.replica.ExecIn(t, d.theirs, "CREATE EXTENSION postgres_fdw; CREATE SERVER "+run.Name+" FOREIGN DATA WRAPPER postgres_fdw; "+follows+"; DELETE FROM copied WHERE id = 3")
	differs := []string{"public.copied differs m:3"}
	if diff := cmp.Diff(differs, findings(verify(t, run, Options{}))); diff != "" {
		t.Error(diff)
	}
	if _, err := Run(t.Context(), run, Options{Repair: true}); err == nil || !strings.Contains(err.Error(), "another primary") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(differs, findings(verify(t, run, Options{}))); diff != "" {
		t.Error(diff)
	}
}

// Where there is a snapshot of the copy, rows that have changed since are told from wrong ones.
func TestWhatHasChangedSinceTheCopyIsCounted(t *testing.T) {
	d := two(t, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 20) i")
	var snapshot string
	if err := d.primary.Super(t, d.ours).QueryRow(t.Context(), "SELECT pg_current_snapshot()::text").Scan(&snapshot); err != nil {
		t.Fatal(err)
	}
	run := d.run(t, configs.FeedDump, nil)
	target := d.replica.Super(t, d.theirs)
	if err := run.Journal(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	d.replica.ExecIn(t, d.theirs, "INSERT INTO pgshunt.copies (relation, copied_at, snapshot) VALUES ('public.t', now(), "+feed.Literal(snapshot)+"); UPDATE t SET v = 0 WHERE id IN (1, 2)")
	d.primary.ExecIn(t, d.ours, "UPDATE t SET v = -1 WHERE id IN (3, 4, 5); INSERT INTO t VALUES (21, 21)")
	one := table(verify(t, run, Options{}), "t")
	if one.Changed != 5 || one.Missing != 1 || one.Newer != 4 || !strings.HasPrefix(one.Note, "2 of the rows have not changed on the primary") {
		t.Errorf("%+v", one)
	}
	d.replica.ExecIn(t, d.theirs, "UPDATE t SET v = id WHERE id IN (1, 2)")
	if one = table(verify(t, run, Options{}), "t"); one.Newer != 4 || !strings.HasPrefix(one.Note, "all of that has changed on the primary") {
		t.Errorf("%+v", one)
	}
	d.primary.ExecIn(t, d.ours, "DELETE FROM t WHERE id = 7")
	if one = table(verify(t, run, Options{}), "t"); one.Extra != 1 || !strings.HasPrefix(one.Note, "what is extra was deleted") {
		t.Errorf("%+v", one)
	}
}

// What stands in the way of one table is said there, and the others are compared.
func TestOneTableThatCannotBeComparedIsSaid(t *testing.T) {
	d := two(t, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, v int); CREATE TABLE c (id int PRIMARY KEY)")
	d.replica.ExecIn(t, d.theirs, "DROP TABLE a; ALTER TABLE b ALTER v TYPE bigint, ADD w int; DROP TABLE c; CREATE VIEW c AS SELECT 1 AS id")
	d.primary.ExecIn(t, d.ours, "ALTER TABLE b ADD x int; CREATE FUNCTION stop(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; CREATE TABLE d (id int PRIMARY KEY); INSERT INTO d VALUES (1)")
	d.replica.ExecIn(t, d.theirs, "CREATE TABLE d (id int PRIMARY KEY)")
	run := d.run(t, configs.FeedDump, func(r *configs.Replica) { r.Where = map[string]string{"public.d": "public.stop(id)"} })
	report := verify(t, run, Options{})
	want := []string{"a missing", "b differs", "c missing", "d failed"}
	var got []string
	for _, one := range report.Tables {
		got = append(got, one.Name+" "+one.State)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"v is bigint there and not integer", "x is not there"}, table(report, "b").Columns); diff != "" {
		t.Error(diff)
	}
	if note := table(report, "d").Note; !strings.Contains(note, "primary: read the keys of public.d: no [P0001]") && !strings.Contains(note, "primary: read public.d: no [P0001]") {
		t.Error(note)
	}
}

// Unique values that two rows have the wrong way round are in the way of a repair by ranges.
func TestUniqueValuesThatAreSwappedAreMended(t *testing.T) {
	d := two(t, "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE); INSERT INTO t SELECT i, i FROM generate_series(1, 20) i")
	d.replica.ExecIn(t, d.theirs, "UPDATE t SET v = -v WHERE id IN (2, 19); UPDATE t SET v = 21 - id WHERE id IN (2, 19)")
	run := d.run(t, configs.FeedDump, nil)
	one := table(verify(t, run, Options{Repair: true, RangeRows: 5}), "t")
	if one.State != Equal || one.Repaired != 2 {
		t.Errorf("%+v", one)
	}
	if found := findings(verify(t, run, Options{})); found != nil {
		t.Error(found)
	}
}

// Servers that write the same text in other bytes compute the same hash.
func TestOtherEncodingsAreCompared(t *testing.T) {
	d := two(t, "")
	d.primary.Exec(t, "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	t.Cleanup(func() { d.primary.Exec(t, "DROP DATABASE latin WITH (FORCE)") })
	d.ours = "latin"
	// The escapes are read by the server, whatever encoding the client says it has.
	d.both(t, `CREATE TABLE t (id int PRIMARY KEY, v text, b bytea); CREATE TABLE u (v text); INSERT INTO t VALUES (1, U&'gr\00FCn', 'x'), (2, 'blau', 'y'); INSERT INTO u VALUES (U&'gr\00FCn')`)
	d.primary.ExecIn(t, d.ours, `UPDATE t SET v = U&'gelb \00E9' WHERE id = 2; INSERT INTO u VALUES (U&'\00E9')`)
	run := d.run(t, configs.FeedDump, nil)
	report := verify(t, run, Options{})
	if diff := cmp.Diff([]string{"2 changed"}, keys(report, "t")); diff != "" || table(report, "u").Missing != 1 || table(report, "u").Extra != 0 {
		t.Errorf("%s %+v", diff, report)
	}
	if found := findings(verify(t, run, Options{Repair: true})); found != nil {
		t.Error(found)
	}
	if found := findings(verify(t, run, Options{})); found != nil {
		t.Error(found)
	}
}

// A partitioned table is asked for by its own name, also where its partitions are subscribed; a
// partition is by its own.
func TestPartitionsAreAskedForByName(t *testing.T) {
	d := two(t, `CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF p DEFAULT;
		INSERT INTO p SELECT i, i FROM generate_series(1, 20) i`)
	d.replica.ExecIn(t, d.theirs, "UPDATE p SET v = 0 WHERE id IN (5, 15)")
	run := d.run(t, configs.FeedDump, nil)
	for pattern, want := range map[string]string{"public.p": "[public.p differs c:15 c:5]", "public.low": "[public.low differs c:5]", "public.*": "[public.p differs c:15 c:5]"} {
		if got := fmt.Sprint(findings(verify(t, run, Options{Tables: configs.Patterns{pattern}}))); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
	primary, err := feed.Tables(t.Context(), d.primary.Super(t, d.ours), run.Selection.Has)
	if err != nil {
		t.Fatal(err)
	}
	a := &applied{v: &verification{tables: primary}, states: map[string]string{"public.low": "r", "public.high": "d"}}
	if state, note := a.fit(feed.Index(primary)["public.p"]); state != Skipped || note != "it is still being copied" {
		t.Errorf("%s %s", state, note)
	}
	a.states["public.high"] = "r"
	if state, _ := a.fit(feed.Index(primary)["public.p"]); state != "" {
		t.Error(state)
	}
}

// Where the replica sorts keys in another order, rows are in other ranges there, and still the same.
func TestKeysThatAreSortedDifferentlyAreTheSame(t *testing.T) {
	d := two(t, "")
	const rows = "; INSERT INTO words SELECT w, 1 FROM unnest('{a,B,c,D,e,F,g,H}'::text[]) w"
	d.primary.ExecIn(t, d.ours, `CREATE TABLE words (w text COLLATE "en-x-icu" PRIMARY KEY, n int)`+rows)
	d.replica.ExecIn(t, d.theirs, `CREATE TABLE words (w text COLLATE "C" PRIMARY KEY, n int, own text DEFAULT 'new')`+rows+"; UPDATE words SET own = 'kept'")
	run := d.run(t, configs.FeedDump, nil)
	if found := findings(verify(t, run, Options{RangeRows: 2})); found != nil {
		t.Errorf("found %q", found)
	}
	d.replica.ExecIn(t, d.theirs, "UPDATE words SET n = 2 WHERE w IN ('a', 'B'); DELETE FROM words WHERE w = 'c'; INSERT INTO words VALUES ('Z', 1, 'kept')")
	if diff := cmp.Diff([]string{"public.words differs c:B c:a m:c e:Z"}, findings(verify(t, run, Options{RangeRows: 2}))); diff != "" {
		t.Error(diff)
	}
	verify(t, run, Options{RangeRows: 2, Repair: true})
	if found := findings(verify(t, run, Options{RangeRows: 2})); found != nil {
		t.Errorf("after the repair: %q", found)
	}
	var kept int
	if err := d.replica.Super(t, d.theirs).QueryRow(t.Context(), "SELECT count(*) FROM words WHERE own = 'kept'").Scan(&kept); err != nil || kept != 7 {
		t.Errorf("%d rows keep the replica's own column, %v", kept, err)
	}
}
