// Command feedproof proves the feeds on real servers, with the real pgshunt: `make feeds`
// runs it. It takes long and needs a few gigabytes, so it is not among the tests;
// TestFeedsSideBySide of cmd/pgshunt is its small sister.
//
//	go run ./feedproof                              # scale 50, 1 GB out of line, 60 s of writes
//	go run ./feedproof -scale 1 -toast 10 -write 5s
//	go run ./feedproof -ways logical -kills 20      # and kill -9 at twenty points
//	go run ./feedproof -scale 1 -kills 20 -of migrate
//	go run ./feedproof -scale 1 -rig                # only the servers, for trying out by hand
//
// Its steps: the plan names what blocks and its remedies are run; every feed is applied
// and compared by an oracle of its own; pgbench writes to the primary; each feed is compared
// again (the dump after a refresh, foreign tables as they are, logical replication once
// status reports no lag); pgml.train runs through the proxy on each; with -kills, pgshunt,
// the replica and the primary are killed at random points of apply and refresh of each
// feed, and of migrate, which changes the schema of all of them under pgbench's writes, and the
// command is run again; in the end the feeds are dropped and nothing is left.
//
// main.go has the flags and the order of steps, program.go runs pgshunt, kills.go and
// kills_migrate.go kill.
package main
