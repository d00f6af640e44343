// Package fleet looks at the servers and keeps what router.Decide must know of them: who
// is alive, who is the primary, how far a replica is behind, which models it has.
//
//	w := fleet.New(fleet.Config{Servers: servers, Database: "production", Log: log, Publish: proxy.SetFleet})
//	w.Start(ctx)                       // returns once every server has been looked at
//	defer w.Close()
//	w.Look("ml1")                      // a connection to ml1 was lost
//	position, err := w.Position(ctx)   // where the primary is now
//	err = w.WaitApplied(ctx, "ml1", position)
//
// It has connections of its own, as the roles of the configured urls, and needs no
// privileges there but to log in. With pg_read_all_stats on the primary it hears of what a
// subscriber has applied before that has been flushed, which saves a wait of up to
// wal_writer_delay.
//
// # Goroutines
//
// Each host has one that looks at it, so that a server that hangs delays nobody. Whoever
// can tell a progress (the primary, each native standby) has one that asks for it while
// somebody waits. Each replica whose lag can be measured has one that does. One goroutine
// makes the snapshots of what all these found, and is the only one to call Config.Publish
// and Config.Primary.
//
// # Trouble
//
// A question that fails is asked once more on a new connection. If that fails too, the
// target is unhealthy until the next look that succeeds. A server that has no connection
// left is alive, and stays what it was. Target.Trouble says what is wrong; with a target
// that is healthy all the same, it may be asked only for what needs no pgml.
//
// # The primary
//
// Of the hosts in the primary's url it is the one that is not in recovery. Of two, as there
// are when an old primary comes back, it is the one on the higher timeline. See AtPrimary
// for how the logins of others follow.
//
// # Positions and lag
//
// A position is where the primary's log ends. What was committed before Position was
// called lies before it, asynchronous commits included. A replica has applied a position
// when everything before it can be read there.
//
// The lag comes from positions noted with the time they were asked for: a replica that
// has passed one has everything that was committed before that time. So Target.Lag is
// never less than the truth at the time of the look, but for commits that the primary has
// not flushed, which count from then on, and for a tenth of a second, below which a lag is
// not told apart from none. A replica that is behind the first position noted is behind by
// an unknown time.
package fleet
