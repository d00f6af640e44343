// Command regress runs PostgreSQL's own regression suite through pgshunt and
// compares it with a direct run. `make regress` runs it; docs/regress.md explains
// what differs.
//
//	go run ./regress                                  # all modes, parallel_schedule
//	go run ./regress -modes direct,transaction -rounds 3
//	go run ./regress -modes transaction -tests "test_setup guc"
//	go run ./regress -oracle                          # is what goes to a replica a read?
//
// With -oracle no proxy runs: the suite's statements are routed, and those that would
// be read on a replica are run in read-only transactions of scratch servers
// (readonly.go and scratch.go; script.go reads the suite's files as psql does, oracle.go asks).
// FuzzReads does the same with mutated statements.
//
// main.go has the flags and the table, suite.go brings the suite to where the
// server can read it, mode.go starts a server and a proxy for each run, and
// outcome.go reads what pg_regress prints.
//
// Every run has a server of its own, since the suite leaves roles and settings
// behind. The files of the tests that differ stay in -out, one folder a run.
package main
