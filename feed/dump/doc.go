// Package dump feeds a replica with copies: every table as it was at one moment on the
// primary, brought anew by each refresh.
//
// A copy goes through these stages, and each leaves the live tables untouched but the last:
//
//	snapshot.go  the moment: one exported snapshot, and locks that keep definitions still
//	staging.go   empty tables beside the live ones, in schemas pgshunt_new_N
//	transfer.go  rows, by COPY from server to server, in parts, on several connections
//	pump.go      what a COPY sends, from one to the other
//	padding.go   which values go without the blanks at their ends
//	build.go     indexes, constraints and statistics of the new tables
//	swap.go      one transaction that puts all of them in the place of the old ones
//	matviews.go  materialised views over them, made anew behind that
//
// For servers that cannot reach each other a copy goes by a directory:
//
//	save.go      writes it, on the primary's side, with what has to be known of the primary
//	manifest.go  what is in it, and whether that is whole
//	from.go      goes through the stages above with the directory in the primary's place
//	unpack.go    rows, from pg_restore's text to the new tables
//
// A killed copy leaves staging schemas, which the next one drops. The rows never pass through
// pgshunt's memory but for a buffer for each connection.
package dump
