package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const printed = `{"Action":"start","Package":"pgshunt/auth"}
{"Action":"output","Package":"pgshunt/auth","Test":"TestA","Output":"said\n"}
{"Action":"pass","Package":"pgshunt/auth","Test":"TestA","Elapsed":1}
{"Action":"pass","Package":"pgshunt/auth","Test":"TestB/one","Elapsed":1}
{"Action":"fail","Package":"pgshunt/auth","Test":"TestB/two","Elapsed":1}
{"Action":"fail","Package":"pgshunt/auth","Test":"TestB","Elapsed":2}
{"Action":"skip","Package":"pgshunt/auth","Test":"TestC"}
no event
{"Action":"output","Package":"pgshunt/auth","Output":"ok  \tpgshunt/auth\t(cached)\n"}
{"Action":"fail","Package":"pgshunt/auth","Elapsed":3.5}
`

func TestTheTableCountsTests(t *testing.T) {
	var log strings.Builder
	o, err := read(strings.NewReader(printed), &log)
	if err != nil || o.passed != 1 || o.skipped != 1 || !slices.Equal(o.failed, []string{"TestB/two"}) || o.elapsed != 3500*time.Millisecond || !o.cached {
		t.Errorf("%+v, %v", o, err)
	}
	if got := log.String(); !strings.HasPrefix(got, "said\nno event\n") {
		t.Errorf("logged %q", got)
	}
}

func TestPairsOfVersionsThatAreThere(t *testing.T) {
	asked, err := parsePairs("13/17,17/15")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{17: "/17/bin", 13: "/13/bin"}
	got, err := runs(found, asked, false)
	if want := []pair{{13, 13}, {17, 17}, {13, 17}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := runs(found, asked, true); err == nil || !strings.Contains(err.Error(), "17/15") {
		t.Errorf("a pair that was asked for: %v", err)
	}
	env := pair{13, 17}.environment(found)
	for _, want := range []string{"PGSHUNT_PGBIN=/13/bin", "PGSHUNT_PGBIN_PRIMARY=/13/bin", "PGSHUNT_PGBIN_REPLICA=/17/bin"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is not set", want)
		}
	}
	for _, bad := range []string{"13", "13/x", "13/17,"} {
		if _, err := parsePairs(bad); err == nil {
			t.Errorf("%q is taken for pairs", bad)
		}
	}
}
