// Package verify compares what a replica has with what the primary has, row by row, and
// mends it on request. It never writes on the primary.
//
// # How rows are compared
//
// A table is walked through in ranges of its key, on one connection to each server and
// with one short statement for each range: number of rows, and sum of a 64-bit hash of
// each row's text. The settings of a feed's connections make the text the same on every
// version. Only a range whose sums differ is read row by row, keys and hashes, and only rows that
// differ then are looked at again. A table without a key is read once, its rows
// distributed over buckets by their hash; rows that are the same are told apart by nothing
// but their number.
//
// # A common point under writes
//
// The copy of a dump stands still, so what differs from the primary now either has been
// changed there since or is wrong; which of them is told by the snapshot that the copy was made
// under, where it is recorded. A subscription moves on while it is read. Nothing is
// stopped for it; rows that differ are asked for again, in rounds:
//
//  1. read them on the primary, each with its version (xmin and ctid), then the LSN
//  2. wait until the subscription has applied past it
//  3. read them on the replica
//
// Where both agree the row is equal. A row is said to differ when it did so in two rounds
// and neither server had another version of it in the second. If the primary has it, it had
// this version all the time between, during which the replica was read; if it has not,
// whatever brought the replica's row was older than the second round's LSN, and so was what
// deleted it again. That leaves one case: a commit is sent before it is visible on the
// primary, so the replica may be ahead. Therefore what was being committed when the replica was
// read has to be over before the second round, unless nobody has touched the primary's row (xmax).
// A row that changes faster than that is compared with every version seen on the primary
// meanwhile, and at last reported as unsettled; never as different.
//
// # Repair
//
// For each range one transaction on the replica locks the table, so that nothing is
// applied to it, asks the primary for the rows and writes those that still have the version
// that was compared. Triggers do not fire (session_replication_role). The rows are then compared again.
package verify
