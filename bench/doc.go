// Command bench measures pgshunt against a direct connection and PgBouncer, side
// by side on this machine. `make bench` runs it.
//
//	go run ./bench                       # pgbench -S: 3 protocols x 1, 8, 32 clients
//	go run ./bench -all                  # and bulk transfer, connection rate, idle clients
//	go run ./bench -rounds 20 -protocols prepared -clients 8
//
// # How it measures
//
// Speed on a shared machine drifts by a factor of two within minutes, so nothing
// here is compared with a figure of another run. Each cell of a table is made of
// short rounds; a round runs the same work directly, through PgBouncer and through
// pgshunt, the first of them changing with every round, and yields ratios. The
// table shows the medians of the rates, and the median ratio with its extremes.
//
// The cost is the CPU time of the proxy process, user and system, of all threads,
// over what a round did: the better measure of the two, since client, proxy and
// server share the same cores and a rate says as much about them.
//
// # The files
//
// main.go has the flags, rig.go what runs (see also pgbouncer.go and pgshunt.go),
// compare.go the rounds and their medians. selects.go, bulk.go and idle.go are the
// sections. pgbench.go and proc.go read what others print; grid.go and report.go
// print.
package main
