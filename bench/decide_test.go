package main

import "testing"

func TestBenchmarksOfDecisionsAreRead(t *testing.T) {
	var s benchSeries
	for _, out := range []string{
		"goos: linux\npkg: pgshunt/parser\n" +
			"BenchmarkDecisionCached/point-2         \t   95451\t      280.5 ns/op\t       0 B/op\t       0 allocs/op\n" +
			"BenchmarkDecisionUncached/point-2       \t    4886\t     12000 ns/op\t    3049 B/op\t      55 allocs/op\n" +
			"BenchmarkDecisionParse/point-2          \t    6824\t     10000 ns/op\t    2312 B/op\t      45 allocs/op\nPASS\n",
		"BenchmarkDecisionCached/point \t 95451\t 260.5 ns/op\t 0 B/op\t 1 allocs/op\n" +
			"BenchmarkDecisionUncached/point \t 4886\t 42000 ns/op\t 3049 B/op\t 55 allocs/op\n" +
			"BenchmarkDecisionParse/point \t 6824\t 30000 ns/op\t 2312 B/op\t 45 allocs/op\nPASS\n",
	} {
		if err := s.add(out); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.texts) != 1 || s.texts[0] != "point" {
		t.Fatalf("texts: %q", s.texts)
	}
	row := s.row("point")
	if row.Cached != (spread{270.5, 260.5, 280.5}) || row.Allocs != 1 || row.Ratio.Min != 1.2 || row.Ratio.Max != 1.4 {
		t.Errorf("got %+v", row)
	}
	if got, want := goalsText(row.Goals), "ns 270 ≤ 300 met; allocations 1 ≤ 0 missed; / pg_query 1.30 ≤ 1.30 met"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := s.add("PASS\n"); err == nil {
		t.Error("a run without benchmarks was accepted")
	}
}
