package main

import (
	"slices"
	"strings"
	"testing"
)

// TestOutcomes reads the lines of both forms that pg_regress has printed.
func TestOutcomes(t *testing.T) {
	for form, printed := range map[string]string{
		"plain": `
============== running regression test queries        ==============
test test_setup                   ... ok          300 ms
parallel group (3 tests):  char boolean name
     boolean                      ... ok          112 ms
     char                         ... FAILED       60 ms
     name                         ... failed (ignored)   33 ms
test stats                        ... ok          700 ms

 1 of 5 tests failed.`,
		"TAP": `
# using postmaster on 127.0.0.1, port 5432
ok 1         - test_setup                                300 ms
# parallel group (3 tests):  char boolean name
ok 2         + boolean                                   112 ms
not ok 3     + char                                       60 ms
not ok 4     + name                                       33 ms
ok 5         - stats                                     700 ms
1..5
# 2 of 5 tests failed.`,
	} {
		var o outcome
		for line := range strings.SplitSeq(printed, "\n") {
			o.add(line)
		}
		if o.total != 5 || !slices.Equal(o.failed, []string{"char", "name"}) {
			t.Errorf("%s: %+v", form, o)
		}
	}
}
