// Package feedtest is the rig for proofs of all feeds together: a primary with tables that
// are awkward to feed, a PostgresML stand-in for each way, a configuration that names them,
// writers, and an oracle of equality.
//
// The oracle shares nothing with package feed/verify: it reads whole tables as text and
// compares the multisets of their lines ([Rig.Differences]).
//
// It is for tests and for the program feedproof. It needs PostgreSQL's server programs and
// pgbench, see package cluster.
package feedtest
