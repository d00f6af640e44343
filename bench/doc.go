// Command bench measures pgshunt beside a direct connection, PgBouncer, Pgpool-II and
// haproxy on this machine, and says which of its goals it meets. `make bench` runs it.
//
//	go run ./bench                       # everything
//	go run ./bench -selects -rounds 20 -protocols prepared -clients 8
//	go run ./bench -bulk -peers=false
//	go run ./bench -profile prepared:8   # no report, but a CPU profile of pgshunt
//
// # How it measures
//
// Speed on a shared machine drifts by a factor of two within minutes, so nothing
// here is compared with a figure of another run. Each cell of a table is made of
// short rounds; a round runs the same work over each endpoint, the first of them
// changing with every round, and yields ratios. The table shows the medians of the
// rates, and the median ratios with their extremes.
//
// The cost is the CPU time of a proxy, user and system, of all its threads and
// processes, over what a round did: the better measure of the two, since client, proxy
// and server share the same cores and a rate says as much about them.
//
// # The files
//
// main.go has the flags, rig.go what runs (program.go starts a peer; pgbouncer.go,
// pgpool.go, haproxy.go and pgshunt.go configure one each), compare.go the rounds and
// their medians, goal.go the bounds. selects.go, bulk.go, idle.go, decide.go and calls.go
// are the sections, profile.go is no section but a mode. transfer.go is the client of bulk.go; pgbench.go and proc.go read what
// others print; grid.go and report.go print.
package main
