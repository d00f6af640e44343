// Package feed brings the primary's data to the PostgresML servers, and is what
// `pgshunt feed` runs. It drives PostgreSQL's own engines and invents no replication.
//
// This package holds what every way shares: the two servers of a feed ([Run]), the
// tables it is for ([Selection], [Table]), steps that can be printed instead of done
// ([Run.Do]), what happens on the way ([Event]), the lock that keeps two commands from
// working on one replica, and the journal in schema pgshunt of the replica. The
// packages below do the work:
//
//	plan      measures the primary and recommends a way for each replica
//	program   runs pg_dump and pg_restore
//	schema    definitions: brings them by pg_dump, compares them, mends what has drifted
//	dump      copies under one snapshot, swapped in at once
//	fdw       foreign tables
//	logical   publication and subscription
//	native    pgml in the primary itself
//	verify    compares contents, finds what differs, mends it
//	migrate   changes of the schema, on every server in the order that breaks nothing
//
// Every step looks first whether it is needed. So a command that was killed is simply
// run again: what is done is found done, and what is half done is finished or undone.
// State that cannot be seen in the catalogs is in the journal, which is written in
// the same transaction as what it tells of.
//
// A feed works on one database of the primary, the one that primary.url names, and on
// one database of the replica, the one that its url names. It is run by the roles of
// those urls. Nothing is done with the rights of a client.
package feed
