// Command versions runs the tests on every version of PostgreSQL that Debian has, and
// with different versions on both sides. `make versions` runs it; docs/versions.md says
// what differs. It downloads a root for each suite and takes long, so neither
// `make test` nor CI does.
//
//	go run ./versions                                   # all suites, all pairs, all packages
//	go run ./versions -suites sid -pairs "" ./proxy     # one package on one version
//	go run ./versions -pairs 13/17,17/13 -run Feed ./cmd/pgshunt
//
// The version that the system has installed is used as it is. The others come by
// debootstrap, each in a root of its own below -cache (scripts/postgresql-suite), 700 MB
// each; what is there is used again. Root rights are needed for that only.
//
// A pair is the version of the primary and that of the replicas, which the tests take
// from PGSHUNT_PGBIN_PRIMARY and PGSHUNT_PGBIN_REPLICA. Go keeps the results of
// packages that passed and have not changed since, so a run that was interrupted goes on
// where it was; -count 1 runs all of them.
//
// main.go has the flags, suite.go finds the programs, pair.go says what runs on what, and
// gotest.go runs a package and reads what `go test -json` says. What the tests printed
// stays in -out, a file for each pair and package.
package main
