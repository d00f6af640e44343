// Package cluster starts and stops real PostgreSQL servers, each on a data
// directory of its own, for tests and for `pgshunt demo`.
//
//	c, err := cluster.Start(ctx, cluster.Config{Name: "primary"})
//	if err != nil { ... }
//	defer c.Close()
//	conn, err := pgx.Connect(ctx, c.URL("postgres", "postgres"))
//
// A cluster here is quick and disposable: fsync is off, so commits survive Kill
// but not the machine. It listens on a Unix socket in its own directory and on
// 127.0.0.1, logs to a file, and dies with the process that started it, however
// that one ends (on Linux; elsewhere a killed parent leaves its servers behind).
//
// # What it needs
//
// PostgreSQL's server binaries (postgres, initdb, pg_config) of any supported
// major version: see [Find] for where they are looked for. No root rights are
// needed; under root the servers run as user postgres or nobody, because
// PostgreSQL refuses to run as root.
//
// # How a start stays cheap
//
// initdb costs about a second, so it runs once per server version and account:
// its result is kept in a directory below the system's temporary one and
// copied. Processes that start clusters at the same time share it under a file
// lock. Copies of one template have the same system identifier.
//
// # Extensions without installing anything
//
// Before PostgreSQL 18 the server knows one extension directory only, found
// relative to its own executable. A cluster with Config.Extensions therefore
// runs from a private installation tree: a copy of the executable, links to the
// system's libraries and share files, and an extension directory that has the
// given files beside the system's.
package cluster
