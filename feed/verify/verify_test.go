package verify

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// databases are those of a primary and of a replica, with their servers.
type databases struct {
	primary, replica *pgtest.Server
	ours, theirs     string
}

// two makes both databases on the shared servers, with the same script.
func two(t *testing.T, script string) databases {
	t.Helper()
	d := databases{primary: pgtest.SharedPrimary(t), replica: pgtest.SharedReplica(t)}
	d.ours, d.theirs = d.primary.NewDatabase(t), d.replica.NewDatabase(t)
	d.both(t, script)
	return d
}

func (d *databases) both(t *testing.T, script string) {
	t.Helper()
	d.primary.ExecIn(t, d.ours, script)
	d.replica.ExecIn(t, d.theirs, script)
}

func (d *databases) run(t *testing.T, way configs.Feed, change func(*configs.Replica)) *feed.Run {
	t.Helper()
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(d.primary.URL(d.primary.Superuser(), d.ours))
	cfg.Replicas = []configs.Replica{{Name: "ml1", Server: configs.Server{URL: configs.URL(d.replica.URL(d.replica.Superuser(), d.theirs))}, Feed: way}}
	if change != nil {
		change(&cfg.Replicas[0])
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	run, err := feed.Open(cfg, "ml1", feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func verify(t *testing.T, run *feed.Run, opts Options) Report {
	t.Helper()
	report, err := Run(context.Background(), run, opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// findings are the tables that are not equal, with what they differ in.
func findings(r Report) (lines []string) {
	for _, one := range r.Tables {
		if one.State == Equal {
			continue
		}
		line := one.Schema + "." + one.Name + " " + one.State
		for _, k := range one.Keys {
			line += " " + k.What[:1] + ":" + k.Key
		}
		lines = append(lines, strings.TrimSpace(line+" "+one.Note))
	}
	return lines
}

func awkward(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile("../../testdata/feeds/awkward.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// Tables that are hard to compare are equal, then damaged in ways that only the contents
// tell, then mended.
func TestDamageIsFoundAndMended(t *testing.T) {
	d := two(t, awkward(t))
	run := d.run(t, configs.FeedDump, nil)
	for _, rows := range []int{0, 3} {
		report := verify(t, run, Options{RangeRows: rows})
		if found := findings(report); found != nil {
			t.Fatalf("ranges of %d rows: %q", rows, found)
		}
		if len(report.Tables) < 16 || report.Rows < 600 || report.Bytes < 8e5 || report.LSN == "" || report.Ranges < len(report.Tables) {
			t.Errorf("%d tables, %d rows, %d bytes in %d ranges at %q", len(report.Tables), report.Rows, report.Bytes, report.Ranges, report.LSN)
		}
	}
	d.replica.ExecIn(t, d.theirs, `SET session_replication_role = replica;
		UPDATE shop.types SET ratio = 0.10000000000000002 WHERE id = 1; UPDATE shop.types SET ratio = 0 WHERE id = 3;
		DELETE FROM shop.orders WHERE id IN (2, 99); UPDATE shop.orders SET mood = 'sad' WHERE id = 50;
		UPDATE shop.lines SET item = 'Item 1' WHERE order_id = 7 AND line = 1; INSERT INTO shop.lines VALUES (0, 0, 'x'), (999, 1, 'y');
		UPDATE "Mixed Case"."Order ""Table""" SET "Ünïcode" = NULL WHERE "Id" = 5;
		DELETE FROM shop.events WHERE ctid = (SELECT min(ctid) FROM shop.events WHERE what = 'event 1'); INSERT INTO shop.log VALUES ('twice', 1);
		UPDATE shop.codes SET code = 'C1' WHERE code = 'c1';
		UPDATE shop.visits SET seconds = seconds + 1 WHERE id IN (1, 60); DELETE FROM shop.visits WHERE id = 100;
		UPDATE shop.changed SET added = 41 WHERE a = 30; UPDATE shop.wide SET c99 = NOT c99 WHERE id = 1;
		UPDATE shop.documents SET body = body || ' ' WHERE id = 3; UPDATE shop.documents SET packed = '' WHERE id = 4; INSERT INTO shop.empty VALUES (1, '')`)
	want := []string{
		`Mixed Case.Order "Table" differs c:5`, "shop.changed differs c:30", "shop.codes differs e:C1 m:c1", "shop.documents differs c:3 c:4",
		"shop.empty differs e:1", "shop.events differs m:", "shop.lines differs e:(0, 0) c:(7, 1) e:(999, 1)", "shop.log differs e:",
		"shop.orders differs m:2 c:50 m:99", "shop.types differs c:1 c:3", "shop.visits differs c:(1, 2024-11-08, fr) m:(100, 2026-10-02, fr) c:(60, 2025-12-26, de)",
		"shop.wide differs c:1",
	}
	for _, rows := range []int{0, 3} {
		found := findings(verify(t, run, Options{RangeRows: rows}))
		for i, line := range found { // the hash of a row that has no key
			if at := strings.LastIndex(line, ":"); strings.HasPrefix(line, "shop.events") || strings.HasPrefix(line, "shop.log") {
				found[i] = line[:at+1]
			} else if rows > 0 { // in the order of the ranges
				found[i] = sortedKeys(line)
			}
		}
		wanted := slices.Clone(want)
		for i := range wanted {
			if rows > 0 && !strings.HasSuffix(wanted[i], ":") {
				wanted[i] = sortedKeys(wanted[i])
			}
		}
		if diff := cmp.Diff(wanted, found); diff != "" {
			t.Errorf("ranges of %d rows: %s", rows, diff)
		}
	}
	before := d.primary.Mark(t)
	report := verify(t, run, Options{Repair: true, RangeRows: 30})
	if found := findings(report); found != nil {
		t.Errorf("after the repair: %q", found)
	}
	for _, one := range d.primary.Statements(t, before) {
		for _, word := range []string{"INSERT", "UPDATE ", "DELETE", "LOCK"} {
			if strings.Contains(one.SQL, word) {
				t.Errorf("on the primary: %s", one.SQL)
			}
		}
	}
	if found := findings(verify(t, run, Options{})); found != nil {
		t.Errorf("after the repair: %q", found)
	}
}

func sortedKeys(line string) string {
	words := strings.Fields(line)
	slices.Sort(words)
	return fmt.Sprint(words)
}

// A repair that is ended at any moment has written whole ranges or nothing of them, and the
// next one finishes it.
func TestARepairThatIsEndedIsFinishedByTheNext(t *testing.T) {
	d := two(t, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 30) i; CREATE TABLE u (v int); INSERT INTO u SELECT i % 5 FROM generate_series(1, 30) i")
	repair := func(end int) (events int, err error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		run := d.run(t, configs.FeedDump, nil)
		run.Sink = func(feed.Event) {
			if events++; events == end {
				cancel()
			}
		}
		_, err = Run(ctx, run, Options{Repair: true, RangeRows: 10})
		return events, err
	}
	damage := func() {
		d.replica.ExecIn(t, d.theirs, "UPDATE t SET v = 0 WHERE id % 7 = 0; DELETE FROM t WHERE id IN (1, 30); INSERT INTO t VALUES (100, 100) ON CONFLICT DO NOTHING; DELETE FROM u WHERE v = 3; INSERT INTO u VALUES (9)")
	}
	damage()
	n, err := repair(0)
	if err != nil || n < 8 {
		t.Fatalf("%d events: %v", n, err)
	}
	for end := 1; end < n; end++ {
		damage()
		if _, err := repair(end); err == nil {
			t.Errorf("ended at event %d it went on", end)
		}
		if _, err := repair(0); err != nil {
			t.Errorf("after an end at event %d: %v", end, err)
		}
		if found := findings(verify(t, d.run(t, configs.FeedDump, nil), Options{})); found != nil {
			t.Errorf("after an end at event %d: %q", end, found)
		}
	}
}
