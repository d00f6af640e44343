package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgshunt/feed"
)

// someEvents is a short feed: one step done, one found done, one that is half done after 4 s.
func someEvents(began time.Time) []feed.Event {
	copying := feed.Event{Server: "ml1", Step: "copy the rows", TotalBytes: 1 << 30, TotalRows: 1_000_000, TablesTotal: 3}
	half := copying
	half.Time, half.Status, half.Table = began.Add(4*time.Second), feed.StatusProgress, "public.orders"
	half.Bytes, half.Rows, half.TablesDone = 512<<20, 412_000, 1
	quarter := half
	quarter.Time, quarter.Bytes = began.Add(2*time.Second), 256<<20
	copying.Time, copying.Status = began, feed.StatusStart
	return []feed.Event{
		{Time: began, Status: feed.StatusSkip, Server: "ml1", Step: "make the journal in schema pgshunt"},
		{Time: began, Status: feed.StatusStart, Server: "primary", Step: "make the publication", SQL: "CREATE PUBLICATION x"},
		{Time: began, Status: feed.StatusDone, Server: "primary", Step: "make the publication", SQL: "CREATE PUBLICATION x", Took: 12 * time.Millisecond},
		{Time: began, Status: feed.StatusNote, Server: "primary", Step: "public.log has no key"},
		{Time: began, Status: feed.StatusNote, Server: "primary", Step: "public.log has no key"},
		copying, quarter, half,
	}
}

func TestProgressAsLines(t *testing.T) {
	began := time.Now()
	var out bytes.Buffer
	p := newFeedProgress(feedStreams{out: &out}, false)
	for _, e := range someEvents(began) {
		p.take(e)
	}
	p.mu.Lock()
	p.show(began.Add(4*time.Second), linePace)
	p.show(began.Add(5*time.Second), linePace) // too soon for another
	p.mu.Unlock()
	p.take(feed.Event{Time: began.Add(8 * time.Second), Status: feed.StatusDone, Server: "ml1", Step: "copy the rows", Bytes: 1 << 30, Rows: 1_000_000, TablesDone: 3})
	p.close()
	const want = `  already  make the journal in schema pgshunt on ml1
  done     make the publication on primary, 12 ms
  note     primary: public.log has no key
  ...       50% copy the rows on ml1, public.orders, 512 MB of 1.0 GB, 412,000 of 1,000,000 rows, 1 of 3 tables, 128 MB/s, 0:04 left
  done     copy the rows on ml1, 3 tables, 1,000,000 rows, 1.0 GB, 8.0 s
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if len(p.done) != 2 || p.skipped != 1 || p.done[1].Rows != 1_000_000 {
		t.Errorf("%+v", p.done)
	}
}

// Bytes of which the whole is not known are no measure of what is left.
func TestTimeLeftIsOfWhatTheWholeIsKnownOf(t *testing.T) {
	began := time.Now()
	p := newFeedProgress(feedStreams{out: &bytes.Buffer{}}, false)
	defer p.close()
	e := feed.Event{Server: "ml1", Step: "copy the rows", TotalRows: 100, Time: began, Status: feed.StatusStart}
	p.take(e)
	e.Status = feed.StatusProgress
	for i := range int64(3) {
		e.Time, e.Rows, e.Bytes = began.Add(time.Duration(i)*time.Second), 10*i, i<<20
		p.take(e)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if line := p.active[0].line(e.Time); !strings.HasSuffix(line, "1.0 MB/s, 0:08 left") {
		t.Errorf("%q", line)
	}
}

func TestProgressOnATerminalIsABarThatGoesAway(t *testing.T) {
	began := time.Now()
	var out bytes.Buffer
	p := newFeedProgress(feedStreams{out: &out, live: true}, false)
	for _, e := range someEvents(began) {
		p.take(e)
	}
	p.mu.Lock()
	out.Reset()
	p.show(began.Add(4*time.Second), barPace)
	p.mu.Unlock()
	if got := out.String(); !strings.Contains(got, "[############------------]  50% copy the rows") {
		t.Errorf("%q", got)
	}
	p.close()
	if got := out.String(); !strings.HasSuffix(got, "\r\x1b[K") || strings.Contains(got, "\n") {
		t.Errorf("the bar is left: %q", got)
	}
}

// Indexes are made while rows still come.
func TestTheBarStaysWithTheStepThatIsMeasured(t *testing.T) {
	began := time.Now()
	var out bytes.Buffer
	p := newFeedProgress(feedStreams{out: &out, live: true}, false)
	p.take(feed.Event{Time: began, Status: feed.StatusStart, Server: "ml1", Step: "copy the rows", TotalBytes: 200, TablesTotal: 2})
	p.take(feed.Event{Time: began, Status: feed.StatusProgress, Server: "ml1", Step: "copy the rows", Bytes: 100, TotalBytes: 200, TablesTotal: 2})
	p.take(feed.Event{Time: began, Status: feed.StatusStart, Server: "ml1", Step: "make the indexes of a.one"})
	p.mu.Lock()
	p.show(began.Add(time.Second), barPace)
	p.mu.Unlock()
	p.close()
	if got := out.String(); !strings.Contains(got, "50% copy the rows") {
		t.Errorf("%q", got)
	}
}

func TestTablesAtTheSameStepAreToldApart(t *testing.T) {
	var out bytes.Buffer
	p := newFeedProgress(feedStreams{out: &out}, false)
	for _, status := range []feed.Status{feed.StatusStart, feed.StatusDone} {
		for i, table := range []string{"a.one", "a.two"} {
			p.take(feed.Event{Status: status, Server: "ml1", Step: "copy the rows", Table: table, Rows: 10, TablesDone: i + 1})
		}
	}
	p.close()
	if len(p.active) != 0 || len(p.done) != 1 {
		t.Errorf("%+v, %+v", p.active, p.done)
	}
	if got := p.done[0].line(); got != "copy the rows on ml1, 2 tables, 20 rows" {
		t.Errorf("%q", got)
	}
}

// The subscription's workers copy, and what was last seen of that is less than they did.
func TestWhatWasOnlySampledIsNoSum(t *testing.T) {
	var out bytes.Buffer
	p := newFeedProgress(feedStreams{out: &out}, false)
	e := feed.Event{Status: feed.StatusStart, Server: "ml1", Step: "copy the rows", Table: "a.one"}
	p.take(e)
	e.Status, e.Rows, e.Bytes = feed.StatusProgress, 10, 100
	p.take(e)
	e.Status, e.Rows, e.Bytes, e.Took = feed.StatusDone, -1, -1, time.Second
	p.take(e)
	p.close()
	if got := out.String() + p.done[0].line(); got != "  done     copy the rows on ml1, a.one, 1.0 s\ncopy the rows on ml1" {
		t.Errorf("%q", got)
	}
}

func TestManyStepsOfOneKindAreOneLine(t *testing.T) {
	var done []feedDone
	for _, of := range []string{"a", "b", "c", "d"} {
		done = append(done, feedDone{Server: "ml1", Step: "make the indexes of " + of, Times: 1})
	}
	done = append(done, feedDone{Server: "ml1", Step: "make the foreign keys of a", Times: 2}, feedDone{Server: "primary", Step: "take a snapshot", Times: 1})
	var lines []string
	for _, d := range folded(done) {
		lines = append(lines, d.line())
	}
	want := []string{"make the indexes on ml1 (4 times)", "make the foreign keys of a on ml1 (2 times)", "take a snapshot on primary"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestProgressAsJSONHasAnEventALine(t *testing.T) {
	var out bytes.Buffer
	p := newFeedProgress(feedStreams{out: &out}, true)
	events := someEvents(time.Now())
	for _, e := range events {
		p.take(e)
	}
	p.close()
	// Of the progress nothing: it is not five seconds old. A program hears each note.
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var e feed.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Step != events[i].Step || e.Status != events[i].Status {
			t.Errorf("line %d is %s", i, line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 6 {
		t.Errorf("%d lines", n)
	}
}

func TestStepsThatAreOnlyPrintedAreAScript(t *testing.T) {
	var out bytes.Buffer
	p := newFeedProgress(feedStreams{out: &out}, false)
	p.script = true
	p.take(feed.Event{Status: feed.StatusWould, Server: "primary", Step: "make the publication", SQL: "CREATE PUBLICATION x;"})
	p.take(feed.Event{Status: feed.StatusSkip, Server: "ml1", Step: "make the tables"})
	p.take(feed.Event{Status: feed.StatusWould, Server: "ml1", Step: "import a\nDROP TABLE b;\x1b[2J", SQL: "IMPORT"})
	p.take(feed.Event{Status: feed.StatusWould, Server: "ml1", Step: "make a schema", SQL: "--\n-- TOC entry 6 (class 2615 OID 16386)\n-- Name: s; Type: SCHEMA\n-- Data Pos: 0\n--\n\nCREATE SCHEMA s;\n\n\n"})
	p.close()
	if diff := cmp.Diff("-- make the publication on primary\nCREATE PUBLICATION x;\n\n-- already: make the tables on ml1\n-- import a DROP TABLE b; [2J on ml1\nIMPORT;\n\n-- make a schema on ml1\nCREATE SCHEMA s;\n\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestAmounts(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 10239: "10239 bytes", 10240: "10 kB", 1 << 20: "1.0 MB", 15 << 30: "15 GB", 3 << 40: "3.0 TB"} {
		if got := prettyBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{7 * time.Millisecond: "7 ms", 1500 * time.Millisecond: "1.5 s", 61 * time.Second: "1:01", 3 * time.Hour: "3:00:00", 72 * time.Hour: "3 days"} {
		if got := shortTime(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}

// feedConfig writes a configuration and returns its name.
func feedConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pgshunt.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func verbNamed(t *testing.T, name string) feedVerb {
	t.Helper()
	for _, v := range feedVerbs {
		if v.name == name {
			return v
		}
	}
	t.Fatalf("no command %s", name)
	return feedVerb{}
}

func TestReplicasAreNamedOrAllThatHaveAFeed(t *testing.T) {
	const primary = "primary: {url: postgres://a@127.0.0.1:1/d}\n"
	for _, c := range []struct {
		config, verb string
		opts         feedOptions
		want         string
	}{
		{primary, "apply", feedOptions{}, "no replica has a feed"},
		{primary + "replicas: [{name: ml1, url: postgres://a@127.0.0.1:1/d}]", "apply", feedOptions{replicas: []string{"ml1"}}, "has no feed"},
		{primary + "replicas: [{name: ml1, url: postgres://a@127.0.0.1:1/d, feed: dump}]", "refresh", feedOptions{replicas: []string{"ml2"}}, "there are: ml1"},
		{primary + "replicas: [{name: ml1, url: postgres://a@127.0.0.1:1/d, feed: dump}]", "drop", feedOptions{}, "--all"},
		{primary + "replicas: [{name: ml1, url: postgres://a@127.0.0.1:1/d, feed: dump}]", "drop", feedOptions{all: true}, "--yes"},
		{"primary: {url: 5}", "drop", feedOptions{all: true, yes: true, json: true}, `"command":"drop","ok":false,"error":`},
	} {
		c.opts.config = feedConfig(t, c.config)
		var out, errOut bytes.Buffer
		err := runFeed(t.Context(), c.opts, verbNamed(t, c.verb), feedStreams{in: strings.NewReader(""), out: &out, err: &errOut})
		if !errors.Is(err, exitUsage) || !strings.Contains(out.String()+errOut.String(), c.want) {
			t.Errorf("%s of %q: %v, %s%s", c.verb, c.config, err, out.String(), errOut.String())
		}
	}
}

func TestAServerThatCannotBeReachedIsOneLine(t *testing.T) {
	config := feedConfig(t, "primary: {url: 'postgres://a@127.0.0.1:1/d'}\nreplicas: [{name: ml1, url: 'postgres://a:geheim@127.0.0.1:1/d', feed: dump}]")
	var out, errOut bytes.Buffer
	err := runFeed(t.Context(), feedOptions{config: config}, verbNamed(t, "apply"), feedStreams{out: &out, err: &errOut})
	if !errors.Is(err, exitFinding) {
		t.Error(err)
	}
	if got := errOut.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "ml1: connect: ") || strings.Contains(got, "geheim") {
		t.Errorf("%q", got)
	}
}
