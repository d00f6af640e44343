// Package feeds has the scripts that the tests of feeds run on a primary.
package feeds

import _ "embed"

// Awkward makes tables that a feed is likely to get wrong, in an empty database.
//
//go:embed awkward.sql
var Awkward string

// Writes is a script for pgbench that changes them, with deletes, moves between partitions
// and rows out of line.
//
//go:embed write.sql
var Writes string
