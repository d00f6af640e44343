// Package migrate changes the schema on all servers in the order that breaks no feed:
//
//	Script  the statements of a file, as `pgshunt feed migrate -f change.sql`
//	Resume  what an earlier run, or a proxy, has left open
//	Begin   one statement that a client is about to send through the proxy
//	Repair  what has drifted, because somebody changed the primary alone
//
// What statements change comes from package parser as a list of [Change]; who calls turns
// one into the other, since a feed knows no grammar. Their names are resolved on the primary
// (resolve.go). Then orderOf, which is pure, says what each replica needs before and after
// the primary has the statement: logical.go and the files beside it for logical
// replication, follow.go for copies and foreign tables. What is done to a replica is
// SQL of ours, made from the change or the primary's catalogs, never the statement itself.
//
// Every step is journalled on the replica that it is for, in pgshunt.changes, in the step's
// own transaction where it has one. Before the primary's transaction commits its number is
// in the journal, so that whoever comes next can ask the primary whether it did.
//
// A client's own statement that needs its table at rest waits behind a lock of ours (behind.go);
// late.go is for when that lock was lost. fetch.go brings values that only the primary knows.
//
// docs/decisions/0023-schema-changes.md has the orders and why they are right.
package migrate
