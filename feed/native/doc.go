// Package native is the way without a feed: PostgresML is installed in the primary itself,
// and the replica is a physical standby of it, which has everything.
//
// Apply creates the extension and no more: what it needs before, the library on each machine
// and shared_preload_libraries, takes a restart of the production server, which is its
// operator's business. Services that run the primary for somebody (Amazon RDS and Aurora,
// Google Cloud SQL and AlloyDB, Azure) install no extension of one's own choice, so that
// there this way is closed.
//
// # What goes where
//
// Training and all that changes models runs on the primary, or on replicas with another
// feed that serve training. A standby computes what needs no model of a project: embed,
// transform, rank, chunk, vector functions. To load such a model takes a transaction id, which
// a server in recovery does not give, so that predict and the like go to the primary too. The
// router knows all this by itself: it sees which server is in recovery.
package native
