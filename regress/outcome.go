package main

import (
	"regexp"
	"strings"
)

// outcome is one run of the suite.
type outcome struct {
	mode   string
	round  int
	total  int
	failed []string // in the order in which they ran
}

// The lines of pg_regress, up to version 15 and in the TAP form of later ones:
//
//	test tablespace                   ... ok          344 ms
//	     boolean                      ... FAILED      112 ms
//	not ok 3     + char                               60 ms
var (
	plainLine = regexp.MustCompile(`^(?:test| {4}) (\S+) +\.\.\. (ok|failed|FAILED)\b`)
	tapLine   = regexp.MustCompile(`^(ok|not ok) +\d+ +[-+] (\S+)`)
)

// add takes one line of pg_regress into account.
func (o *outcome) add(line string) {
	name, result := "", ""
	if m := plainLine.FindStringSubmatch(line); m != nil {
		name, result = m[1], m[2]
	} else if m := tapLine.FindStringSubmatch(line); m != nil {
		name, result = m[2], m[1]
	} else {
		return
	}
	o.total++
	if !strings.HasPrefix(result, "ok") {
		o.failed = append(o.failed, name)
	}
}
