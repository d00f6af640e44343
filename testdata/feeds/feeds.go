// Package feeds has the scripts that the tests of feeds run on a primary.
package feeds

import (
	_ "embed"
	"regexp"
	"strconv"
)

//go:embed awkward.sql
var awkward string

// newer are the scripts for what versions of PostgreSQL brought after 13.
var newer = []struct {
	since  int
	script *string
}{{14, &awkward14}, {15, &awkward15}, {17, &awkward17}, {18, &awkward18}}

var (
	//go:embed awkward_14.sql
	awkward14 string
	//go:embed awkward_15.sql
	awkward15 string
	//go:embed awkward_17.sql
	awkward17 string
	//go:embed awkward_18.sql
	awkward18 string
)

var number = regexp.MustCompile(`[0-9]+`)

// Awkward is a script that makes tables which a feed is likely to get wrong, in an empty
// database. It holds what all of the servers know that are fed from each other; versions
// are theirs, as they or their programs tell them ("postgres (PostgreSQL) 15.18").
func Awkward(version string, versions ...string) string {
	script := awkward
	for _, one := range newer {
		known := true
		for _, v := range append(versions, version) {
			major, _ := strconv.Atoi(number.FindString(v))
			known = known && major >= one.since
		}
		if known {
			script += "\n" + *one.script
		}
	}
	return script
}

// Writes is a script for pgbench that changes them, with deletes, moves between partitions
// and rows out of line.
//
//go:embed write.sql
var Writes string
