package main

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPgbenchOutputIsRead(t *testing.T) {
	summary := func(lines ...string) string {
		return "transaction type: <builtin: select only>\nscaling factor: 10\nquery mode: simple\n" + strings.Join(lines, "\n") + "\n"
	}
	for _, c := range []struct {
		name, out, fails string
		want             pgbenchResult
	}{
		{
			name: "a run",
			out: summary("number of transactions actually processed: 36412", "number of failed transactions: 0 (0.000%)",
				"latency average = 0.219 ms", "initial connection time = 8.1 ms", "tps = 36512.123456 (without initial connection time)"),
			want: pgbenchResult{36412, 36512.123456},
		},
		{
			name: "a connection for each transaction",
			out: summary("number of transactions actually processed: 492", "latency average = 16.2 ms",
				"average connection time = 4.020 ms", "tps = 491.9 (including reconnection times)"),
			want: pgbenchResult{492, 491.9},
		},
		{
			name:  "failed transactions",
			out:   summary("number of transactions actually processed: 10", "number of failed transactions: 3 (30.000%)", "tps = 10.0"),
			fails: "3 transactions failed",
		},
		{name: "nothing done", out: summary("number of transactions actually processed: 0", "tps = 0.0"), fails: "not one transaction"},
		{name: "something else", out: "pgbench (PostgreSQL) 15.18\n", fails: "unexpected output"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parsePgbench(c.out)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got %v, want an error with %q", err, c.fails)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v and %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestProcStatIsRead(t *testing.T) {
	const rest = " S 1 4200 4242 0 -1 4194560 5168 0 12 0 314 159 7 8 20 0 6 0 1234 1797328896 6305"
	for name, stat := range map[string]string{
		"plain":                       "4242 (pgpool)" + rest,
		"a command with bad manners":  "4242 (a) S 1 (b) 99)" + rest,
		"with the newline of the end": "4242 (pgbouncer)" + rest + "\n",
	} {
		got, err := parseStat([]byte(stat))
		if want := (procStat{4242, 4200, 150 * time.Millisecond}); err != nil || got != want {
			t.Errorf("%s: got %v and %v, want %v", name, got, err, want)
		}
	}
	for _, stat := range []string{"", "4242 (pgshunt) S 1", "4242 (pgshunt)" + strings.Replace(rest, "4200", "x", 1)} {
		if got, err := parseStat([]byte(stat)); err == nil {
			t.Errorf("%q: got %v, want an error", stat, got)
		}
	}
}

func TestProcStatusIsRead(t *testing.T) {
	const status = "Name:\tpgshunt\nVmHWM:\t   30000 kB\nVmRSS:\t   25220 kB\nThreads:\t7\n"
	for field, want := range map[string]int64{"VmRSS": 25220 << 10, "VmHWM": 30000 << 10} {
		if got, err := parseMemory(status, field); err != nil || got != want {
			t.Errorf("%s: got %d and %v, want %d", field, got, err, want)
		}
	}
	if _, err := parseMemory("Name:\tkthreadd\n", "VmRSS"); err == nil {
		t.Fatal("a status without VmRSS was accepted")
	}
}

func TestVersionsAreRead(t *testing.T) {
	for _, c := range []struct {
		pattern   *regexp.Regexp
		out, want string
	}{
		{bouncerVersion, "PgBouncer 1.18.0\nlibevent 2.1.12-stable\n", "1.18.0"},
		{bouncerVersion, "PgBouncer 1.25.2", "1.25.2"},
		{pgpoolVersion, "pgpool-II version 4.3.5 (tamahomeboshi)\n", "4.3.5"},
		{haproxyVersion, "HAProxy version 2.6.12-1+deb12u4 2026/05/14 - https://haproxy.org/\nStatus: long-term\n", "2.6.12"},
		{haproxyVersion, "HA-Proxy version 2.2.9-2+deb11u6 2023/11/27\n", "2.2.9"},
	} {
		if got, err := versionIn(c.out, c.pattern); err != nil || got != c.want {
			t.Errorf("%q: got %q and %v", c.out, got, err)
		}
		if got, err := versionIn("something else", c.pattern); err == nil {
			t.Errorf("a foreign program was taken for version %q", got)
		}
	}
}

func TestBouncerVersionDecidesOnPreparedStatements(t *testing.T) {
	for version, want := range map[string]bool{"1.18.0": false, "1.20.1": false, "1.21.0": true, "1.25.2": true, "2.0.0": true} {
		if got, err := poolsPrepared(version); err != nil || got != want {
			t.Errorf("%s: got %v and %v", version, got, err)
		}
	}
	if _, err := poolsPrepared("x"); err == nil {
		t.Error("a version that is none was accepted")
	}
}

func TestSpread(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{5, 1, 3}, spread{3, 1, 5}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
		{[]float64{nan, 4, nan, 2}, spread{3, 2, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: got %v, want %v", c.values, got, c.want)
		}
	}
	if got := spreadOf([]float64{nan}); !math.IsNaN(float64(got.Median)) {
		t.Errorf("of nothing: got %v", got)
	}
}

func TestRatiosAreRoundByRound(t *testing.T) {
	got := ratios([]float64{1, 4, math.NaN(), 9, 2}, []float64{2, 2, 2, math.NaN(), 0})
	if got[0] != 0.5 || got[1] != 2 || !math.IsNaN(got[2]) || !math.IsNaN(got[3]) || !math.IsNaN(got[4]) {
		t.Fatalf("got %v", got)
	}
}

func TestRowsCompareWithPgbouncerAndDirect(t *testing.T) {
	c := comparison{cell: cell{name: "simple 8", mark: " †"}, series: []series{
		{endpoint: directName, rates: []float64{100, 200, 400}, costs: []float64{math.NaN(), math.NaN(), math.NaN()}},
		{endpoint: "pgpool", rates: []float64{25, math.NaN(), 100}, costs: []float64{30, math.NaN(), 40}, failed: 1},
		{endpoint: bouncerName, rates: []float64{50, 100, 200}, costs: []float64{10, 10, 10}},
		{endpoint: shuntName, rates: []float64{60, 110, 200}, costs: []float64{12, 9, 11}},
	}}
	rows := c.rows()
	if len(rows) != 4 {
		t.Fatalf("got %d rows", len(rows))
	}
	if got, want := rows[3].OfBouncer, (spread{1.1, 1, 1.2}); got != want {
		t.Errorf("pgshunt / pgbouncer: got %v, want %v", got, want)
	}
	if got, want := rows[3].CostOfBouncer, (spread{1.1, 0.9, 1.2}); got != want {
		t.Errorf("its CPU: got %v, want %v", got, want)
	}
	if got, want := rows[1].OfDirect, (spread{0.25, 0.25, 0.25}); got != want || rows[1].Failed != 1 {
		t.Errorf("pgpool / direct: got %v and %d failed, want %v of the rounds that did not fail", got, rows[1].Failed, want)
	}
	if rows[2].Mark != " †" || rows[3].Mark != "" {
		t.Error("the mark is pgbouncer's")
	}
	if got := c.rateOver(shuntName, "odyssey"); !math.IsNaN(float64(got.Median)) {
		t.Errorf("over an endpoint that was not measured: got %v", got)
	}
}

func TestMemoryIsComparedWithThatOfLittleWork(t *testing.T) {
	c := comparison{cell: cell{name: "SELECT", memory: true}, series: []series{
		{endpoint: directName, rates: []float64{100, 100}, costs: []float64{1, 1}, peaks: []float64{0, 0}, smallPeaks: []float64{0, 0}},
		{endpoint: shuntName, rates: []float64{96, 94}, costs: []float64{1.2, 1.6}, peaks: []float64{22, 24}, smallPeaks: []float64{20, 24}},
	}}
	rows := c.rows()
	if got, want := rows[1].Growth, (spread{1.05, 1, 1.1}); got != want || rows[1].Peak.Max != 24 {
		t.Errorf("got %v and a peak of %v, want %v", got, rows[1].Peak, want)
	}
	if rows[0].Peak != (spread{}) || rows[0].Growth != (spread{}) {
		t.Errorf("the direct connection has no proxy: got %v, %v", rows[0].Peak, rows[0].Growth)
	}
	setBulkGoals(rows, &c)
	if got, want := goalsText(rows[1].Goals), "MB/s of direct 0.95 ≥ 0.95 met; CPU s/GB 1.40 ≤ 1.50 met; peak / 1 MB 1.05 ≤ 1.05 met"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGridsAlignColumns(t *testing.T) {
	g := &grid{words: 2, remarks: true}
	g.add("cell", "endpoint", "µs", "goals")
	g.add("simple 1", "direct", "-", "")
	g.gap()
	g.add("simple 8", "pgshunt †", "10.0", "met")
	var text, markdown strings.Builder
	g.print(&text, false)
	if want := "cell      endpoint     µs  goals\nsimple 1  direct        -\n\nsimple 8  pgshunt †  10.0  met\n"; text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
	g.print(&markdown, true)
	if want := "| cell     | endpoint  |   µs | goals |\n|----------|-----------|-----:|-------|\n" +
		"| simple 1 | direct    |    - |       |\n| simple 8 | pgshunt † | 10.0 | met   |\n"; markdown.String() != want {
		t.Errorf("got\n%s\nwant\n%s", markdown.String(), want)
	}
}

func TestFiguresAreReadable(t *testing.T) {
	for _, c := range []struct {
		value figure
		verb  string
		want  string
	}{
		{54675.4, "%.0f", "54,675"},
		{1234567, "%.0f", "1,234,567"},
		{492, "%.0f", "492"},
		{10.44, "%.1f", "10.4"},
		{12345.6, "%.1f", "12345.6"},
		{figure(math.NaN()), "%.0f", "failed"},
	} {
		if got := c.value.format(c.verb); got != c.want {
			t.Errorf("%v: got %q, want %q", float64(c.value), got, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions(nil)
	if err != nil || !o.selects || !o.bulk || !o.conns || !o.idle || !o.decide || !o.peers || o.rounds != 8 || len(o.clients) != 3 || len(o.protocols) != 3 {
		t.Fatalf("defaults: got %+v and %v", o, err)
	}
	if o, err = parseOptions([]string{"-idle", "-peers=false"}); err != nil || o.selects || o.decide || o.peers || !o.idle {
		t.Fatalf("-idle: got %+v and %v", o, err)
	}
	if o, err = parseOptions([]string{"-profile", "prepared:8"}); err != nil || o.profile != (load{"prepared", 8}) {
		t.Fatalf("-profile: got %+v and %v", o.profile, err)
	}
	for _, wrong := range [][]string{
		{"-profile", "prepared"},
		{"-profile", "simple,prepared:8"},
		{"-profile", "prepared:0"},
		{"-clients", "0"},
		{"-clients", "41"},
		{"-clients", "x"},
		{"-protocols", "quick"},
		{"-rounds", "0"},
		{"-json", "-markdown"},
		{"more"},
	} {
		if _, err := parseOptions(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}
