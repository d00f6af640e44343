// Package logical feeds a replica by PostgreSQL's logical replication: one publication
// and one slot on the primary, one subscription on the replica, all three called
// [feed.Run].Name, which no other feed has. Whose they are is in their comments (owner.go):
// another installation may have called a replica and a database the same.
//
// # What is published
//
// The tables that the configuration names and no other: FOR ALL TABLES would publish
// schema pgml. Of a partitioned table each leaf is published by itself, and never its
// root. So TRUNCATE, DETACH and DROP of a partition are what they are on the primary,
// partitions are copied side by side, and a partition that somebody makes on the primary
// does not stop the feed, as it would where the replica has no place for its rows: it is
// not fed until the next apply. The router sees that a partition is missing and does not
// use the table meanwhile.
//
// A table that has nothing to tell its rows apart is refused: once it is published, the
// primary would refuse its own UPDATE and DELETE.
//
// # How it is set up
//
// The publication, the slot and the subscription are made in this order, each in one
// transaction, so that a run that was killed has left nothing that the next one does not
// find by its name. The slot is older than the copy: what is written meanwhile is in it.
// Tables on the replica that hold rows and are not subscribed would hold them twice; they
// are refused by Apply. Refresh empties those whose rows a feed has brought, and Resync
// those that are named.
//
// # When it stops
//
// While tables are copied the subscription has disable_on_error (PostgreSQL 15), since a
// copy that fails would begin from its start every five seconds. Afterwards it has not:
// a lost connection is an error too, and a feed would stand still after each restart of
// the primary or of a network until somebody enables it. Apply ends once the worker goes by that
// (settle.go), and State tells of a subscription that still has the option. A conflict is found by [State] all the
// same, which reads the transaction that cannot be applied from the slot.
//
// The rows come as text (as binary only for the copy, PostgreSQL 16, and only where every
// type is a built-in one and the same on both sides): a column that becomes a bigint on
// the primary must not stop the feed.
//
// # Goroutines
//
// Every function works with connections of its own and is run once at a time for a
// replica, which [feed.Run.Lock] sees to. State and Check need no lock.
package logical
